import { createHash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { Tunnel, TunnelRequest } from "../../link/messages.ts";
import { MAX_PORT, MAX_PORTS, type PortRange } from "../../link/port-range.ts";
import { hostOf, parseTarget } from "../../link/target.ts";
import { namesOf, type Key } from "../access/key-ring.ts";
import {
  normalizeLabel,
  normalizePublicName,
  normalizeSubdomain,
  splitHostPort,
  wildcardsOver,
} from "../routing/hostname.ts";
import { type Place, portName, type PortKind, type PortPlace, publicNamesOf } from "../routing/place.ts";
import type { ProxyProtocol, TunnelLimits } from "../routing/route.ts";

/** A client may have the server wait longer than its own limit, within what a connection can be expected to last. */
const MAX_TIMEOUT_MS = 24 * 3_600_000;

/** A tunnel of a session, with the place that it claims. */
export type SessionTunnel = Omit<Tunnel, "kind" | "ports"> &
  Place & {
    /** What the local service gets as Host; if left out, what the visitor sent. */
    hostHeader?: string | undefined;
    timeoutMs?: number | undefined;
    proxyProtocol?: ProxyProtocol | undefined;
    limits?: TunnelLimits | undefined;
  };

export interface NamingRules {
  /** Subdomains live under it. */
  domain: string;
  /** The keys to which exactly this public name is written. */
  ownersOf(name: string): readonly Key[];
  /** What visitors type. */
  publicUrl(place: Place): string;
  /** The ports that every key may ask for; undefined for none. */
  freePorts(kind: PortKind): PortRange | undefined;
  /** Whether visitors arrive over TLS, by hostname. */
  readonly hasTls: boolean;
}

/**
 * The tunnels that a client gets: those that the server maps to its key, or those that it asks for, with names
 * within the key's rights. Who holds a name at the moment is not looked at here, and a port that is not asked for by number
 * stays 0: public-ports.ts chooses it.
 *
 * @throws TunnelError `name_refused`
 */
export function nameTunnels(
  key: Key,
  clientId: string,
  wanted: TunnelRequest[],
  rules: NamingRules,
): SessionTunnel[] {
  const tunnels =
    wanted.length === 0 ? mappedTunnels(key, rules) : wantedTunnels(key, clientId, wanted, rules);
  const seen = new Set<string>();
  for (const name of tunnels.flatMap(publicNamesOf)) {
    if (seen.has(name)) throw refused(`The name ${name} is asked for twice. Give each tunnel its own name.`);
    seen.add(name);
  }
  return tunnels;
}

function mappedTunnels(key: Key, rules: NamingRules): SessionTunnel[] {
  if (key.tunnels.length === 0) {
    throw refused(
      "The server maps no tunnels to this key. Ask for one with: tunnel-client http PORT, or map one on the server.",
    );
  }
  if (!rules.hasTls && key.tunnels.some(({ kind }) => kind === "TLS")) throw noTls();
  return key.tunnels.map((tunnel, index) => ({
    ...tunnel,
    id: index + 1,
    url: rules.publicUrl(tunnel),
    hostHeader: hostHeaderOf(tunnel.hostHeader, tunnel.target),
  }));
}

function wantedTunnels(
  key: Key,
  clientId: string,
  wanted: TunnelRequest[],
  rules: NamingRules,
): SessionTunnel[] {
  return wanted.map((request, index) => {
    const place = wantedPlace(key, clientId, request, rules);
    const { timeoutMs } = request;
    return {
      ...place,
      id: index + 1,
      request: index,
      name: request.name || ("hostname" in place ? place.hostname : `${place.kind} ${request.target}`),
      url: rules.publicUrl(place),
      target: request.target,
      hostHeader: wantedHostHeader(request),
      timeoutMs: timeoutMs === 0 ? undefined : Math.min(timeoutMs, MAX_TIMEOUT_MS),
      proxyProtocol: wantedProxyProtocol(request),
    };
  });
}

/** @throws TunnelError `name_refused` */
function wantedPlace(key: Key, clientId: string, request: TunnelRequest, rules: NamingRules): Place {
  const { kind } = request;
  switch (kind) {
    case "HTTP":
    case "TLS": {
      if (kind === "TLS" && !rules.hasTls) throw noTls();
      const hostname = wantedHostname(key, clientId, request, rules);
      const owners = ownersOver(hostname, rules);
      if (owners.length > 0 && !owners.some((owner) => owner.id === key.id)) {
        throw refused(`The name ${hostname} belongs to another key.`);
      }
      return { kind, hostname };
    }
    case "TCP":
    case "UDP":
      return wantedPorts(key, kind, request, rules);
    default:
      throw refused(`This server knows no tunnels of the kind ${String(kind)}. Update tunnel-server.`);
  }
}

/** @throws TunnelError `name_refused` */
function wantedPorts(key: Key, kind: PortKind, request: TunnelRequest, rules: NamingRules): PortPlace {
  const place = { kind, port: request.port ?? 0, ports: request.ports || 1 };
  const { port, ports } = place;
  if (ports > MAX_PORTS)
    throw refused(`The client asks for ${ports} ports; one tunnel may have ${MAX_PORTS}. Ask for several.`);
  if (port + ports - 1 > MAX_PORT)
    throw refused(`There is no port ${port + ports - 1}: they end at ${MAX_PORT}.`);
  const free = rules.freePorts(kind);
  if (port === 0) {
    if (free) return place;
    throw refused(`This server gives no ${kind} ports away. Ask its owner for one, and for it with --port.`);
  }
  for (let each = port; each < port + ports; each++) {
    const owners = rules.ownersOf(portName(kind, each));
    if (owners.some((owner) => owner.id === key.id)) continue;
    if (owners.length > 0) throw refused(`The ${kind} port ${each} belongs to another key.`);
    if (free && each >= free.from && each <= free.to) continue;
    const others = free ? `, or ask for one from ${free.from} to ${free.to}` : "";
    throw refused(
      `This key may not use the ${kind} port ${each}. Add it to the key's ports on the server${others}.`,
    );
  }
  return place;
}

/** @throws TunnelError `name_refused` */
function wantedProxyProtocol({ proxyProtocol = 0 }: TunnelRequest): ProxyProtocol | undefined {
  if (proxyProtocol === 0 || proxyProtocol === 1 || proxyProtocol === 2) return proxyProtocol || undefined;
  throw refused(`There is no version ${proxyProtocol} of the PROXY protocol: 1 or 2.`);
}

function wantedHostname(key: Key, clientId: string, request: TunnelRequest, rules: NamingRules): string {
  if (request.hostname === "") {
    const subdomain =
      request.subdomain === ""
        ? generatedSubdomain(clientId, request.target)
        : normalizeSubdomain(request.subdomain);
    if (subdomain === undefined) {
      throw refused(
        `The subdomain ${JSON.stringify(request.subdomain)} cannot be used: letters, digits and "-" only, at most 63, and no number alone.`,
      );
    }
    return `${subdomain}.${rules.domain}`;
  }
  const hostname = normalizePublicName(request.hostname);
  if (hostname === undefined) {
    throw refused(
      `The hostname ${JSON.stringify(request.hostname)} cannot be used: a name such as app.example.com or *.example.com.`,
    );
  }
  if (!mayClaim(key, hostname, rules.domain)) {
    throw refused(
      `This key may not use the hostname ${hostname}. Add it to the key's hostnames on the server, ` +
        `or ask for a subdomain of ${rules.domain}.`,
    );
  }
  return hostname;
}

function mayClaim(key: Key, hostname: string, domain: string): boolean {
  if (namesOf(key).has(hostname)) return true;
  for (const wildcard of wildcardsOver(hostname)) if (key.hostnames.includes(wildcard)) return true;
  const label = hostname.endsWith(`.${domain}`) ? hostname.slice(0, -domain.length - 1) : undefined;
  return label !== undefined && normalizeLabel(label) === label;
}

/** Whose a name is: of those that it is written to, or else the closest wildcard over it with all that is beneath. */
function ownersOver(hostname: string, rules: NamingRules): readonly Key[] {
  let owners = rules.ownersOf(hostname);
  if (owners.length > 0) return owners;
  for (const wildcard of wildcardsOver(hostname)) {
    owners = rules.ownersOf(wildcard);
    if (owners.length > 0) return owners;
  }
  return [];
}

/** @throws TunnelError `name_refused` */
function wantedHostHeader({ hostHeader, target }: TunnelRequest): string | undefined {
  if (hostHeader === "") return undefined;
  if (hostHeader !== "target" && !splitHostPort(hostHeader)) {
    throw refused(
      `The host header ${JSON.stringify(hostHeader)} cannot be used: a name such as app.example.com, or "target".`,
    );
  }
  return hostHeaderOf(hostHeader, target);
}

function hostHeaderOf(hostHeader: string | undefined, target: string): string | undefined {
  if (hostHeader !== "target") return hostHeader;
  const parsed = parseTarget(target);
  return typeof parsed === "string" ? undefined : hostOf(parsed);
}

/** The same for the same client and port or socket, so that a link that was shared yesterday works today. */
function generatedSubdomain(clientId: string, target: string): string {
  const parsed = parseTarget(target);
  const place = typeof parsed === "string" || "path" in parsed ? target : parsed.port;
  const digest = createHash("sha256").update(`${clientId}\n${place}`).digest();
  let name = "";
  // 8 of 32 letters: 40 bits, so that nobody guesses it and two clients never meet.
  for (let i = 0; i < 8; i++) name += "abcdefghijkmnpqrstuvwxyz23456789"[digest[i]! % 32];
  return name;
}

function noTls(): TunnelError {
  return refused("This server takes no TLS visitors: its owner has to set tls.listen.");
}

function refused(message: string): TunnelError {
  return new TunnelError("name_refused", message);
}

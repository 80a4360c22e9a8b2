import { hash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { Tunnel, TunnelRequest } from "../../link/messages.ts";
import { MAX_PORT, MAX_PORTS, type PortRange } from "../../link/port-range.ts";
import { hostOf, parseTarget } from "../../link/target.ts";
import { namesOf } from "../access/key-names.ts";
import type { Key } from "../access/key.ts";
import type { Owner, PortOwner } from "../access/name-owners.ts";
import {
  normalizeLabel,
  normalizePublicName,
  isInternational,
  normalizeSubdomain,
  splitHostPort,
  wildcardsOver,
} from "../routing/hostname.ts";
import {
  hostName,
  type OwnPort,
  ownPortAmong,
  type Place,
  portName,
  type PortKind,
  type PortPlace,
} from "../routing/place.ts";
import type { ProxyProtocol, TunnelLimits } from "../routing/route.ts";

/** A client may have the server wait longer than its own limit, within what a connection can be expected to last. */
const MAX_TIMEOUT_MS = 24 * 3_600_000;

/** Names in other letters take ICU 30 µs each, and no more of them than this a millisecond. */
const MAX_INTERNATIONAL = 32;

/** A tunnel of a session, with the place that it claims. */
export type SessionTunnel = Omit<Tunnel, "kind" | "ports"> &
  Place & {
    /** What the local service gets as Host; if left out, what the visitor sent. */
    hostHeader?: string | undefined;
    /** By which the local service gets requests; `http` if left out. */
    scheme?: "https" | undefined;
    timeoutMs?: number | undefined;
    proxyProtocol?: ProxyProtocol | undefined;
    limits?: TunnelLimits | undefined;
  };

export interface NamingRules {
  /** Subdomains live under it. */
  domain: string;
  /** The keys to which exactly this hostname is written, or this one behind `tls:`. */
  ownersOf(name: string): readonly Owner[];
  /** The same, or else the keys to which the closest wildcard over a hostname is written. */
  ownersOver(hostname: string): readonly Owner[];
  /** The keys to which ports of the range are written, in the order of their ports. */
  portOwners(kind: PortKind, range: PortRange): readonly PortOwner[];
  /** What visitors type. */
  publicUrl(place: Place): string;
  /** The ports that every key may ask for; undefined for none. */
  freePorts(kind: PortKind): PortRange | undefined;
  /** Whether visitors arrive over TLS, by hostname. */
  readonly hasTls: boolean;
  /** Where the server itself listens, over TCP. */
  ownPorts(): readonly OwnPort[];
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
  const twice = nameGivenTwice(tunnels);
  if (twice !== undefined) {
    throw refused(`The name ${twice} is asked for twice. Give each tunnel its own name.`);
  }
  for (const tunnel of tunnels) {
    const own = "port" in tunnel && ownPortAmong(tunnel, rules.ownPorts());
    if (own) throw refused(`The TCP port ${own.port} is the server's own (${own.option}). Choose another.`);
  }
  return tunnels;
}

function nameGivenTwice(places: readonly Place[]): string | undefined {
  const hosts = new Set<string>();
  const ports: PortPlace[] = [];
  for (const place of places) {
    if (!("hostname" in place)) {
      if (place.port !== 0) ports.push(place);
      continue;
    }
    const name = hostName(place);
    if (hosts.has(name)) return name;
    hosts.add(name);
  }
  ports.sort((a, b) => (a.kind === b.kind ? a.port - b.port : a.kind < b.kind ? -1 : 1));
  const meets = ports.find(({ kind, port }, i) => {
    const before = ports[i - 1];
    return before?.kind === kind && port < before.port + before.ports;
  });
  return meets && portName(meets.kind, meets.port);
}

function mappedTunnels(key: Key, rules: NamingRules): SessionTunnel[] {
  if (key.tunnels.length === 0) {
    throw refused(
      "The server maps no tunnels to this key. Ask for one with: tunnel-client http PORT, or map one on the server.",
    );
  }
  if (!rules.hasTls && key.tunnels.some(({ kind }) => kind === "TLS")) throw noTls();
  return key.tunnels.map((tunnel, index) => ({
    id: index + 1,
    url: rules.publicUrl(tunnel),
    ...tunnel,
    hostHeader: hostHeaderOf(tunnel.hostHeader, tunnel.target),
    scheme: schemeOf(tunnel.target),
  }));
}

function wantedTunnels(
  key: Key,
  clientId: string,
  wanted: TunnelRequest[],
  rules: NamingRules,
): SessionTunnel[] {
  const international = wanted.flatMap(({ hostname, subdomain, hostHeader }) =>
    [hostname, subdomain, hostHeader].filter(isInternational),
  );
  if (international.length > MAX_INTERNATIONAL) {
    throw refused(
      `The client asks for ${international.length} names with letters beyond ASCII; one client may have ${MAX_INTERNATIONAL}. Run several.`,
    );
  }
  return wanted.map((request, index) => {
    const place = wantedPlace(key, clientId, request, rules);
    const { timeoutMs } = request;
    return {
      id: index + 1,
      request: index,
      name: request.name || ("hostname" in place ? place.hostname : `${place.kind} ${request.target}`),
      url: rules.publicUrl(place),
      target: request.target,
      hostHeader: wantedHostHeader(request),
      scheme: schemeOf(request.target),
      timeoutMs: timeoutMs === 0 ? undefined : Math.min(timeoutMs, MAX_TIMEOUT_MS),
      proxyProtocol: wantedProxyProtocol(request),
      // Last: V8 takes 14 µs to add fields behind a spread, and a third of one to spread behind them.
      ...place,
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
      const owners = rules.ownersOver(hostname);
      if (owners.length > 0 && !owners.some((owner) => owner.key.id === key.id)) {
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
  const range = { from: port, to: port + ports - 1 };
  const wrong = portNotFor(key, range, rules.portOwners(kind, range), free);
  if (!wrong) return place;
  if (wrong.isAnothers) throw refused(`The ${kind} port ${wrong.port} belongs to another key.`);
  const others = free ? `, or ask for one from ${free.from} to ${free.to}` : "";
  throw refused(
    `This key may not use the ${kind} port ${wrong.port}. Add it to the key's ports on the server${others}.`,
  );
}

/**
 * The first port of a range that a key may not have. One that is written to several keys is each one's, one that is written to
 * none has to be free.
 *
 * @param owners in the order of their ports
 */
function portNotFor(
  key: Key,
  { from, to }: PortRange,
  owners: readonly PortOwner[],
  free: PortRange | undefined,
): { port: number; isAnothers: boolean } | undefined {
  let [ownTo, othersTo] = [0, 0];
  let next = 0;
  let port = from;
  while (port <= to) {
    for (; next < owners.length && owners[next]!.from <= port; next++) {
      const owner = owners[next]!;
      if (owner.key.id === key.id) ownTo = Math.max(ownTo, owner.to);
      else othersTo = Math.max(othersTo, owner.to);
    }
    if (ownTo >= port) port = ownTo + 1;
    else if (othersTo >= port) return { port, isAnothers: true };
    else if (free && port >= free.from && port <= free.to)
      port = Math.min(free.to + 1, owners[next]?.from ?? Infinity);
    else return { port, isAnothers: false };
  }
  return undefined;
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
  const { hosts, wildcards, wildcardLabels } = namesOf(key);
  if (hosts.has(hostname)) return true;
  for (const wildcard of wildcardsOver(hostname, wildcardLabels)) if (wildcards.has(wildcard)) return true;
  const label = hostname.endsWith(`.${domain}`) ? hostname.slice(0, -domain.length - 1) : undefined;
  return label !== undefined && normalizeLabel(label) === label;
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

function schemeOf(target: string): "https" | undefined {
  const parsed = parseTarget(target);
  return typeof parsed !== "string" && "tls" in parsed ? "https" : undefined;
}

/** The same for the same client and port or socket, so that a link that was shared yesterday works today. */
function generatedSubdomain(clientId: string, target: string): string {
  const parsed = parseTarget(target);
  const place = typeof parsed === "string" || "path" in parsed ? target : parsed.port;
  const digest = hash("sha256", `${clientId}\n${place}`, "buffer");
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

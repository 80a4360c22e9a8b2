import { createHash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { Tunnel, TunnelRequest } from "../../link/messages.ts";
import { hostOf, parseTarget } from "../../link/target.ts";
import { namesOf, type Key } from "../access/key-ring.ts";
import {
  normalizePublicName,
  normalizeSubdomain,
  splitHostPort,
  wildcardsOver,
} from "../routing/hostname.ts";

/** A client may have the server wait longer than its own limit, within what a connection can be expected to last. */
const MAX_TIMEOUT_MS = 24 * 3_600_000;

/** A tunnel of a session, with the public name that it claims. */
export interface SessionTunnel extends Tunnel {
  hostname: string;
  /** What the local service gets as Host; if left out, what the visitor sent. */
  hostHeader?: string | undefined;
  timeoutMs?: number | undefined;
}

export interface NamingRules {
  /** Subdomains live under it. */
  domain: string;
  /** The keys to which exactly this public name is written. */
  ownersOf(name: string): readonly Key[];
  publicUrl(hostname: string): string;
}

/**
 * The tunnels that a client gets: those that the server maps to its key, or those that it asks for, with names
 * within the key's rights. Who holds a name at the moment is not looked at here.
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
  for (const { hostname } of tunnels) {
    if (seen.has(hostname))
      throw refused(`The name ${hostname} is asked for twice. Give each tunnel its own name.`);
    seen.add(hostname);
  }
  return tunnels;
}

function mappedTunnels(key: Key, rules: NamingRules): SessionTunnel[] {
  if (key.tunnels.length === 0) {
    throw refused(
      "The server maps no tunnels to this key. Ask for one with: tunnel-client http PORT, or map one on the server.",
    );
  }
  return key.tunnels.map((tunnel, index) => ({
    id: index + 1,
    name: tunnel.name,
    kind: tunnel.kind,
    hostname: tunnel.hostname,
    url: rules.publicUrl(tunnel.hostname),
    target: tunnel.target,
    targetTls: tunnel.targetTls,
    hostHeader: hostHeaderOf(tunnel.hostHeader, tunnel.target),
    timeoutMs: tunnel.timeoutMs,
  }));
}

function wantedTunnels(
  key: Key,
  clientId: string,
  wanted: TunnelRequest[],
  rules: NamingRules,
): SessionTunnel[] {
  return wanted.map((request, index) => {
    const hostname = wantedHostname(key, clientId, request, rules);
    const owners = ownersOver(hostname, rules);
    if (owners.length > 0 && !owners.some((owner) => owner.id === key.id)) {
      throw refused(`The name ${hostname} belongs to another key.`);
    }
    const { timeoutMs } = request;
    return {
      id: index + 1,
      request: index,
      name: request.name || hostname,
      kind: request.kind,
      hostname,
      url: rules.publicUrl(hostname),
      target: request.target,
      hostHeader: wantedHostHeader(request),
      timeoutMs: timeoutMs === 0 ? undefined : Math.min(timeoutMs, MAX_TIMEOUT_MS),
    };
  });
}

function wantedHostname(key: Key, clientId: string, request: TunnelRequest, rules: NamingRules): string {
  if (request.hostname === "") {
    const subdomain = normalizeSubdomain(request.subdomain || generatedSubdomain(clientId, request.target));
    if (subdomain === undefined) {
      throw refused(
        `The subdomain ${JSON.stringify(request.subdomain)} cannot be used: letters, digits and "-" only, at most 63.`,
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
  return label !== undefined && normalizeSubdomain(label) === label;
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

function refused(message: string): TunnelError {
  return new TunnelError("name_refused", message);
}

import { createHash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { Tunnel, TunnelRequest } from "../../link/messages.ts";
import type { Key } from "../access/key-ring.ts";
import { normalizeHostname, normalizeSubdomain } from "../routing/hostname.ts";

/** A tunnel of a session, with the name that it claims: a whole hostname, or "*" for whatever no other takes. */
export interface SessionTunnel extends Tunnel {
  hostname: string;
}

export interface NamingRules {
  /** Subdomains live under it. */
  domain: string;
  /** The key in whose config a hostname stands. */
  ownerOf(hostname: string): Key | undefined;
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
    const owner = rules.ownerOf(hostname);
    if (owner && owner.id !== key.id) throw refused(`The name ${hostname} belongs to another key.`);
    return {
      id: index + 1,
      request: index,
      name: request.name || hostname,
      kind: request.kind,
      hostname,
      url: rules.publicUrl(hostname),
      target: request.target,
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
  const hostname = request.hostname === "*" ? "*" : normalizeHostname(request.hostname);
  if (hostname === undefined) {
    throw refused(
      `The hostname ${JSON.stringify(request.hostname)} cannot be used: a name such as app.example.com.`,
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
  if (key.hostnames.includes(hostname) || key.tunnels.some((tunnel) => tunnel.hostname === hostname))
    return true;
  const label = hostname.endsWith(`.${domain}`) ? hostname.slice(0, -domain.length - 1) : undefined;
  return label !== undefined && normalizeSubdomain(label) === label;
}

/** The same for the same client and port, so that a link that was shared yesterday works today. */
function generatedSubdomain(clientId: string, target: string): string {
  const port = /(\d+)$/.exec(target)?.[1] ?? target;
  const digest = createHash("sha256").update(`${clientId}\n${port}`).digest();
  let name = "";
  // 8 of 32 letters: 40 bits, so that nobody guesses it and two clients never meet.
  for (let i = 0; i < 8; i++) name += "abcdefghijkmnpqrstuvwxyz23456789"[digest[i]! % 32];
  return name;
}

function refused(message: string): TunnelError {
  return new TunnelError("name_refused", message);
}

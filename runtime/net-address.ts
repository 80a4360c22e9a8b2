import { isIPv4, isIPv6 } from "node:net";

/** A host (a name, or an IP address without brackets) and a port. */
export interface NetAddress {
  host: string;
  port: number;
}

/** Where to listen; without a host on all addresses, IPv6 and IPv4. Port 0 is any free one. */
export interface ListenAddress {
  host?: string;
  port: number;
}

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const HOST_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*\\.?$`, "i");
const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;

/**
 * Each of these gives the address, or a string that says what was expected, to be followed by what was got:
 * `expected HOST:PORT such as 127.0.0.1:3000`.
 */

/** `:8080`, `8080`, `127.0.0.1:8080`, `[::1]:8080`. */
export function parseListenAddress(text: string): ListenAddress | string {
  return parse(text, { what: "an address and port such as :8080 or 127.0.0.1:8080", minPort: 0 });
}

/** A local service: `127.0.0.1:3000`, `[::1]:3000`; `3000` is localhost:3000, which is this machine by IPv4 or IPv6. */
export function parseTargetAddress(text: string): NetAddress | string {
  const parsed = parse(text, { what: "HOST:PORT such as 127.0.0.1:3000", minPort: 1 });
  return typeof parsed === "string" ? parsed : { host: parsed.host ?? "localhost", port: parsed.port };
}

/** A server elsewhere: `tunnel.example.com:7000`; both parts must be there. */
export function parseServerAddress(text: string): NetAddress | string {
  const what = "HOST:PORT such as tunnel.example.com:7000";
  const parsed = parse(text, { what, minPort: 1 });
  if (typeof parsed === "string") return parsed;
  return parsed.host === undefined ? `expected ${what}` : { host: parsed.host, port: parsed.port };
}

/** As the parsers read it: `127.0.0.1:3000`, `[::1]:3000`, `:8080`. */
export function formatAddress({ host, port }: ListenAddress): string {
  if (host === undefined) return `:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether a text is a DNS name or an IPv4 address, as far as its letters and lengths tell. */
export function isHostName(text: string): boolean {
  if (text.length > 254 || !HOST_NAME.test(text)) return false;
  // A name whose last label is a number would be read as an odd spelling of an IPv4 address.
  return !/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/i.test(text) || isIPv4(text);
}

function parse(text: string, { what, minPort }: { what: string; minPort: number }): ListenAddress | string {
  if (SCHEME.test(text)) return `expected ${what}, without ${SCHEME.exec(text)![0]}`;
  const match = /^(?:\[([^[\]]+)\]:|([^[\]:]*):)?([0-9]+)$/.exec(text);
  if (!match) {
    return isIPv6(text) || isIPv6(text.replace(/:[0-9]*$/, ""))
      ? `expected ${what}; an IPv6 address stands in brackets, such as [::1]:3000`
      : `expected ${what}`;
  }
  const [, ipv6, name, digits] = match;
  const port = Number(digits);
  if (port < minPort || port > 65535) return `expected ${what}; a port is ${minPort} to 65535`;
  if (ipv6 !== undefined) return isIPv6(ipv6) ? { host: ipv6, port } : `expected ${what}`;
  if (!name) return text === ":" ? `expected ${what}` : { port };
  return isHostName(name) ? { host: name, port } : `expected ${what}`;
}

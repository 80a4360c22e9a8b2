import { isIPv6 } from "node:net";
import { formatAddress, parseTargetAddress, type NetAddress } from "../runtime/net-address.ts";

/** Where a local service is: the server maps it, the client dials it. */
export type Target = TcpTarget | SocketTarget;

export interface TcpTarget extends NetAddress {
  /** The service speaks TLS: `https://`. */
  tls?: true;
}

/** A UNIX socket. */
export interface SocketTarget {
  /** Absolute. */
  path: string;
}

/** The field of the kernel's address holds 108 bytes with the zero at its end (unix(7)). */
const MAX_PATH_BYTES = 107;
const CONTROL = /[\x00-\x1f\x7f]/;

/**
 * Reads `127.0.0.1:3000`, `3000`, `http://localhost:3000`, `https://192.168.1.10` (port 443), `unix:/run/app.sock`.
 * What it cannot read gives a string that says what was expected, to be followed by what was got.
 */
export function parseTarget(text: string): Target | string {
  if (text.startsWith("unix:")) return parseSocket(text.slice("unix:".length).replace(/^\/\//, ""));
  const url = /^(https?):\/\/([^/?#@]+)\/?$/i.exec(text);
  if (!url) {
    return /^https?:\/\//i.test(text)
      ? "expected a target without a path, such as https://127.0.0.1:8443"
      : parseTargetAddress(text);
  }
  const [, scheme = "", authority = ""] = url;
  const tls = scheme.toLowerCase() === "https";
  const address = parseTargetAddress(hasPort(authority) ? authority : `${authority}:${tls ? 443 : 80}`);
  if (typeof address === "string") return address;
  return tls ? { ...address, tls } : address;
}

/** As `parseTarget` reads it. */
export function formatTarget(target: Target): string {
  if ("path" in target) return `unix:${target.path}`;
  return target.tls ? `https://${formatAddress(target)}` : formatAddress(target);
}

/** The value of a Host field that the service would get from a visitor of its own: without the scheme's usual port. */
export function hostOf(target: Target): string {
  if ("path" in target) return "localhost";
  const { host, port, tls } = target;
  if (port !== (tls ? 443 : 80)) return formatAddress(target);
  return isIPv6(host) ? `[${host}]` : host;
}

function hasPort(authority: string): boolean {
  return /:\d*$/.test(authority) && !isIPv6(authority);
}

function parseSocket(path: string): Target | string {
  const expected = "expected a UNIX socket such as unix:/run/app.sock";
  if (!path.startsWith("/")) return `${expected}, with an absolute path`;
  if (path.endsWith("/") || CONTROL.test(path) || path.split("/").includes("..")) return expected;
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `${expected}, of at most ${MAX_PATH_BYTES} bytes`;
  return { path };
}

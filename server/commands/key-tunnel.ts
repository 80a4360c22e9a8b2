import { parseTcpTarget, parseTlsTarget, parseUdpTarget } from "../../link/byte-target.ts";
import { parsePortRange, type PortRange } from "../../link/port-range.ts";
import { formatTarget, parseTarget, type Target } from "../../link/target.ts";
import { quoted } from "../../runtime/printable.ts";
import { normalizePublicName, normalizeSubdomain } from "../routing/hostname.ts";
import { type HostPlace, type PortKind, portPlace, publicNamesOf } from "../routing/place.ts";
import { isName, type MappedTunnel } from "../store/key-file.ts";
import { CommandError } from "../../runtime/command-error.ts";

/** What stands before the target of a tunnel that is not for HTTP, or where a target looks like such a one; `http://` is a target. */
export const KIND_IN_FRONT = /^(http|tls|tcp|udp):(?!\/\/)/;
/** What stands behind the "@" for any free port. */
export const ANY_PORT = "0";

/**
 * Reads the values of --tunnel: `web=127.0.0.1:3000@app.example.com`, `web=3000@app` (a name under the domain),
 * `web=3000` (the tunnel's name is the name under the domain), `web=3000@*`; with `https://10.0.0.5` or `unix:/run/app.sock`
 * as target too. With another kind before the target: `mail=tls:993@mail.example.com`, `ssh=tcp:22@2222`, `ssh=tcp:22` (any free
 * port), `game=udp:27015@27015`, `range=tcp:127.0.0.1:6000-6010@6000-6010`.
 *
 * @throws CommandError
 */
export function parseTunnels(texts: readonly string[], domain: string): MappedTunnel[] {
  const tunnels = texts.map((text) => parseTunnel(text, domain));
  once(
    "name",
    tunnels.map(({ name }) => name),
  );
  once("address", tunnels.flatMap(publicNamesOf));
  return tunnels;
}

/** @throws CommandError */
function once(what: string, values: string[]): void {
  const twice = values.find((value, index) => values.indexOf(value) !== index);
  if (twice !== undefined) throw new CommandError(2, `--tunnel: the ${what} ${quoted(twice)} is given twice`);
}

/** @throws CommandError */
export function parseHostname(text: string): string {
  const hostname = normalizePublicName(text);
  if (hostname !== undefined) return hostname;
  throw new CommandError(
    2,
    `--hostname: expected a hostname such as app.example.com, "*.example.com", or "*" for whatever no other name takes, got ${quoted(text)}`,
  );
}

/** @throws CommandError */
export function parsePorts(text: string): PortRange {
  const range = parsePortRange(text);
  if (typeof range === "string") throw new CommandError(2, `--port: ${range}, got ${quoted(text)}`);
  return range;
}

/** Says what was expected in one value of --tunnel. */
type Fail = (expected: string) => CommandError;

function parseTunnel(text: string, domain: string): MappedTunnel {
  const fail: Fail = (expected) => new CommandError(2, `--tunnel ${quoted(text)}: ${expected}`);
  // Targets may hold an "@", names of hosts may not.
  const match = /^([^=]*)=(.*?)(?:@([^@]*))?$/s.exec(text);
  if (!match) {
    throw fail("expected NAME=TARGET or NAME=TARGET@HOSTNAME, such as web=127.0.0.1:3000@app.example.com");
  }
  const [, name = "", place = "", at] = match;
  if (!isName(name)) throw fail('expected a name of letters, digits, ".", "_" and "-" before the "="');
  const kind = KIND_IN_FRONT.exec(place)?.[1];
  const target = kind === undefined ? place : place.slice(kind.length + 1);
  switch (kind) {
    case "tcp":
      return portTunnel({ kind: "TCP", name, target, at }, fail);
    case "udp":
      return portTunnel({ kind: "UDP", name, target, at }, fail);
    case "tls":
      return hostTunnel({ kind: "TLS", name, target: parseTlsTarget(target), at, domain }, fail);
    default:
      return hostTunnel({ kind: "HTTP", name, target: parseTarget(target), at, domain }, fail);
  }
}

function hostTunnel(
  tunnel: {
    kind: HostPlace["kind"];
    name: string;
    target: Target | string;
    at: string | undefined;
    domain: string;
  },
  fail: Fail,
): MappedTunnel {
  const { kind, name, target, at, domain } = tunnel;
  if (typeof target === "string") throw fail(target);
  if (kind === "HTTP" && at !== undefined && /^\d+$/.test(at)) {
    const bare = "port" in target ? target.port : formatTarget(target);
    throw fail(`a number is no subdomain; for a public port write ${name}=tcp:${bare}@${at} (or udp:)`);
  }
  const hostname = at === undefined ? subdomainOf(name, domain) : hostnameOf(at, domain);
  if (hostname === undefined) {
    throw fail(
      at === undefined
        ? "its name cannot be a subdomain: add @HOSTNAME or @SUBDOMAIN"
        : 'expected a hostname such as app.example.com, a subdomain such as app, or "*" behind the "@"',
    );
  }
  return { name, kind, hostname, target: formatTarget(target) };
}

function portTunnel(
  { kind, name, target: text, at }: { kind: PortKind; name: string; target: string; at: string | undefined },
  fail: Fail,
): MappedTunnel {
  const target = kind === "UDP" ? parseUdpTarget(text) : parseTcpTarget(text);
  if (typeof target === "string") throw fail(target);
  const given = at === undefined || at === ANY_PORT ? undefined : parsePortRange(at);
  if (typeof given === "string") throw fail(`behind the "@": ${given}`);
  const place = portPlace(kind, given, target);
  if (typeof place === "string") throw fail(place);
  return { name, ...place, target: formatTarget(target.target) };
}

/** What has no dot is a name under the domain. */
function hostnameOf(text: string, domain: string): string | undefined {
  return text === "*" || text.includes(".") ? normalizePublicName(text) : subdomainOf(text, domain);
}

function subdomainOf(text: string, domain: string): string | undefined {
  const subdomain = normalizeSubdomain(text);
  return subdomain && `${subdomain}.${domain}`;
}

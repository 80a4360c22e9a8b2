import { formatTarget, parseTarget } from "../../link/target.ts";
import { quoted } from "../../runtime/printable.ts";
import { normalizePublicName, normalizeSubdomain } from "../routing/hostname.ts";
import { publicNamesOf } from "../routing/place.ts";
import { isName, type MappedTunnel } from "../store/key-file.ts";
import { CommandError } from "../../runtime/command-error.ts";

/**
 * Reads the values of --tunnel: `web=127.0.0.1:3000@app.example.com`, `web=3000@app` (a name under the domain),
 * `web=3000` (the tunnel's name is the name under the domain), `web=3000@*`; with `https://10.0.0.5` or `unix:/run/app.sock`
 * as target too.
 *
 * @throws CommandError
 */
export function parseTunnels(texts: readonly string[], domain: string): MappedTunnel[] {
  const tunnels = texts.map((text) => parseTunnel(text, domain));
  once(
    "name",
    tunnels.map(({ name }) => name),
  );
  once("hostname", tunnels.flatMap(publicNamesOf));
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

function parseTunnel(text: string, domain: string): MappedTunnel {
  const fail = (expected: string): CommandError =>
    new CommandError(2, `--tunnel ${quoted(text)}: ${expected}`);
  // Targets may hold an "@", names of hosts may not.
  const match = /^([^=]*)=(.*?)(?:@([^@]*))?$/s.exec(text);
  if (!match)
    throw fail("expected NAME=TARGET or NAME=TARGET@HOSTNAME, such as web=127.0.0.1:3000@app.example.com");
  const [, name = "", targetText = "", at] = match;
  if (!isName(name)) throw fail('expected a name of letters, digits, ".", "_" and "-" before the "="');
  const target = parseTarget(targetText);
  if (typeof target === "string") throw fail(target);
  const hostname = at === undefined ? subdomainOf(name, domain) : hostnameOf(at, domain);
  if (hostname === undefined) {
    throw fail(
      at === undefined
        ? "its name cannot be a subdomain: add @HOSTNAME or @SUBDOMAIN"
        : 'expected a hostname such as app.example.com, a subdomain such as app, or "*" behind the "@"',
    );
  }
  return { name, kind: "HTTP", hostname, target: formatTarget(target) };
}

/** What has no dot is a name under the domain. */
function hostnameOf(text: string, domain: string): string | undefined {
  return text === "*" || text.includes(".") ? normalizePublicName(text) : subdomainOf(text, domain);
}

function subdomainOf(text: string, domain: string): string | undefined {
  const subdomain = normalizeSubdomain(text);
  return subdomain && `${subdomain}.${domain}`;
}

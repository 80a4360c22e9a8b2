/** Targets of TCP, UDP and TLS tunnels: what passes there is bytes, of a scheme that nobody looks at. */
import { parseTargetAddress } from "../runtime/net-address.ts";
import { MAX_PORTS, parsePortRange, portsIn } from "./port-range.ts";
import { formatTarget, parseTarget, type Target } from "./target.ts";

/** As many local services as ports, one behind the other. */
export interface TargetRange {
  /** The first of them. */
  target: Target;
  ports: number;
}

const EXPECTED = "expected HOST:PORT such as 127.0.0.1:3000";

/**
 * Each of these gives the target, or a string that says what was expected, to be followed by what was got.
 */

/** `22`, `192.168.1.10:3389`, `6000-6010`, `[::1]:6000-6010`, `unix:/run/app.sock`. */
export function parseTcpTarget(text: string): TargetRange | string {
  return text.startsWith("unix:") ? onePort(parseTarget(text)) : parseAddresses(text);
}

/** As of TCP, but no UNIX sockets. */
export function parseUdpTarget(text: string): TargetRange | string {
  return text.startsWith("unix:")
    ? `${EXPECTED}, since UDP goes to ports and not to UNIX sockets`
    : parseAddresses(text);
}

/** As of TCP, but one port: that is what visitors by a hostname share. */
export function parseTlsTarget(text: string): Target | string {
  const parsed = parseTcpTarget(text);
  if (typeof parsed === "string") return parsed;
  return parsed.ports === 1
    ? parsed.target
    : `${EXPECTED}, with one port since all visitors of a hostname go to the same`;
}

/** As `parseTcpTarget` reads it. */
export function formatTargetRange({ target, ports }: TargetRange): string {
  const first = formatTarget(target);
  return "path" in target || ports === 1 ? first : `${first}-${target.port + ports - 1}`;
}

/** What `--allow` takes for this target and no other (client/local/consent.ts): no scheme, and no zone. */
export function allowRuleFor({ target, ports }: TargetRange): string {
  if ("path" in target) return formatTarget(target);
  const { host, port } = target;
  return formatTargetRange({ target: { host: host.replace(/%.*/s, ""), port }, ports });
}

function parseAddresses(text: string): TargetRange | string {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  if (scheme !== undefined) return `${EXPECTED}, without ${scheme} since the bytes pass untouched`;
  const [, first, last] = /^((?:.*:)?\d+)-(\d+)$/s.exec(text) ?? [];
  if (first === undefined) return onePort(parseTargetAddress(text));
  const target = parseTargetAddress(first);
  if (typeof target === "string") return target;
  const range = parsePortRange(`${target.port}-${last}`);
  if (typeof range === "string") return range;
  const ports = portsIn(range);
  return ports > MAX_PORTS ? `expected at most ${MAX_PORTS} ports: a tunnel has no more` : { target, ports };
}

function onePort(target: Target | string): TargetRange | string {
  return typeof target === "string" ? target : { target, ports: 1 };
}

/**
 * Two-sided consent: the server says which target a tunnel maps to, the client's owner says what may be dialled.
 * Asked about resolved addresses, at the moment of dialling.
 */
import { isIP } from "node:net";
import type { PortRange } from "../../link/port-range.ts";
import type { Target } from "../../link/target.ts";
import { AddressRanges } from "../../runtime/address-ranges.ts";
import { plainAddress } from "../../runtime/ip-address.ts";
import { judgeSocket, parseSocketRule, type SocketRule, type SocketVerdict } from "./socket-consent.ts";

export interface Consent {
  /**
   * Whether this address may be dialled.
   * @param host the target's host, as configured, that `address` was resolved from
   */
  allows(address: string, port: number, host?: string): boolean;
  /**
   * Whether there is an address, of those that this host may resolve to, that may be dialled. If not, it is not even looked up:
   * the server could tell from the answer which names there are.
   * @param host a name, or an address itself
   */
  mayAllow(host: string, port: number): boolean;
  /**
   * Whether a UNIX socket may be dialled, and by which path.
   * @throws NodeJS.ErrnoException of "realpath" if an allowed path leads nowhere
   */
  judgeSocket(path: string): SocketVerdict;
}

interface Rule {
  ports: readonly PortRange[];
  /** The only one whose addresses it is about. */
  host?: string;
  /** The only ones that it is about. */
  range?: AddressRanges;
}

/**
 * Reads `--allow` rules, which add to loopback.
 *
 * - `192.168.1.0/24`, `192.168.1.7`, `[fd00::/8]`, `nas.lan`, `any`; each with `:80,443,8000-8100` behind it for these
 *   ports alone. A hostname stands for whatever it resolves to.
 * - `unix:/run/app.sock`, `unix:/run/apps/`: UNIX sockets, which no other rule allows, `any` least of all.
 * - `none` takes loopback away: then only what other rules name.
 *
 * @param options.loopback false: not even without `none`
 * @throws Error that lists every rule that cannot be read, one a line
 */
export function parseAllowRules(texts: readonly string[], { loopback = true } = {}): Consent {
  const problems: string[] = [];
  const rules: Rule[] = [];
  const sockets: SocketRule[] = [];
  for (const text of texts) {
    if (text === "none") continue;
    try {
      if (text.startsWith("unix:")) sockets.push(parseSocketRule(text));
      else rules.push(parseRule(text));
    } catch (error) {
      problems.push(`--allow ${text}: ${(error as Error).message}`);
    }
  }
  const none = texts.includes("none");
  if (none && texts.some((text) => /^any(:|$)/.test(text)))
    problems.push("--allow none and --allow any contradict each other");
  if (loopback && !none) rules.push(addressRule("127.0.0.0", 8, ANY_PORT), addressRule("::1", 128, ANY_PORT));
  if (problems.length > 0) throw new Error(problems.join("\n"));
  const allows = (address: string, port: number, host = address): boolean => {
    const plain = plainAddress(dialledAddress(address));
    const name = plainName(host);
    return (
      plain !== undefined &&
      rules.some((rule) => isAbout(rule, name, port) && (rule.range === undefined || rule.range.has(plain)))
    );
  };
  return {
    allows,
    mayAllow(host, port) {
      if (isIP(host) !== 0) return allows(host, port);
      const name = plainName(host);
      return rules.some((rule) => isAbout(rule, name, port));
    },
    judgeSocket: (path) => judgeSocket(path, sockets),
  };
}

/** What was expected in place of a rule that `parseAllowRules` cannot read; undefined if it can. */
export function expectedAllowRule(text: string): string | undefined {
  try {
    parseAllowRules([text]);
    return undefined;
  } catch {
    return /^all(:|$)/.test(text)
      ? ANY_EXPECTED
      : "expected an address range such as 192.168.1.0/24:80,443, a hostname, unix:/run/app.sock, any or none";
  }
}

/**
 * Consent for a target that the client's own user typed, wherever its name or path leads.
 *
 * @param ports how many, from the target's own on
 */
export function consentTo(target: Target, ports = 1): Consent {
  const mayAllow = (host: string, port: number): boolean =>
    "host" in target &&
    port >= target.port &&
    port < target.port + ports &&
    plainName(host) === plainName(target.host);
  return {
    allows: (address, port, host = address) => mayAllow(host, port),
    mayAllow,
    judgeSocket: (path) => ({ allowed: "path" in target && path === target.path, path }),
  };
}

/**
 * The address that the kernel dials for `address`: the unspecified addresses mean loopback (so Linux has it), and an
 * IPv4-mapped IPv6 address means the IPv4 one. What is checked is then what is dialled.
 */
export function dialledAddress(address: string): string {
  const plain = plainAddress(address);
  if (plain === "0.0.0.0") return "127.0.0.1";
  if (plain === "::") return "::1";
  // An IPv6 address keeps its zone, which says by which way it is reached.
  return plain !== undefined && isIP(plain) === 4 ? plain : address;
}

/** What some write `all` for. */
const ANY_EXPECTED = 'expected "any" for every address';
const ANY_PORT: readonly PortRange[] = [{ from: 1, to: 65_535 }];
const HOSTNAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i;
/** What resolvers read as an IPv4 address in one of its old spellings: 127.1, 0x7f000001. */
const ADDRESS_LIKE = /(^|\.)(\d+|0x[0-9a-f]*)\.?$/i;

function parseRule(text: string): Rule {
  const { subject, ports } = splitPorts(text);
  if (subject === "all") throw new Error(`${ANY_EXPECTED}, got "all"`);
  if (subject === "any") return { ports };
  const slash = subject.indexOf("/");
  const address = slash < 0 ? subject : subject.slice(0, slash);
  if (isIP(address) === 0) {
    if (slash < 0 && HOSTNAME.test(address) && !ADDRESS_LIKE.test(address))
      return { ports, host: plainName(address) };
    throw new Error(
      `expected an address range such as 192.168.1.0/24, an address, a hostname, "any" or "none", got "${subject}"`,
    );
  }
  if (address.includes("%")) throw new Error("an address here has no zone (%…)");
  const bits = isIP(address) === 4 ? 32 : 128;
  if (slash < 0) return addressRule(address, bits, ports);
  const prefix = subject.slice(slash + 1);
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) {
    throw new Error(`expected a prefix length from 0 to ${bits} behind the slash, got "${prefix}"`);
  }
  return addressRule(address, Number(prefix), ports);
}

function splitPorts(text: string): { subject: string; ports: readonly PortRange[] } {
  const bracketed = /^\[([^[\]]*)\](\/\d+)?(?::(.*))?$/.exec(text);
  if (bracketed) {
    const [, inside = "", prefix = "", ports] = bracketed;
    return { subject: inside + prefix, ports: ports === undefined ? ANY_PORT : parsePorts(ports) };
  }
  const colon = text.indexOf(":");
  if (colon < 0) return { subject: text, ports: ANY_PORT };
  if (text.includes(":", colon + 1)) {
    if (isIP(text.split("/")[0]!) === 6 && !/\/.*:/.test(text)) return { subject: text, ports: ANY_PORT };
    throw new Error("an IPv6 address with ports stands in brackets: [fd00::/8]:80");
  }
  return { subject: text.slice(0, colon), ports: parsePorts(text.slice(colon + 1)) };
}

function parsePorts(text: string): PortRange[] {
  return text.split(",").map((part) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (!match || from < 1 || to > 65_535 || from > to) {
      throw new Error(`expected ports such as 80,443,8000-8100, got "${part}"`);
    }
    return { from, to };
  });
}

function addressRule(address: string, prefix: number, ports: readonly PortRange[]): Rule {
  const plain = plainAddress(address)!;
  const isMapped = isIP(address) === 6 && isIP(plain) === 4 && prefix >= 96;
  return { ports, range: new AddressRanges([isMapped ? `${plain}/${prefix - 96}` : `${address}/${prefix}`]) };
}

/** @param name as `plainName` gives it */
function isAbout({ ports, host }: Rule, name: string, port: number): boolean {
  return (host === undefined || host === name) && ports.some(({ from, to }) => port >= from && port <= to);
}

function plainName(host: string): string {
  return host.toLowerCase().replace(/\.$/, "");
}

import { isIPv4, isIPv6 } from "node:net";
import { domainToASCII, domainToUnicode } from "node:url";

export interface HostAndPort {
  /** As `normalizeHostname` gives it; an IPv6 address in brackets, `[::1]`. */
  hostname: string;
  /** 0 to 65535. */
  port?: number;
}

// Letters, digits and hyphens inside (RFC 1123 section 2.1); underscores too, since names in the field have them.
const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const PLAIN = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const MAX_OCTETS = 253;
// What domainToASCII would decode, cut at, or take for user information instead of refusing it.
const NOT_OF_A_NAME = /[\u0000-\u0020\u007f-\u00a0\u2028\u2029!"#$%&'()*+,/:;<=>?@[\\\]^`{|}~]/;
const PORT = /^[0-9]{0,5}$/;

/**
 * A hostname in its one spelling: lower case, no dot at the end, international names in their ASCII form (`xn--`).
 * `undefined` for what is no DNS name and no IPv4 address: ports, user information, paths, lists, `*`.
 */
export function normalizeHostname(text: string): string | undefined {
  // The usual Host of a visitor takes this path alone.
  if (text.length <= MAX_OCTETS && PLAIN.test(text)) return checkPlain(text);
  if (text.length > 4 * MAX_OCTETS || NOT_OF_A_NAME.test(text)) return undefined;
  const plain = isAscii(text);
  const ascii = plain ? text.toLowerCase() : domainToASCII(text);
  const name = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  if (name.length > MAX_OCTETS || !PLAIN.test(name)) return undefined;
  // Full-width digits become an address, which nobody means who writes them.
  return plain || !isIPv4(name) ? checkPlain(name) : undefined;
}

/**
 * A name that a tunnel may have, normalised: a hostname; `*.example.com` for every name beneath it that no other tunnel
 * takes; or `*` for whatever no other name takes.
 */
export function normalizePublicName(text: string): string | undefined {
  if (text === "*") return text;
  if (!text.startsWith("*.")) return normalizeHostname(text);
  const name = normalizeHostname(text.slice(2));
  // Beneath an IP address there is nothing.
  return name === undefined || isIPv4(name) || name.length + 2 > MAX_OCTETS ? undefined : `*.${name}`;
}

/** Whether a name has letters beyond ASCII, as they are or in their ASCII form. */
export function isInternational(text: string): boolean {
  return !isAscii(text) || /xn--/i.test(text);
}

/** How many labels a wildcard has behind its `*`. */
export function labelsBehind(wildcard: string): number {
  return wildcard.split(".").length - 1;
}

/**
 * The wildcards over a public name, the closest first: of `a.b.test` `*.b.test` and `*.test`.
 *
 * @param maxLabels leaves out those with more labels: a name may have 127, and wildcards have three or four
 */
export function* wildcardsOver(name: string, maxLabels = Infinity): Generator<string> {
  const bare = name.startsWith("*.") ? name.slice(2) : name;
  const dots: number[] = [];
  for (
    let dot = bare.lastIndexOf(".");
    dot > 0 && dots.length < maxLabels;
    dot = bare.lastIndexOf(".", dot - 1)
  )
    dots.push(dot);
  for (const dot of dots.toReversed()) yield `*${bare.slice(dot)}`;
}

/**
 * One label under a domain: letters, digits, hyphens; normalised as a hostname is. A number is none: whoever writes one means a
 * port (`ssh=22@2222`).
 */
export function normalizeSubdomain(text: string): string | undefined {
  return /^\d+$/.test(text) ? undefined : normalizeLabel(text);
}

/** As `normalizeSubdomain`, of whole hostnames: there a label may be a number. */
export function normalizeLabel(text: string): string | undefined {
  // Read with a domain behind it, since a number alone is no hostname, and is one there.
  const label = normalizeHostname(`${text}.localhost`)?.slice(0, -".localhost".length);
  return label === undefined || /[._]/.test(label) ? undefined : label;
}

/**
 * Reads the value of a Host field (RFC 9110 section 7.2, RFC 3986 section 3.2.2): `name`, `name:port`, `1.2.3.4:port`,
 * `[::1]:port`. Bytes beyond ASCII are refused: on the wire an international name has its ASCII form.
 */
export function splitHostPort(hostHeader: string): HostAndPort | undefined {
  if (hostHeader.startsWith("[")) return splitIPv6(hostHeader);
  const colon = hostHeader.indexOf(":");
  const name = colon < 0 ? hostHeader : hostHeader.slice(0, colon);
  if (!isAscii(name)) return undefined;
  const hostname = normalizeHostname(name);
  if (hostname === undefined) return undefined;
  return colon < 0 ? { hostname } : withPort(hostname, hostHeader.slice(colon + 1));
}

function splitIPv6(text: string): HostAndPort | undefined {
  const close = text.indexOf("]");
  const address = text.slice(1, close);
  const rest = text.slice(close + 1);
  // A zone (%eth0) means something on one machine only.
  if (close < 0 || address.includes("%") || !isIPv6(address)) return undefined;
  // URL gives the one spelling of RFC 5952.
  const { hostname } = new URL(`http://[${address}]/`);
  if (rest === "") return { hostname };
  return rest.startsWith(":") ? withPort(hostname, rest.slice(1)) : undefined;
}

/** RFC 3986 section 3.2.3 lets a port be empty. */
function withPort(hostname: string, digits: string): HostAndPort | undefined {
  if (digits === "") return { hostname };
  if (!PORT.test(digits)) return undefined;
  const port = Number(digits);
  return port <= 65535 ? { hostname, port } : undefined;
}

/** What the pattern of a plain name lets through, and is none or has another spelling. */
function checkPlain(name: string): string | undefined {
  const lastLabel = name.charCodeAt(name.lastIndexOf(".") + 1);
  // Browsers read a name whose last label is a number as an IPv4 address, hexadecimal ones too (WHATWG URL, 3.5).
  const numeric = lastLabel >= 0x30 && lastLabel <= 0x39 && /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/.test(name);
  if (numeric && !isIPv4(name)) return undefined;
  if (!name.includes("xn--")) return name;
  // A label that claims to be punycode must decode, and encode to the same again; newer Node gives back what does not.
  const unicode = domainToUnicode(name);
  return !unicode.includes("xn--") && domainToASCII(unicode) === name ? name : undefined;
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

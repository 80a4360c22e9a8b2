import { isIP } from "node:net";

/**
 * An IP address in its one spelling (RFC 5952 for IPv6), an IPv4 address also where it stands within IPv6
 * (`::ffff:203.0.113.7`, as sockets for both show it). A zone goes: it means something on one machine only.
 *
 * @returns undefined for what is no address
 */
export function plainAddress(text: string): string | undefined {
  const zone = text.indexOf("%");
  const address = zone < 0 ? text : text.slice(0, zone);
  if (isIP(address) !== 6) return isIP(address) === 4 ? address : undefined;
  const plain = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(plain) ?? [];
  if (high === undefined || low === undefined) return plain;
  const [front, back] = [parseInt(high, 16), parseInt(low, 16)];
  return `${front >> 8}.${front & 0xff}.${back >> 8}.${back & 0xff}`;
}

/**
 * What counts as one party: an IPv4 address, or the /64 of an IPv6 address, which is the least
 * that one customer gets. An IPv4 address that a socket for both shows as IPv6 is the same as the plain one.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address) ?? address;
  if (isIP(plain) !== 6) return plain;
  return `${groupsOf(plain).slice(0, 4).join(":")}::/64`;
}

/** The eight groups, in hexadecimal, of an IPv6 address in its plain spelling. */
export function groupsOf(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const front = head === "" ? [] : head.split(":");
  if (tail === undefined) return front;
  const back = tail === "" ? [] : tail.split(":");
  return [...front, ...Array.from({ length: 8 - front.length - back.length }, () => "0"), ...back];
}

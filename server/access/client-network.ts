import { isIPv6 } from "node:net";
import { plainAddress } from "../../runtime/ip-address.ts";

/**
 * What counts as one place that clients come from: an IPv4 address, or the /64 of an IPv6 address, which is the least
 * that one customer gets. An IPv4 address that a socket for both shows as IPv6 is the same as the plain one.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address) ?? address;
  if (!isIPv6(plain)) return plain;
  return `${groupsOf(plain).slice(0, 4).join(":")}::/64`;
}

/** The network of a peer as grpc-js writes it: address, colon, port; an IPv6 address has no brackets. */
export function networkOfPeer(peer: string): string {
  const colon = peer.lastIndexOf(":");
  return networkOf(colon === -1 ? peer : peer.slice(0, colon));
}

/** The eight groups of an IPv6 address in its plain spelling. */
function groupsOf(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const front = head === "" ? [] : head.split(":");
  if (tail === undefined) return front;
  const back = tail === "" ? [] : tail.split(":");
  return [...front, ...Array.from({ length: 8 - front.length - back.length }, () => "0"), ...back];
}

import { networkOf } from "../../runtime/ip-address.ts";

/** The network of a peer as grpc-js writes it: address, colon, port; an IPv6 address has no brackets. */
export function networkOfPeer(peer: string): string {
  const colon = peer.lastIndexOf(":");
  return networkOf(colon === -1 ? peer : peer.slice(0, colon));
}

import { expect, test } from "vitest";
import { networkOfPeer } from "../../../server/access/client-network.ts";

test.each([
  ["203.0.113.7:4711", "203.0.113.7"],
  ["::ffff:203.0.113.7:4711", "203.0.113.7"],
  ["2001:db8:1:2::9:4711", "2001:db8:1:2::/64"],
  ["::1:4711", "0:0:0:0::/64"],
  // What grpc-js says of a connection that has just broken.
  ["unknown", "unknown"],
])("the peer %s comes from %s", (peer, network) => {
  expect(networkOfPeer(peer)).toBe(network);
});

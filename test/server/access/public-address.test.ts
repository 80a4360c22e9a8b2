import type { NetworkInterfaceInfo } from "node:os";
import { expect, test } from "vitest";
import { globalAddresses, isGlobalAddress } from "../../../server/access/public-address.ts";

test.each([
  "8.8.8.8",
  "100.63.255.255",
  "100.128.0.1",
  "172.15.0.1",
  "172.32.0.1",
  "2a01:4f8::1",
  "2606:4700::1111",
])("%s is global", (address) => expect(isGlobalAddress(address)).toBe(true));

test.each([
  "0.0.0.0",
  "10.1.2.3",
  "100.64.0.1",
  "127.0.0.1",
  "169.254.1.1",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "192.0.2.2",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.9",
  "224.0.0.1",
  "255.255.255.255",
  "::1",
  "::",
  "fe80::1",
  "fe80::1%eth0",
  "fd00::1",
  "fc00::1",
  "ff02::1",
  "2002:808:808::1",
  "2001::1",
  "2001:db8::1",
  "::ffff:8.8.8.8",
  "tunnel.example.com",
])("%s is not", (address) => expect(isGlobalAddress(address)).toBe(false));

test("IPv4 counts before IPv6, and what is internal or private does not count", () => {
  const v6 = info("2a01:4f8::1");
  expect(
    globalAddresses({ lo: [info("127.0.0.1", true)], eth0: [info("8.8.8.8"), v6, info("fe80::1")] }),
  ).toEqual(["8.8.8.8"]);
  expect(globalAddresses({ eth0: [info("192.168.1.2"), v6] })).toEqual(["2a01:4f8::1"]);
  expect(globalAddresses({ eth0: [info("8.8.8.8")], eth1: [info("9.9.9.9"), info("8.8.8.8")] })).toEqual([
    "8.8.8.8",
    "9.9.9.9",
  ]);
  expect(globalAddresses({ eth0: undefined, wg0: [info("100.64.3.2")] })).toEqual([]);
});

function info(address: string, internal = false): NetworkInterfaceInfo {
  const rest = { address, internal, netmask: "", mac: "", cidr: null };
  return address.includes(":") ? { ...rest, family: "IPv6", scopeid: 0 } : { ...rest, family: "IPv4" };
}

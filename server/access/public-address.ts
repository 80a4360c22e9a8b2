import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

/** What IANA's registry of special addresses (RFC 6890) does not call globally reachable; multicast and reserved too. */
const NOT_GLOBAL_IPV4 = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  // For documentation (RFC 5737); virtual machines and labs use them as private addresses.
  ["192.0.2.0", 24],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["192.168.0.0", 16],
  // RFC 2544; programs that catch all traffic of a machine give it such an address.
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
] as const) {
  NOT_GLOBAL_IPV4.addSubnet(network, prefix, "ipv4");
}

/** RFC 4291 section 2.4: global unicast as it is handed out; so neither fe80::/10 nor fc00::/7. */
const GLOBAL_IPV6 = new BlockList();
GLOBAL_IPV6.addSubnet("2000::", 3, "ipv6");
/** Inside of that: Teredo and 6to4, which hardly anybody reaches, and documentation (RFC 3849, RFC 9637). */
const NOT_GLOBAL_IPV6 = new BlockList();
NOT_GLOBAL_IPV6.addSubnet("2001::", 32, "ipv6");
NOT_GLOBAL_IPV6.addSubnet("2002::", 16, "ipv6");
NOT_GLOBAL_IPV6.addSubnet("2001:db8::", 32, "ipv6");
NOT_GLOBAL_IPV6.addSubnet("3fff::", 20, "ipv6");

/** Whether an IP address can be one that the whole internet reaches. */
export function isGlobalAddress(address: string): boolean {
  if (isIPv4(address)) return !NOT_GLOBAL_IPV4.check(address, "ipv4");
  if (!isIPv6(address) || address.includes("%")) return false;
  return GLOBAL_IPV6.check(address, "ipv6") && !NOT_GLOBAL_IPV6.check(address, "ipv6");
}

/**
 * The global addresses of a machine, as `os.networkInterfaces` lists them: those of IPv4, or if it has none those
 * of IPv6. IPv4 first, since every client has it.
 */
export function globalAddresses(interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): string[] {
  const addresses = Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter(({ internal, address }) => !internal && isGlobalAddress(address))
    .map(({ address }) => address);
  const ipv4 = addresses.filter((address) => isIP(address) === 4);
  return [...new Set(ipv4.length > 0 ? ipv4 : addresses)];
}

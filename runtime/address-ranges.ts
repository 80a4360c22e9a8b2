import { BlockList, isIP } from "node:net";

/** Some addresses and ranges of them, such as `10.0.0.0/8`, `192.168.1.7`, `fd00::/8`. */
export class AddressRanges {
  // Apart, since BlockList has ::/0 contain every IPv4 address.
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };

  /** @throws TypeError for a text that `isAddressRange` refuses */
  constructor(ranges: readonly string[]) {
    for (const text of ranges) {
      const range = parseRange(text);
      if (!range) throw new TypeError(`no address range: ${text}`);
      const { address, prefix, family } = range;
      this.#lists[family].addSubnet(address, prefix, family);
    }
  }

  /** @param address in its plain spelling: IPv4 as such, and not within IPv6 */
  has(address: string): boolean {
    const family = familyOf(address);
    return family !== undefined && this.#lists[family].check(address, family);
  }
}

export function isAddressRange(text: string): boolean {
  return parseRange(text) !== undefined;
}

type Family = "ipv4" | "ipv6";

function parseRange(text: string): { address: string; prefix: number; family: Family } | undefined {
  const [, address = "", digits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = familyOf(address);
  if (family === undefined) return undefined;
  const bits = family === "ipv4" ? 32 : 128;
  const prefix = digits === undefined ? bits : Number(digits);
  return prefix <= bits ? { address, prefix, family } : undefined;
}

function familyOf(address: string): Family | undefined {
  const version = isIP(address);
  return version === 0 ? undefined : version === 4 ? "ipv4" : "ipv6";
}

import * as fc from "fast-check";

const octet = fc.oneof(fc.constantFrom(0, 1, 10, 127, 128, 255), fc.nat(255));
const ipv4 = fc.array(octet, { minLength: 4, maxLength: 4 });
/** The first octets of addresses that mean more than others. */
const ipv6 = fc
  .tuple(
    fc.constantFrom(
      [],
      [0xfd],
      [0xfe, 0x80],
      [0x20, 0x02],
      [0, 0x64, 0xff, 0x9b],
      Array<number>(15).fill(0),
      [...Array<number>(10).fill(0), 0xff, 0xff],
    ),
    fc.array(octet, { minLength: 16, maxLength: 16 }),
  )
  .map(([prefix, octets]) => [...prefix, ...octets.slice(prefix.length)]);
/** IPv4 and IPv6 addresses as their octets. */
export const address = fc.oneof(ipv4, ipv6);

/** One of the ways to write an address. */
export interface Spelling {
  compressed: boolean;
  dotted: boolean;
  upperCase: boolean;
  zeros: boolean;
  zone: string;
}

export const spelling: fc.Arbitrary<Spelling> = fc.record({
  compressed: fc.boolean(),
  dotted: fc.boolean(),
  upperCase: fc.boolean(),
  zeros: fc.boolean(),
  zone: fc.constantFrom("", "", "%eth0", "%1"),
});
export const PLAIN: Spelling = { compressed: false, dotted: false, upperCase: false, zeros: false, zone: "" };

export function spell(octets: number[], { compressed, dotted, upperCase, zeros, zone }: Spelling): string {
  if (octets.length === 4) return octets.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => {
    const group = (octets[2 * i]! * 256 + octets[2 * i + 1]!).toString(16);
    return zeros ? group.padStart(4, "0") : group;
  });
  const parts = dotted ? [...groups.slice(0, 6), octets.slice(12).join(".")] : groups;
  const whole = parts.join(":");
  const text = compressed ? whole.replace(/(?:^|:)0+(?::0+)+(?=:|$)/, "::").replace(":::", "::") : whole;
  return (upperCase ? text.toUpperCase() : text) + zone;
}

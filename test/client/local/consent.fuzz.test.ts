import { isIP } from "node:net";
import * as fc from "fast-check";
import { expect } from "vitest";
import { dialledAddress, parseAllowRules } from "../../../client/local/consent.ts";
import { address, PLAIN, spell, spelling } from "../../support/address-arbitraries.ts";
import { fuzz } from "../../support/fuzz.ts";
import { share } from "../../support/share.ts";

const PORT = 80;

const rule = fc.record({ address, prefix: share, spelling });

fuzz(
  "a rule lets through the addresses of its range, however both are spelled, and no others",
  [rule, address, spelling, fc.boolean()],
  (rule, asked, spelling, near) => {
    const bits = rule.address.length * 8;
    const prefix = Math.round(rule.prefix * bits);
    // Mostly far from the range's edge otherwise.
    const octets = near && asked.length === rule.address.length ? flipped(rule.address, prefix) : asked;
    const text = `${spell(rule.address, { ...rule.spelling, zone: "" })}/${prefix}`;
    const consent = parseAllowRules(["none", text]);
    expect(consent.allows(spell(octets, spelling), PORT)).toBe(contains(rule.address, prefix, octets));
  },
);

fuzz(
  "what may be dialled is what is dialled",
  [fc.array(rule, { maxLength: 3 }), address, spelling, fc.boolean()],
  (rules, asked, spelling, none) => {
    const texts = rules.map(
      ({ address, prefix }) => `${spell(address, PLAIN)}/${Math.round(prefix * address.length * 8)}`,
    );
    const consent = parseAllowRules(none ? ["none", ...texts] : texts);
    const text = spell(asked, spelling);
    const dialled = dialledAddress(text);
    expect(isIP(dialled)).not.toBe(0);
    expect(dialledAddress(dialled)).toBe(dialled);
    expect(consent.allows(text, PORT)).toBe(consent.allows(dialled, PORT));
  },
);

fuzz(
  "a name is looked up if, and only if, one of the addresses that it might have is allowed",
  [
    fc.array(fc.record({ host: fc.constantFrom("10.0.0.0/8", "nas.lan", "db.lan", "any"), port: fc.nat(2) })),
    fc.constantFrom("nas.lan", "db.lan", "other.lan"),
    fc.nat(2),
  ],
  (rules, host, port) => {
    const consent = parseAllowRules(
      rules.map(({ host, port }) => (port === 0 ? host : `${host}:${port}`)),
      { loopback: false },
    );
    const some = ["10.0.0.1", "192.0.2.1"].some((address) => consent.allows(address, port + 1, host));
    expect(consent.mayAllow(host, port + 1)).toBe(some);
  },
);

fuzz(
  "nothing is allowed by default but loopback",
  [
    fc.oneof(
      address.map((octets) => spell(octets, PLAIN)),
      fc.ipV4Extended(),
      fc.domain(),
      fc.string(),
    ),
  ],
  (text) => {
    if (!parseAllowRules([]).allows(text, PORT)) return;
    expect(dialledAddress(text)).toMatch(/^127\.|^(?:0+:)*:?:?(?:0+:)*0*1(?:%.*)?$/);
  },
);

const piece = fc.oneof(
  fc.constantFrom(
    "any",
    "none",
    "all",
    "10.0.0.0",
    "::",
    "fd00::",
    "nas.lan",
    "/",
    "/8",
    ":",
    ":80",
    "80",
    ",",
    "-",
    "[",
    "]",
    "%",
    "*",
    " ",
    ".",
  ),
  fc.string({ unit: "grapheme", maxLength: 3 }),
);
const anyRule = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(""));

fuzz(
  "any rule is read, or refused with what is wrong with it",
  [fc.array(anyRule, { maxLength: 3 }), address],
  (texts, asked) => {
    let message = "";
    try {
      const allowed = parseAllowRules(texts).allows(spell(asked, PLAIN), PORT);
      expect(allowed).toBeTypeOf("boolean");
      return;
    } catch (error) {
      expect(Object.getPrototypeOf(error)).toBe(Error.prototype);
      message = (error as Error).message;
    }
    expect(message).toMatch(/^--allow /);
  },
);

fuzz(
  "ports are allowed as they are listed",
  [fc.array(fc.tuple(port(), port()), { minLength: 1, maxLength: 4 }), port()],
  (ranges, asked) => {
    const sorted = ranges.map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    const list = sorted.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
    const expected = sorted.some(([from, to]) => from <= asked && asked <= to);
    for (const rule of [
      `10.0.0.1:${list}`,
      `[::ffff:10.0.0.1]:${list}`,
      `10.0.0.0/8:${list}`,
      `any:${list}`,
    ]) {
      expect(parseAllowRules([rule]).allows("10.0.0.1", asked)).toBe(expected);
    }
  },
);

/** As RFC 4632 has it, octet by octet: an IPv4 address and the IPv6 one that it is mapped to are one. */
function contains(network: number[], prefix: number, asked: number[]): boolean {
  const mapped = isMapped(network) && prefix >= 96;
  const [range, bits] = mapped ? [network.slice(12), prefix - 96] : [network, prefix];
  const address = dialled(asked);
  if (range.length !== address.length) return false;
  return toBits(range).slice(0, bits) === toBits(address).slice(0, bits);
}

/** The unspecified address is dialled as loopback. */
function dialled(octets: number[]): number[] {
  const plain = isMapped(octets) ? octets.slice(12) : octets;
  if (plain.some((octet) => octet !== 0)) return plain;
  return plain.length === 4 ? [127, 0, 0, 1] : [...Array<number>(15).fill(0), 1];
}

function isMapped(octets: number[]): boolean {
  return octets.length === 16 && toBits(octets).startsWith("0".repeat(80) + "1".repeat(16));
}

function toBits(octets: number[]): string {
  return octets.map((octet) => octet.toString(2).padStart(8, "0")).join("");
}

/** An address that differs in one bit: the last of the range's, or the one behind it. */
function flipped(octets: number[], bit: number): number[] {
  const at = Math.min(bit, octets.length * 8 - 1);
  return octets.map((octet, i) => (i === at >> 3 ? octet ^ (0x80 >> (at & 7)) : octet));
}

function port(): fc.Arbitrary<number> {
  return fc.oneof(fc.constantFrom(1, 80, 65_535), fc.integer({ min: 1, max: 65_535 }));
}

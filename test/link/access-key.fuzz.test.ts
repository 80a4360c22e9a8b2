import * as fc from "fast-check";
import { crc32 } from "node:zlib";
import { expect } from "vitest";
import { type AccessKey, decodeAccessKey, encodeAccessKey } from "../../link/access-key.ts";
import { TunnelError } from "../../link/errors.ts";
import { fuzz } from "../support/fuzz.ts";
import { share as place } from "../support/share.ts";

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const host = fc.oneof(
  fc.domain(),
  fc.ipV4(),
  fc.ipV6(),
  fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
    .filter((text) => /^[^\s\p{C}\uFFFD]+$/u.test(text)),
);
const key: fc.Arbitrary<AccessKey> = fc.record(
  {
    keyId: bytes(8),
    secret: bytes(16),
    pin: bytes(32),
    host: host.filter((text) => Buffer.byteLength(text) <= 255),
    port: fc.integer({ min: 1, max: 65_535 }),
  },
  { requiredKeys: ["keyId", "secret", "host", "port"] },
);
const character = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...DIGITS.split("")) },
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
);

fuzz("any key comes back from its token as it was", [key], (key) => {
  const token = encodeAccessKey(key);
  expect(token).toMatch(/^culvert_[0-9A-Za-z]+$/);
  expect(decodeAccessKey(token)).toEqual(key);
});

fuzz("a token with one character changed is refused", [key, place, character], (key, place, character) => {
  const token = encodeAccessKey(key);
  const at = Math.floor(place * token.length);
  fc.pre(token[at] !== character);
  expectRefused(token.slice(0, at) + character + token.slice(at + 1), token);
});

fuzz("a token with a character put in is refused", [key, place, character], (key, place, character) => {
  const token = encodeAccessKey(key);
  const at = Math.floor(place * (token.length + 1));
  const changed = token.slice(0, at) + character + token.slice(at);
  fc.pre(changed.trim() !== token);
  expectRefused(changed, token);
});

fuzz(
  "a token with a piece cut out, or said twice, is refused",
  [key, place, place],
  (key, place, otherPlace) => {
    const token = encodeAccessKey(key);
    const from = Math.floor(Math.min(place, otherPlace) * token.length);
    const to = 1 + Math.floor(Math.max(place, otherPlace) * token.length);
    expectRefused(token.slice(0, from) + token.slice(to), token);
    expectRefused(token.slice(0, to) + token.slice(from), token);
  },
);

fuzz("a token with two pieces swapped is refused", [key, place, place], (key, place, otherPlace) => {
  const token = encodeAccessKey(key);
  const first = Math.floor(Math.min(place, otherPlace) * token.length);
  const second = Math.floor(Math.max(place, otherPlace) * token.length);
  const changed = token.slice(0, first) + token.slice(second) + token.slice(first, second);
  fc.pre(changed !== token);
  expectRefused(changed, token);
});

fuzz(
  "any text is refused as malformed and nothing else",
  [
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: character, maxLength: 300 }).map((text) => `culvert_${text}`),
    ),
  ],
  (text) => expectRefused(text, text),
);

const body = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 80 }),
  // Nearly a key: what a server of this version writes, with some bytes other than they should be.
  fc
    .tuple(fc.constantFrom(0, 1, 2, 255), bytes(24), fc.boolean(), fc.uint8Array({ maxLength: 44 }))
    .map(([flags, ids, pinned, rest]) => [
      1,
      flags,
      ...ids,
      ...(pinned ? Array<number>(32).fill(7) : []),
      ...rest,
    ]),
  fc
    .tuple(bytes(24), fc.constantFrom(0, 1, 7000), fc.constantFrom(0, 1, 2), fc.uint8Array({ maxLength: 4 }))
    .map(([ids, port, more, host]) => [
      1,
      0,
      ...ids,
      port >> 8,
      port & 255,
      Math.max(0, host.length - 1 + more),
      ...host,
    ]),
);

fuzz("bytes with a right checksum are the one token of a key, or refused", [body], (body) => {
  const token = tokenOf(Buffer.from(body));
  let key: AccessKey;
  try {
    key = decodeAccessKey(token);
  } catch {
    expectRefused(token, token);
    return;
  }
  expect(encodeAccessKey(key)).toBe(token);
});

function expectRefused(text: string, token: string): void {
  let error: unknown;
  try {
    decodeAccessKey(text);
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof TunnelError)) throw new Error("not refused", { cause: error });
  expect(error.code).toBe("key_malformed");
  // Of what was pasted, not even a piece goes into a log.
  const secret = token.slice("culvert_".length);
  for (let at = 0; at + 8 <= secret.length; at += 4)
    expect(error.message).not.toContain(secret.slice(at, at + 8));
}

function tokenOf(body: Buffer): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(body));
  let text = "";
  for (let rest = BigInt(`0x${Buffer.concat([body, crc]).toString("hex")}`); rest > 0n; rest /= 62n)
    text = DIGITS[Number(rest % 62n)]! + text;
  return `culvert_${text}`;
}

function bytes(length: number): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
}

import { randomBytes, randomInt } from "node:crypto";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { type AccessKey, decodeAccessKey, encodeAccessKey, spkiPin } from "../../link/access-key.ts";
import { TunnelError } from "../../link/errors.ts";

const KEY: AccessKey = {
  keyId: Buffer.from("0102030405060708", "hex"),
  secret: Buffer.from("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "hex"),
  pin: Buffer.alloc(32, 0xab),
  host: "tunnel.example.com",
  port: 7000,
};

/** Made once by openssl: `req -x509 -newkey ec`; its pin by `x509 -pubkey | pkey -pubin -outform der | sha256sum`. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBcDCCARegAwIBAgIUO9+LTuyo4TBxqJsIV3qea8997L0wCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDcGluMB4XDTI2MTEyMDEwNDMyNVoXDTI2MTEyMTEwNDMyNVow
DjEMMAoGA1UEAwwDcGluMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9YnQL780
h6rX4uXZKOBAeXAkWaHRb0WNHDJs9QuuFHhUZUch2bbKBf2MIVGfxh+pkzvL0zNm
17bNqankStoNsqNTMFEwHQYDVR0OBBYEFEd6JfP4gwUSIEtqCjnBGvoRAjhLMB8G
A1UdIwQYMBaAFEd6JfP4gwUSIEtqCjnBGvoRAjhLMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDRwAwRAIgLTZlUOUrFl7U5ZVqnbWJ231IrATv9n6AfzU2dyps
CHECIDwr/d+6sPoEKL2PDtoyMguB0lAnTdmKMmyVLDRkM28y
-----END CERTIFICATE-----`;
const CERTIFICATE_PIN = "ee4d724da01957ca32b410cc633b6140c66ec94f807bde443548acad287ccb29";

test("a key survives the way through its token, whatever its bytes", () => {
  const hosts = ["a", "203.0.113.9", "2001:db8::1", "tunnel.example.com", "h".repeat(255), "münchen.example"];
  for (let i = 0; i < 500; i++) {
    const key: AccessKey = {
      keyId: randomBytes(8).fill(0, 0, i % 9),
      secret: randomBytes(16).fill(0, 0, i % 17),
      ...(i % 2 === 0 && { pin: randomBytes(32).fill(0, 0, i % 33) }),
      host: hosts[i % hosts.length]!,
      port: randomInt(1, 65536),
    };
    expect(decodeAccessKey(encodeAccessKey(key))).toEqual(key);
  }
});

test("a token is one word that a double-click selects", () => {
  expect(encodeAccessKey(KEY)).toMatch(/^culvert_[0-9A-Za-z]+$/);
});

test("the token of version 1 stays what it is", () => {
  expect(encodeAccessKey(KEY)).toBe(
    "culvert_23qN7SvUEaS1YC0sZP3ouXSDAS6l17Wi4SWkRmj6klnmqznpU3Wj2OhpVitTDjvSHr1iYNLYUIfs5L6sVwY5Dny6hk6sqL0FdRYynKLRmP6hxIE",
  );
});

test("white space around a pasted key does not matter", () => {
  expect(decodeAccessKey(`\n  ${encodeAccessKey(KEY)}\r\n`)).toEqual(KEY);
});

test.each([
  ["nothing at all", "", "empty"],
  ["only white space", " \n", "empty"],
  ["some other text", "AKIAIOSFODNN7EXAMPLE", "not an access key"],
  ["the prefix in other letters", "CULVERT_abc", "not an access key"],
  ["the prefix alone", "culvert_", "copy the whole key"],
  ["a letter that base62 does not have", encodeAccessKey(KEY).replace(/.$/, "-"), "copy the whole key"],
  ["a leading zero digit", encodeAccessKey(KEY).replace("_", "_0"), "copy the whole key"],
  ["something endless", `culvert_${"a".repeat(1_000_000)}`, "copy the whole key"],
  ["a later version", tokenOf([2, 9, 9, 9]), "update tunnel-client"],
  [
    "a flag that this version does not know",
    tokenOf([1, 2, ...Array<number>(40).fill(7)]),
    "update tunnel-client",
  ],
  ["a right checksum over too little", tokenOf([1, 0, 1, 2, 3]), "copy the whole key"],
  ["a port of 0", tokenOf([1, 0, ...Array<number>(24).fill(7), 0, 0, 1, 0x61]), "copy the whole key"],
  [
    "a host with a line break",
    tokenOf([1, 0, ...Array<number>(24).fill(7), 0, 80, 1, 0x0a]),
    "copy the whole key",
  ],
  [
    "a host that is not UTF-8",
    tokenOf([1, 0, ...Array<number>(24).fill(7), 0, 80, 1, 0xff]),
    "copy the whole key",
  ],
  [
    "bytes behind the host",
    tokenOf([1, 0, ...Array<number>(24).fill(7), 0, 80, 1, 0x61, 1]),
    "copy the whole key",
  ],
])("%s is refused with what to do about it", (_what, text, expected) => {
  const error = refusalOf(text);
  expect(error.code).toBe("key_malformed");
  expect(error.message).toContain(expected);
});

test("a key cut short anywhere, or with any letter changed or swapped, says to copy the whole key", () => {
  const token = encodeAccessKey(KEY);
  for (let i = "culvert_".length; i < token.length; i++) {
    const changed = token.slice(0, i) + (token[i] === "Q" ? "R" : "Q") + token.slice(i + 1);
    const swapped = token.slice(0, i - 1) + token[i] + token[i - 1] + token.slice(i + 1);
    for (const text of [token.slice(0, i), changed, i > 8 ? swapped : token.slice(0, -1)]) {
      if (text === token) continue;
      expect(refusalOf(text).message).toContain("copy the whole key");
    }
  }
});

test("no refusal repeats the key", () => {
  const token = encodeAccessKey(KEY);
  for (const text of [token.slice(0, -1), token.slice(1), `x${token}`, `${token}!`]) {
    expect(refusalOf(text).message).not.toContain(token.slice(8, 20));
  }
});

test.each<[string, Partial<AccessKey>]>([
  ["key id", { keyId: Buffer.alloc(7) }],
  ["secret", { secret: Buffer.alloc(17) }],
  ["pin", { pin: Buffer.alloc(20) }],
  ["empty host", { host: "" }],
  ["long host", { host: "h".repeat(256) }],
  ["host with a space", { host: "a b" }],
  ["port of 0", { port: 0 }],
  ["port past the end", { port: 65536 }],
])("a key with a bad %s is not encoded", (_what, part) => {
  expect(() => encodeAccessKey({ ...KEY, ...part })).toThrow(RangeError);
});

test("a pin is the SHA-256 of the certificate's public key, as openssl counts it", () => {
  expect(spkiPin(CERTIFICATE).toString("hex")).toBe(CERTIFICATE_PIN);
  const der = Buffer.from(CERTIFICATE.replace(/-----.*-----/g, ""), "base64");
  expect(spkiPin(der).toString("hex")).toBe(CERTIFICATE_PIN);
});

function refusalOf(text: string): TunnelError {
  try {
    decodeAccessKey(text);
  } catch (error) {
    if (error instanceof TunnelError) return error;
    throw error;
  }
  throw new Error("the key was taken");
}

/** A token with a right checksum over any bytes. */
function tokenOf(body: number[]): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(Buffer.from(body)));
  let rest = BigInt(`0x${Buffer.concat([Buffer.from(body), crc]).toString("hex")}`);
  let text = "";
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  for (; rest > 0n; rest /= 62n) text = digits[Number(rest % 62n)]! + text;
  return `culvert_${text}`;
}

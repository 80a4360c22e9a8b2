/**
 * The access key: the one token that a user copies from the server to the client. It holds all that a client
 * needs: where the server is, how the server proves itself, and what lets the client in.
 *
 *   "culvert_" + base62 of:
 *   version (1) | flags (1: bit 0 = a pin follows the secret) | key id (8) | secret (16) | [pin (32)]
 *   | port (2, big endian) | length of host (1) | host (UTF-8) | CRC-32 of all before (4, big endian)
 *
 * base62 reads the bytes as one big-endian number, written with the digits 0-9, A-Z, a-z in this order. The
 * version comes first and is never 0, so no leading byte is lost. Every version starts with its number and ends
 * with the CRC-32, so that a newer token is told from a mistyped one.
 */
import { createHash, X509Certificate } from "node:crypto";
import { crc32 } from "node:zlib";
import { withoutQuotes } from "../runtime/secret-file.ts";
import { TunnelError } from "./errors.ts";

export interface AccessKey {
  /** 8 bytes. */
  keyId: Buffer;
  /** 16 bytes. */
  secret: Buffer;
  /** The server's `spkiPin`, 32 bytes; absent where certificate authorities vouch for the server, or nothing does. */
  pin?: Buffer;
  /** A name or an address; IPv6 without brackets. */
  host: string;
  /** 1 to 65535. */
  port: number;
}

const PREFIX = "culvert_";
const VERSION = 1;
const FLAG_PIN = 1;
const KEY_ID_BYTES = 8;
const SECRET_BYTES = 16;
const PIN_BYTES = 32;
const CRC_BYTES = 4;
const MAX_HOST_BYTES = 255;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** Well above the longest token of this version (about 440), and short enough that a giant paste costs nothing. */
const MAX_TOKEN_LENGTH = 2048;

/** @throws RangeError if a part of the key has not the size that `AccessKey` states */
export function encodeAccessKey(key: AccessKey): string {
  const host = Buffer.from(key.host, "utf8");
  if (key.keyId.length !== KEY_ID_BYTES) throw new RangeError("a key id has 8 bytes");
  if (key.secret.length !== SECRET_BYTES) throw new RangeError("a key's secret has 16 bytes");
  if (key.pin && key.pin.length !== PIN_BYTES) throw new RangeError("a pin has 32 bytes");
  if (!isHost(key.host) || host.length > MAX_HOST_BYTES) throw new RangeError("unusable host");
  if (!Number.isInteger(key.port) || key.port < 1 || key.port > 65535) throw new RangeError("unusable port");

  const body = Buffer.concat([
    Buffer.of(VERSION, key.pin ? FLAG_PIN : 0),
    key.keyId,
    key.secret,
    key.pin ?? Buffer.alloc(0),
    Buffer.of(key.port >> 8, key.port & 0xff, host.length),
    host,
  ]);
  const crc = Buffer.alloc(CRC_BYTES);
  crc.writeUInt32BE(crc32(body));
  return PREFIX + toBase62(Buffer.concat([body, crc]));
}

/**
 * White space and quotes around the key are taken off.
 * @throws TunnelError `key_malformed`, with a message that says what to do and never holds the key
 */
export function decodeAccessKey(text: string): AccessKey {
  const token = withoutQuotes(text.trim());
  if (token === "") throw malformed("the access key is empty");
  if (!token.startsWith(PREFIX)) {
    throw malformed(
      `this is not an access key: one starts with "${PREFIX}", as "tunnel-server key create" prints it`,
    );
  }
  const bytes = fromBase62(token.slice(PREFIX.length));
  if (!bytes || !endsWithItsCrc(bytes)) throw mistyped();
  // The CRC is right, so these are the bytes that a server wrote.
  if (bytes[0] !== VERSION) throw fromNewerVersion();
  return readBody(bytes.subarray(0, -CRC_BYTES));
}

/**
 * What a key pins: SHA-256 of a certificate's SubjectPublicKeyInfo (as RFC 7469 section 2.4), 32 bytes. The
 * certificate comes as PEM, as DER, or parsed.
 */
export function spkiPin(certificate: X509Certificate | string | Buffer): Buffer {
  const parsed = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return createHash("sha256")
    .update(parsed.publicKey.export({ type: "spki", format: "der" }))
    .digest();
}

function readBody(body: Buffer): AccessKey {
  let at = 1;
  const take = (length: number): Buffer => {
    if (at + length > body.length) throw mistyped();
    return body.subarray(at, (at += length));
  };
  const flags = take(1)[0]!;
  if ((flags & ~FLAG_PIN) !== 0) throw fromNewerVersion();
  const keyId = take(KEY_ID_BYTES);
  const secret = take(SECRET_BYTES);
  const pin = flags & FLAG_PIN ? take(PIN_BYTES) : undefined;
  const port = take(2).readUInt16BE();
  const host = take(take(1)[0]!).toString("utf8");
  if (at !== body.length || port === 0 || !isHost(host)) throw mistyped();
  return { keyId, secret, ...(pin && { pin }), host, port };
}

/** Keeps out what would garble a terminal or an address; U+FFFD stands where the bytes were not UTF-8. */
function isHost(host: string): boolean {
  return /^[^\s\p{C}\uFFFD]+$/u.test(host);
}

function endsWithItsCrc(bytes: Buffer): boolean {
  if (bytes.length <= CRC_BYTES) return false;
  return bytes.readUInt32BE(bytes.length - CRC_BYTES) === crc32(bytes.subarray(0, -CRC_BYTES));
}

function toBase62(bytes: Buffer): string {
  let rest = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (; rest > 0n; rest /= 62n) text = DIGITS[Number(rest % 62n)]! + text;
  return text;
}

/** `undefined` if the text is not base62 as `toBase62` writes it. */
function fromBase62(text: string): Buffer | undefined {
  if (text.length > MAX_TOKEN_LENGTH || !/^[1-9A-Za-z][0-9A-Za-z]*$/.test(text)) return undefined;
  let number = 0n;
  for (const digit of text) number = number * 62n + BigInt(DIGITS.indexOf(digit));
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

function mistyped(): TunnelError {
  return malformed("the access key is incomplete or mistyped: copy the whole key");
}

function fromNewerVersion(): TunnelError {
  return malformed("the access key was made by a newer version of tunnel-server: update tunnel-client");
}

function malformed(message: string): TunnelError {
  return new TunnelError("key_malformed", message);
}

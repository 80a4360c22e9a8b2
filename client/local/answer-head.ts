/** The head of a local service's answer: whether it can be passed on, and what it says of the body and the connection. */
import { encodeResponseHead, type RawFields } from "../../link/http-head.ts";
import { signsInConnection } from "./bound-sign-in.ts";
import { MAX_SECTION_BYTES, SECTION_TOO_LARGE } from "./head-section.ts";
import { readFields } from "./received-fields.ts";

export interface AnswerHead {
  /** 100 to 999. */
  status: number;
  /** As `encodeResponseHead` makes it: all fields as they came, but for a length that is said once. */
  bytes: Buffer;
  /** How many bytes follow; or as many as come in chunks, or until the connection ends. */
  body: number | "chunked" | "until the end";
  /** What follows is another protocol. */
  switches: boolean;
  /** The service takes another request behind this answer. */
  persistent: boolean;
  keepAlive: string | undefined;
  /** It asks for a sign-in that is tied to the connection. */
  signsIn: boolean;
}

/**
 * RFC 9112 section 4; many a service leaves out the space behind the status. Those from 600 on are none of HTTP's classes, and
 * pass everywhere.
 */
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?:( )([^\r\n]*))?(\r?)\n/;
/** As many digits as the server takes. */
const LENGTH = /^[0-9]{1,15}$/;
/** What a list of them consists of. */
const LENGTHS = /^[0-9,\t ]+$/;
/** In a Connection field, in lower case. Where in doubt, the connection ends and nothing switches. */
const CLOSE = /(?:^|[\t ,])close(?:[\t ,]|$)/;
const KEEP_ALIVE = /(?:^|,) *keep-alive *(?:,|$)/;
const UPGRADE = /(?:^|,) *upgrade *(?:,|$)/;

/**
 * @param section a head that `HeadSection` has let through
 * @returns what is wrong with it if it is a string
 */
export function readAnswerHead(section: Buffer, method: string): AnswerHead | string {
  const text = section.toString("latin1");
  const line = STATUS_LINE.exec(text);
  if (!line) return "no status line of HTTP/1.x with a status from 100 to 999";
  const received = readFields(text, line[0].length);
  if (typeof received === "string") return received;
  const facts = readFacts(received.fields);
  if (typeof facts === "string") return facts;

  const status = Number(line[2]);
  const { length, chunked, connection, keepAlive, signsIn } = facts;
  const switches = status === 101 && facts.hasUpgrade && UPGRADE.test(connection);
  if (status === 101 && !switches) return "status 101 that switches nothing";
  if (switches && (chunked || Number(length ?? 0) > 0)) return "a switch of protocols with a body";

  const isPlain =
    received.plain && !facts.repetitive && line[1] === "1" && line[3] !== undefined && line[5] !== "";
  const bytes = isPlain
    ? Buffer.from(section)
    : encodeResponseHead({
        status,
        reason: line[4] ?? "",
        fields: facts.repetitive ? withOneFraming(received.fields, length) : received.fields,
      });
  if (bytes.length > MAX_SECTION_BYTES) return SECTION_TOO_LARGE;

  // RFC 9112 section 6.3.
  const bodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  const body = bodiless ? 0 : chunked ? "chunked" : length !== undefined ? Number(length) : "until the end";
  // RFC 9112 section 9.3; chunks in HTTP/1.0 end the connection (section 6.1).
  const stays = line[1] === "1" || (!chunked && KEEP_ALIVE.test(connection));
  const persistent = stays && body !== "until the end" && !CLOSE.test(connection);
  if (status < 200 && !switches && !persistent) return "an interim answer behind which the connection ends";
  return { status, bytes, body, switches, persistent, keepAlive, signsIn };
}

interface Facts {
  /** As it was written. */
  length: string | undefined;
  chunked: boolean;
  /** All of its values. */
  connection: string;
  keepAlive: string | undefined;
  /** Whether a protocol is named. */
  hasUpgrade: boolean;
  signsIn: boolean;
  /** The same length is said more than once, or a coding that is none. */
  repetitive: boolean;
}

function readFacts(fields: RawFields): Facts | string {
  const facts: Facts = {
    length: undefined,
    chunked: false,
    connection: "",
    keepAlive: undefined,
    hasUpgrade: false,
    signsIn: false,
    repetitive: false,
  };
  let identity = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // By length first: of the usual fields few are looked at.
    if (name.length === 14 && name.toLowerCase() === "content-length") {
      const length = oneLength(value);
      facts.repetitive ||= facts.length !== undefined || length !== value;
      if (length === undefined || (facts.length ?? length) !== length)
        return "no single valid Content-Length";
      facts.length = length;
    } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      const coding = value.toLowerCase();
      // RFC 2616 section 3.6 had it, for no coding at all.
      if (coding === "identity") facts.repetitive = identity = true;
      else if (coding !== "chunked" || facts.chunked) return "a transfer coding that nobody asked for";
      else facts.chunked = true;
    } else if (
      (name.length === 10 && name.toLowerCase() === "connection") ||
      // What some say for it; llhttp takes it for the same.
      (name.length === 16 && name.toLowerCase() === "proxy-connection")
    ) {
      facts.connection += `,${value.toLowerCase()}`;
    } else if (name.length === 10 && name.toLowerCase() === "keep-alive") facts.keepAlive = value;
    else if (name.length === 7 && name.toLowerCase() === "upgrade") facts.hasUpgrade ||= value !== "";
    else if (name.length === 16 && name.toLowerCase() === "www-authenticate")
      facts.signsIn ||= signsInConnection(value);
  }
  if (facts.chunked && facts.length !== undefined) return "both a Content-Length and a Transfer-Encoding";
  if (facts.chunked && identity) return "two transfer codings";
  return facts;
}

/**
 * The length that a value says; the same one several times may stand for one (RFC 9110 section 8.6), in one spelling.
 * @returns undefined if it is none
 */
function oneLength(value: string): string | undefined {
  if (LENGTH.test(value)) return value;
  if (!LENGTHS.test(value)) return undefined;
  const [first = "", ...others] = value.split(",").map((each) => each.trim());
  return LENGTH.test(first) && others.every((each) => each === first) ? first : undefined;
}

/** The fields less each length but the first, and less `Transfer-Encoding: identity`. */
function withOneFraming(fields: RawFields, length: string | undefined): RawFields {
  const kept: RawFields = [];
  let hasLength = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const lower = name.toLowerCase();
    if (lower === "content-length") {
      if (!hasLength) kept.push(name, length!);
      hasLength = true;
    } else if (lower !== "transfer-encoding" || fields[i + 1]!.toLowerCase() !== "identity") {
      kept.push(name, fields[i + 1]!);
    }
  }
  return kept;
}

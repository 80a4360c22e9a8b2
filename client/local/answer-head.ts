/** The head of a local service's answer: whether it can be passed on, and what it says of the body and the connection. */
import { encodeResponseHead, type RawFields } from "../../link/http-head.ts";
import { signsInConnection } from "./bound-sign-in.ts";
import { MAX_SECTION_BYTES } from "./head-section.ts";
import { readFields } from "./received-fields.ts";

export interface AnswerHead {
  status: number;
  /** As `encodeResponseHead` makes it, all fields as they came. */
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

/** RFC 9112 section 4; many a service leaves out the space behind the status. */
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?:( )([^\r]*))?\r\n/;
/** As many digits as the server takes. */
const LENGTH = /^[0-9]{1,15}$/;
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
  if (!line) return "no status line of HTTP/1.x with a status from 100 to 599";
  const received = readFields(text, line[0].length);
  if (typeof received === "string") return received;
  const facts = readFacts(received.fields);
  if (typeof facts === "string") return facts;

  const status = Number(line[2]);
  const { length, chunked, connection, keepAlive, signsIn } = facts;
  const switches = status === 101 && facts.hasUpgrade && UPGRADE.test(connection);
  if (status === 101 && !switches) return "status 101 that switches nothing";
  if (switches && (chunked || length)) return "a switch of protocols with a body";

  const isPlain = received.plain && line[1] === "1" && line[3] !== undefined;
  const bytes = isPlain
    ? Buffer.from(section)
    : encodeResponseHead({ status, reason: line[4] ?? "", fields: received.fields });
  if (bytes.length > MAX_SECTION_BYTES) return `a head of more than ${MAX_SECTION_BYTES} bytes`;

  // RFC 9112 section 6.3.
  const bodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  const body = bodiless ? 0 : chunked ? "chunked" : (length ?? "until the end");
  // RFC 9112 section 9.3; chunks in HTTP/1.0 end the connection (section 6.1).
  const stays = line[1] === "1" || (!chunked && KEEP_ALIVE.test(connection));
  const persistent = stays && body !== "until the end" && !CLOSE.test(connection);
  if (status < 200 && !switches && !persistent) return "an interim answer behind which the connection ends";
  return { status, bytes, body, switches, persistent, keepAlive, signsIn };
}

interface Facts {
  length: number | undefined;
  chunked: boolean;
  /** All of its values. */
  connection: string;
  keepAlive: string | undefined;
  /** Whether a protocol is named. */
  hasUpgrade: boolean;
  signsIn: boolean;
}

function readFacts(fields: RawFields): Facts | string {
  const facts: Facts = {
    length: undefined,
    chunked: false,
    connection: "",
    keepAlive: undefined,
    hasUpgrade: false,
    signsIn: false,
  };
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // By length first: of the usual fields few are looked at.
    if (name.length === 14 && name.toLowerCase() === "content-length") {
      // Equal ones too: whoever stands between may have read them otherwise.
      if (facts.length !== undefined || !LENGTH.test(value)) return "no single valid Content-Length";
      facts.length = Number(value);
    } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      if (facts.chunked || value.toLowerCase() !== "chunked")
        return "a transfer coding that nobody asked for";
      facts.chunked = true;
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
  return facts;
}

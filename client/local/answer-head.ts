/** The head of a local service's answer: whether it can be passed on, and what it says of the body. */
import { encodeResponseHead, type RawFields } from "../../link/http-head.ts";

/** A head, and a trailer section, may have this much. */
export const MAX_HEAD_BYTES = 64 * 1024;

/** What node:http says of an answer, final or interim. */
export interface ReceivedHead {
  statusCode?: number | undefined;
  statusMessage?: string | undefined;
  httpVersion: string;
  rawHeaders: RawFields;
}

export interface AnswerHead {
  status: number;
  /** As `encodeResponseHead` makes it, all fields as they came. */
  bytes: Buffer;
  /** No body follows. */
  bodiless: boolean;
  /** The body ends with the connection. */
  closeDelimited: boolean;
  keepAlive: string | undefined;
}

// node:http's parser lets the first through in reasons, and has let others through in fields before.
const TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** @returns what is wrong with the head if it is a string */
export function readAnswerHead(received: ReceivedHead, method: string): AnswerHead | string {
  const { statusCode: status = 0, statusMessage: reason = "", httpVersion, rawHeaders: fields } = received;
  if (status < 100 || status > 599) return `status ${status}`;
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return `version HTTP/${httpVersion}`;
  if (!TEXT.test(reason)) return "control characters in the status line";

  let length: string | undefined;
  let coding: string | undefined;
  let keepAlive: string | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (!TOKEN.test(name) || !TEXT.test(value)) return "a malformed header field";
    // By length first: of the usual fields few are looked at.
    if (name.length === 14 && name.toLowerCase() === "content-length") length = value;
    else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      coding = coding === undefined ? value : `${coding}, ${value}`;
    } else if (name.length === 10 && name.toLowerCase() === "keep-alive") keepAlive = value;
  }
  const bodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  if (coding !== undefined && !bodiless && coding.toLowerCase() !== "chunked")
    return "a transfer coding that nobody asked for";
  const bytes = encodeResponseHead({ status, reason, fields });
  if (bytes.length > MAX_HEAD_BYTES) return `a head of more than ${MAX_HEAD_BYTES} bytes`;
  return {
    status,
    bytes,
    bodiless: bodiless || (length !== undefined && /^0+$/.test(length)),
    closeDelimited: !bodiless && length === undefined && coding === undefined,
    keepAlive,
  };
}

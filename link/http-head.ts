/**
 * HTTP/1.1 heads as bytes: the start line and the field lines as they would stand on the wire, each ended by
 * CRLF, without the blank line. Strings hold one character per byte (Latin-1), so that every byte survives.
 */
import { TunnelError } from "./errors.ts";

/** Field names and values in turn, as node's `rawHeaders`: order, case and repeats kept. */
export type RawFields = string[];

export interface RequestHead {
  method: string;
  /** As it stood on the request line. */
  target: string;
  fields: RawFields;
}

export interface ResponseHead {
  /** 100 to 999; HTTP defines those up to 599. */
  status: number;
  reason: string;
  fields: RawFields;
}

// RFC 9110 section 5.6.2 (token), section 5.5 (field-value: no control bytes but tab).
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.1$/;
const STATUS_LINE = /^HTTP\/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)$/;
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)$/;

/** More than either end lets through; what is longer was made to cost time. */
const MAX_HEAD_BYTES = 256 * 1024;

export function encodeRequestHead(head: RequestHead): Buffer {
  return Buffer.from(`${head.method} ${head.target} HTTP/1.1\r\n${fieldLines(head.fields)}`, "latin1");
}

export function encodeResponseHead(head: ResponseHead): Buffer {
  return Buffer.from(`HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldLines(head.fields)}`, "latin1");
}

/** For trailers: field lines alone. */
export function encodeFields(fields: RawFields): Buffer {
  return Buffer.from(fieldLines(fields), "latin1");
}

/** @throws TunnelError `protocol` if the bytes are not a request head */
export function parseRequestHead(bytes: Buffer): RequestHead {
  const lines = headLines(bytes);
  const match = REQUEST_LINE.exec(lines[0] ?? "");
  if (!match) throw malformed("request line");
  return { method: match[1]!, target: match[2]!, fields: parseFieldLines(lines, 1) };
}

/** @throws TunnelError `protocol` if the bytes are not a response head with a status from 100 to 999 */
export function parseResponseHead(bytes: Buffer): ResponseHead {
  const lines = headLines(bytes);
  const match = STATUS_LINE.exec(lines[0] ?? "");
  if (!match) throw malformed("status line");
  return { status: Number(match[1]), reason: match[2]!, fields: parseFieldLines(lines, 1) };
}

/** @throws TunnelError `protocol` if the bytes are not field lines */
export function parseFields(bytes: Buffer): RawFields {
  return parseFieldLines(headLines(bytes), 0);
}

/** As text, one character for each byte. */
export function fieldLines(fields: RawFields): string {
  let text = "";
  for (let i = 0; i + 1 < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return text;
}

function headLines(bytes: Buffer): string[] {
  if (bytes.length > MAX_HEAD_BYTES) throw malformed(`${bytes.length} bytes long`);
  const lines = bytes.toString("latin1").split("\r\n");
  if (lines.pop() !== "") throw malformed("last line");
  return lines;
}

function parseFieldLines(lines: string[], from: number): RawFields {
  const fields: RawFields = [];
  for (let i = from; i < lines.length; i++) {
    const match = FIELD_LINE.exec(lines[i]!);
    if (!match) throw malformed("field line");
    fields.push(match[1]!, match[2]!);
  }
  return fields;
}

function malformed(what: string): TunnelError {
  return new TunnelError("protocol", `malformed HTTP head: ${what}`);
}

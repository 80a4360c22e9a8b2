import type { RawFields } from "../../link/http-head.ts";

const TAB = 0x09;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;

/** The characters of a name (RFC 9110 section 5.6.2). */
const IS_TOKEN = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  IS_TOKEN[character.charCodeAt(0)] = 1;
}

/** What says where a message ends, and what follows it. */
const TELLING = /^(?:content-length|transfer-encoding|(?:proxy-)?connection)$/i;

export interface ReceivedFields {
  /** Values are without the white space around them. */
  fields: RawFields;
  /** Every line stands as `encodeFields` would write it. */
  plain: boolean;
}

/**
 * Reads field lines (RFC 9112 section 5) that `HeadSection` has let through, as text of one character per byte.
 * @returns what is wrong with a line if it is a string
 */
export function readFields(lines: string, from: number): ReceivedFields | string {
  const fields: RawFields = [];
  let plain = true;
  for (let start = from, lf: number; start < lines.length; start = lf + 1) {
    let colon = start;
    while (IS_TOKEN[lines.charCodeAt(colon)] === 1) colon++;
    if (colon === start || lines.charCodeAt(colon) !== COLON) return "a malformed field line";
    lf = lines.indexOf("\n", colon);
    const hasCr = lines.charCodeAt(lf - 1) === CR;
    const end = hasCr ? lf - 1 : lf;
    let valueStart = colon + 1;
    let valueEnd = end;
    while (valueStart < end && isBlank(lines.charCodeAt(valueStart))) valueStart++;
    while (valueEnd > valueStart && isBlank(lines.charCodeAt(valueEnd - 1))) valueEnd--;
    plain &&= hasCr && valueStart === colon + 2 && valueEnd === end && lines.charCodeAt(colon + 1) === SPACE;
    const name = lines.slice(start, colon);
    // llhttp takes it for part of the value, and others do not.
    if (valueEnd < end && lines.slice(valueEnd, end).includes("\t") && TELLING.test(name))
      return "a tab behind a length, a coding or a connection option";
    fields.push(name, lines.slice(valueStart, valueEnd));
  }
  return { fields, plain };
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

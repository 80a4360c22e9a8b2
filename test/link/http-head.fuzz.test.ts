import * as fc from "fast-check";
import { expect } from "vitest";
import { TunnelError } from "../../link/errors.ts";
import {
  encodeFields,
  encodeRequestHead,
  encodeResponseHead,
  parseFields,
  parseRequestHead,
  parseResponseHead,
} from "../../link/http-head.ts";
import { fuzz } from "../support/fuzz.ts";
import { fieldValue, headText, rawFields, token } from "../support/http-arbitraries.ts";

const targetCharacter = fc
  .oneof(fc.constantFrom("/", "?", "#", "%", ":", "@"), fc.integer({ min: 0x21, max: 0xff }).map(toLatin1))
  .filter((character) => character !== "\x7f");
const target = fc.string({ unit: targetCharacter, minLength: 1, maxLength: 30 });
const status = fc.integer({ min: 100, max: 599 });

fuzz(
  "any legal request head comes back as it was",
  [fc.record({ method: token, target, fields: rawFields })],
  (head) => expect(parseRequestHead(encodeRequestHead(head))).toEqual(head),
);

fuzz(
  "any legal response head comes back as it was",
  [fc.record({ status, reason: fieldValue, fields: rawFields })],
  (head) => expect(parseResponseHead(encodeResponseHead(head))).toEqual(head),
);

fuzz("any legal trailers come back as they were", [rawFields], (fields) =>
  expect(parseFields(encodeFields(fields))).toEqual(fields),
);

fuzz(
  "whatever is taken for a request head says the same on the wire as it did",
  [headText("GET / HTTP/1.1\r\n")],
  (text) => {
    const head = taken(parseRequestHead, text);
    if (!head) return;
    expect(spaced(encodeRequestHead(head))).toBe(spaced(latin1(text)));
    expectOneLineEach([head.method, head.target, ...head.fields]);
    expect(head.method + head.target).not.toMatch(/[ \t]/);
  },
);

fuzz(
  "whatever is taken for a response head says the same on the wire as it did",
  [headText("HTTP/1.1 200 OK\r\n")],
  (text) => {
    const head = taken(parseResponseHead, text);
    if (!head) return;
    expect(spaced(encodeResponseHead(head))).toBe(spaced(latin1(text)));
    expectOneLineEach([head.reason, ...head.fields]);
    expect(head.status).toBeGreaterThanOrEqual(100);
    expect(head.status).toBeLessThanOrEqual(599);
  },
);

fuzz("whatever is taken for trailers says the same on the wire as it did", [headText("")], (text) => {
  const fields = taken(parseFields, text);
  if (!fields) return;
  expect(spaced(encodeFields(fields))).toBe(spaced(latin1(text)));
  expectOneLineEach(fields);
});

/** Undefined for bytes that are refused as they should be. */
function taken<T>(parse: (bytes: Buffer) => T, text: string): T | undefined {
  try {
    return parse(latin1(text));
  } catch (error) {
    if (error instanceof TunnelError && error.code === "protocol") return undefined;
    throw error;
  }
}

/** With the one space behind each name's colon that need not have been there. */
function spaced(bytes: Buffer): string {
  const lines = bytes.toString("latin1").split("\r\n");
  return lines.map((line) => line.replace(/^([^ :]+):(?! )/, "$1: ")).join("\r\n");
}

function expectOneLineEach(texts: string[]): void {
  expect(texts.join("")).not.toMatch(/[\r\n\0]/);
}

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

function toLatin1(code: number): string {
  return String.fromCharCode(code);
}

import { describe, expect, test } from "vitest";
import { TunnelError } from "../../link/errors.ts";
import {
  encodeFields,
  encodeRequestHead,
  encodeResponseHead,
  parseFields,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
} from "../../link/http-head.ts";
import { Random, SEEDS } from "../support/random.ts";

const PROTOCOL = expect.objectContaining({ name: "TunnelError", code: "protocol" });

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

test("a request head is what would stand on the wire", () => {
  const head = { method: "GET", target: "/a?b", fields: ["Host", "x", "Accept", "*/*"] };
  expect(encodeRequestHead(head).toString("latin1")).toBe("GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n");
});

test("a response head is what would stand on the wire", () => {
  const head = { status: 404, reason: "Not Found", fields: ["A", "b"] };
  expect(encodeResponseHead(head).toString("latin1")).toBe("HTTP/1.1 404 Not Found\r\nA: b\r\n");
});

test("order, case, repeats, empty values, spaces and every byte survive", () => {
  const fields = [
    ["X-UPPER", "1"],
    ["x-upper", "2"],
    ["Set-Cookie", "a=1"],
    ["set-cookie", "b=2"],
    ["Set-Cookie", "a=1"],
    ["empty", ""],
    ["spaces", "  in front and behind \t"],
    ["colon", "a:b: c"],
    ["latin", "caf\xe9 \x80\xff"],
    ["utf8", Buffer.from("näive ✓").toString("latin1")],
    ["!#$%&'*+-.^_`|~09azAZ", "x"],
  ].flat();
  const request = { method: "M-SEARCH", target: "//a/../%2e?%zz#\xe9", fields };
  const response = { status: 599, reason: "caf\xe9 \t", fields };
  expect(parseRequestHead(encodeRequestHead(request))).toEqual(request);
  expect(parseResponseHead(encodeResponseHead(response))).toEqual(response);
  expect(parseFields(encodeFields(fields))).toEqual(fields);
});

test("heads without fields, reasons that are empty and trailer sections without lines pass", () => {
  expect(parseRequestHead(latin1("OPTIONS * HTTP/1.1\r\n"))).toEqual({
    method: "OPTIONS",
    target: "*",
    fields: [],
  });
  expect(parseResponseHead(latin1("HTTP/1.1 200 \r\n"))).toEqual({ status: 200, reason: "", fields: [] });
  expect(parseFields(Buffer.alloc(0))).toEqual([]);
});

test.each([100, 101, 103, 200, 304, 599, 600, 999])("status %i passes", (status) => {
  expect(parseResponseHead(encodeResponseHead({ status, reason: "", fields: [] })).status).toBe(status);
});

test.each(["000", "099", "99", "1000", "20", "+20", "2 0", "abc", "", "-1"])(
  'status "%s" is refused',
  (status) => {
    expect(() => parseResponseHead(latin1(`HTTP/1.1 ${status} OK\r\n`))).toThrow(PROTOCOL);
  },
);

test.each([
  "",
  "\r\n",
  "GET / HTTP/1.1",
  "GET / HTTP/1.1\n",
  "GET / HTTP/1.1\r",
  "GET / HTTP/1.0\r\n",
  "GET / HTTP/2.0\r\n",
  "GET / http/1.1\r\n",
  "GET /\r\n",
  "GET  / HTTP/1.1\r\n",
  "GET /  HTTP/1.1\r\n",
  " GET / HTTP/1.1\r\n",
  "GET / HTTP/1.1 \r\n",
  "GET\t/ HTTP/1.1\r\n",
  "GET /a b HTTP/1.1\r\n",
  "G(T / HTTP/1.1\r\n",
  "G\xc9T / HTTP/1.1\r\n",
  "GET /\x00 HTTP/1.1\r\n",
  "GET /\x7f HTTP/1.1\r\n",
  "\r\nGET / HTTP/1.1\r\n",
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden HTTP/1.1\r\n",
  "GET / HTTP/1.1\r\nHost: x",
  "GET / HTTP/1.1\r\nHost: x\n",
])("the request head %j is refused", (text) => {
  expect(() => parseRequestHead(latin1(text))).toThrow(PROTOCOL);
});

test.each([
  "HTTP/1.1 200\r\n",
  "HTTP/1.1  200 OK\r\n",
  "HTTP/1.0 200 OK\r\n",
  "HTTP/1.1 200 O\x00K\r\n",
  "HTTP/1.1 200 O\nK\r\n",
  "HTTP/1.1 200 OK",
  "",
])("the response head %j is refused", (text) => {
  expect(() => parseResponseHead(latin1(text))).toThrow(PROTOCOL);
});

describe("a field line is refused", () => {
  const BAD_NAMES = [
    "",
    " a",
    "a ",
    "a\t",
    "a b",
    "(a)",
    "a,",
    "a\r",
    "a\n",
    "a\x00",
    "\xe9",
    "a\x7f",
    '"a"',
    "a/b",
  ];
  test.each(BAD_NAMES)("with the name %j", (name) => {
    expect(() => parseFields(latin1(`${name}: x\r\n`))).toThrow(PROTOCOL);
  });

  const CONTROL = [...Array.from({ length: 32 }, (_, i) => i), 127].filter((code) => code !== 9);
  test.each(CONTROL)("with control byte %i in its value", (code) => {
    for (const value of ["%", "%a", "a%", "a%b"]) {
      const line = `a: ${value.replace("%", String.fromCharCode(code))}\r\n`;
      expect(() => parseFields(latin1(line))).toThrow(PROTOCOL);
    }
  });

  test.each(["a\r\n", " folded\r\n", "\tfolded\r\n", "a : b\r\n", ": b\r\n"])("spelled %j", (line) => {
    expect(() => parseFields(latin1(`ok: 1\r\n${line}`))).toThrow(PROTOCOL);
  });
});

const NAME_BYTES = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TARGET_BYTES = bytesFrom((code) => (code > 0x20 && code < 0x7f) || code >= 0x80);
const VALUE_BYTES = bytesFrom((code) => code === 9 || (code >= 0x20 && code !== 0x7f));

test.each(SEEDS)("any legal head comes back as it was (seed %i)", (seed) => {
  const random = new Random(seed);
  for (let i = 0; i < 500; i++) {
    const fields = Array.from({ length: 2 * random.below(20) }, (_, i) =>
      i % 2 === 0 ? word(random, NAME_BYTES, 1) : word(random, VALUE_BYTES, 0),
    );
    const request = { method: word(random, NAME_BYTES, 1), target: word(random, TARGET_BYTES, 1), fields };
    const response = { status: 100 + random.below(500), reason: word(random, VALUE_BYTES, 0), fields };
    expect(parseRequestHead(encodeRequestHead(request))).toEqual(request);
    expect(parseResponseHead(encodeResponseHead(response))).toEqual(response);
    expect(parseFields(encodeFields(fields))).toEqual(fields);
  }
});

test.each(SEEDS)("a damaged head is refused, or says on the wire what it said before (seed %i)", (seed) => {
  const random = new Random(seed);
  const whole = encodeRequestHead({
    method: "POST",
    target: "/a",
    fields: ["Host", "x", "A", " b", "C", ""],
  });
  for (let i = 0; i < 5000; i++) {
    const bytes = Buffer.from(whole);
    for (let n = random.below(3); n >= 0; n--) {
      bytes[random.below(bytes.length)] = random.pick([0, 9, 10, 13, 32, 58, 65, random.below(256)]);
    }
    const head = parsed(bytes);
    // A space behind a colon is the one thing that need not have been there.
    expect(head === undefined || spaced(encodeRequestHead(head)) === spaced(bytes)).toBe(true);
  }
});

/** Undefined for a head that is refused as it should be. */
function parsed(bytes: Buffer): RequestHead | undefined {
  try {
    return parseRequestHead(bytes);
  } catch (error) {
    if (error instanceof TunnelError && error.code === "protocol") return undefined;
    throw error;
  }
}

function spaced(bytes: Buffer): string {
  return bytes.toString("latin1").replaceAll(/^([^:\r\n]+):(?! )/gm, "$1: ");
}

function word(random: Random, alphabet: string, shortest: number): string {
  const length = shortest + random.below(random.pick([1, 3, 40]));
  return Array.from({ length }, () => alphabet[random.below(alphabet.length)]).join("");
}

function bytesFrom(allowed: (code: number) => boolean): string {
  return Array.from({ length: 256 }, (_, code) => (allowed(code) ? String.fromCharCode(code) : "")).join("");
}

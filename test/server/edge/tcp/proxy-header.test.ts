import { expect, test } from "vitest";
import {
  ProxyHeaderReader,
  type Endpoints,
  writeDatagramProxyHeader,
  writeProxyHeader,
} from "../../../../server/edge/tcp/proxy-header.ts";
import { readInPieces } from "./read-in-pieces.ts";

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
const IPV4 = "\x01\x02\x03\x04\xcb\x00\x71\x07\xff\xff\x01\xbb";
const IPV4_ENDPOINTS = {
  source: { address: "1.2.3.4", port: 65_535 },
  destination: { address: "203.0.113.7", port: 443 },
};
const IPV6 = [
  ["\x20\x01\x0d\xb8", "\0".repeat(11), "\x01"],
  ["\x20\x01\x0d\xb8", "\0".repeat(11), "\x02"],
  ["\x00\x00\x00\x16"],
]
  .flat()
  .join("");
const IPV6_ENDPOINTS = {
  source: { address: "2001:db8::1", port: 0 },
  destination: { address: "2001:db8::2", port: 22 },
};

function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** A header of version 2. */
function block(command: number, kind: number, content: string, length = content.length): string {
  return SIGNATURE + String.fromCharCode(command, kind, length >> 8, length & 0xff) + content;
}

function read(text: string) {
  return new ProxyHeaderReader().push(bytes(text));
}

test.each<[string, string, Endpoints | undefined]>([
  ["TCP4", "PROXY TCP4 1.2.3.4 203.0.113.7 65535 443\r\n", IPV4_ENDPOINTS],
  ["TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 0 22\r\n", IPV6_ENDPOINTS],
  [
    "TCP6 with other spellings",
    "PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0001 2001:DB8:0:0::2 0 22\r\n",
    IPV6_ENDPOINTS,
  ],
  [
    "TCP6 with IPv4 addresses within",
    "PROXY TCP6 ::ffff:1.2.3.4 ::ffff:cb00:7107 65535 443\r\n",
    IPV4_ENDPOINTS,
  ],
  ["UNKNOWN", "PROXY UNKNOWN\r\n", undefined],
  [
    "the longest UNKNOWN",
    `PROXY UNKNOWN ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`,
    undefined,
  ],
  ["UNKNOWN with anything", "PROXY UNKNOWN whatever  comes\r\n", undefined],
  ["TCP over IPv4", block(0x21, 0x11, IPV4), IPV4_ENDPOINTS],
  ["UDP over IPv4", block(0x21, 0x12, IPV4), IPV4_ENDPOINTS],
  ["TCP over IPv6", block(0x21, 0x21, IPV6), IPV6_ENDPOINTS],
  ["UDP over IPv6", block(0x21, 0x22, IPV6), IPV6_ENDPOINTS],
  [
    "IPv6 with an IPv4 address within",
    block(0x21, 0x21, `${"\0".repeat(10)}\xff\xff${IPV4.slice(0, 4)}${IPV6.slice(16)}`),
    { source: { address: "1.2.3.4", port: 0 }, destination: { address: "2001:db8::2", port: 22 } },
  ],
  ["an empty extra", block(0x21, 0x11, `${IPV4}\x04\0\0`), IPV4_ENDPOINTS],
  ["two extras", block(0x21, 0x11, `${IPV4}\x02\0\x08app.test\x05\0\x02id`), IPV4_ENDPOINTS],
  ["the largest extra", block(0x21, 0x11, `${IPV4}\x04\x0f\xf1${"x".repeat(4_081)}`), IPV4_ENDPOINTS],
  ["LOCAL", block(0x20, 0x00, ""), undefined],
  ["LOCAL with addresses", block(0x20, 0x11, IPV4), undefined],
  ["LOCAL with anything", block(0x20, 0xff, "garbage"), undefined],
  ["no family", block(0x21, 0x00, ""), undefined],
  ["no family, and anything", block(0x21, 0x00, "garbage"), undefined],
  ["no family, and a transport", block(0x21, 0x01, ""), undefined],
  ["a family, and no transport", block(0x21, 0x10, IPV4), undefined],
  ["a UNIX socket", block(0x21, 0x31, "/run/socket".padEnd(216, "\0")), undefined],
])("a header is read wherever it is cut, and nothing behind it: %s", (_, header, endpoints) => {
  const rest = `PROXY TCP4 and \r\n${SIGNATURE}`;
  const whole = bytes(header + rest);
  expect(new ProxyHeaderReader().push(whole)).toEqual({ state: "header", endpoints, rest: bytes(rest) });
  for (let cut = 1; cut < header.length; cut++) {
    const reader = new ProxyHeaderReader();
    expect(reader.push(whole.subarray(0, cut))).toEqual({ state: "more" });
    expect(reader.push(whole.subarray(cut))).toEqual({ state: "header", endpoints, rest: bytes(rest) });
  }
  const { reading, taken } = readInPieces(new ProxyHeaderReader(), whole, 1);
  expect(reading).toEqual({ state: "header", endpoints, rest: bytes("") });
  expect(taken).toBe(header.length);
});

test("what lies behind the header is handed over without copying", () => {
  const chunk = bytes("PROXY UNKNOWN\r\nrest");
  const reading = new ProxyHeaderReader().push(chunk);
  if (reading.state !== "header") throw new Error(reading.state);
  expect(reading.rest.buffer).toBe(chunk.buffer);
  expect(reading.rest.byteOffset).toBe(chunk.byteOffset + 15);
});

const NONE = "does not begin with a PROXY header";
const FORM = "two addresses and two ports";
const PORT = "a number from 0 to 65535";
test.each([
  ["GET / HTTP/1.1\r\n", NONE],
  ["\x16\x03\x01\x02\x00", NONE],
  ["\n", NONE],
  ["PROXX", NONE],
  ["proxy TCP4", NONE],
  ["PROXY\r\n", NONE],
  ["PROXY\tTCP4", NONE],
  ["\r\n\r\n\0\r\nQUIT\r", NONE],
  ["PROXY \r\n", FORM],
  ["PROXY TCP4\r\n", FORM],
  ["PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", FORM],
  ["PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", FORM],
  ["PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", FORM],
  ["PROXY UNKNOWNS\r\n", FORM],
  ["PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", FORM],
  ["PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", FORM],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", FORM],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", FORM],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", FORM],
  ["PROXY TCP4 ::1 1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP4 1.2.3.4 ::ffff:1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP4 app.test 1.2.3.4 1 2\r\n", "says TCP4"],
  ["PROXY TCP6 1.2.3.4 ::1 1 2\r\n", "says TCP6"],
  ["PROXY TCP6 ::1 fe80::1%eth0 1 2\r\n", "says TCP6"],
  ["PROXY TCP6 [::1] ::1 1 2\r\n", "says TCP6"],
  ["PROXY TCP6 1::2::3 ::1 1 2\r\n", "says TCP6"],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", PORT],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 00\r\n", PORT],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", PORT],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", PORT],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 2.0\r\n", PORT],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "LF without CR"],
  ["PROXY UNKNOWN\n", "LF without CR"],
  ["PROXY UNKNOWN\r \r\n", "printable ASCII"],
  ["PROXY UNKNOWN \xff\r\n", "printable ASCII"],
  ["PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0\r\n", "printable ASCII"],
  ["PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n", "printable ASCII"],
  [`PROXY UNKNOWN ${"x".repeat(93)}`, "within 107 bytes"],
  [`PROXY UNKNOWN ${"x".repeat(92)}\r\n`, "within 107 bytes"],
  [block(0x11, 0x11, IPV4), "version 1, and not 2"],
  [block(0x31, 0x11, IPV4), "version 3, and not 2"],
  [block(0x22, 0x11, IPV4), "unknown command"],
  [block(0x21, 0x41, IPV4), "unknown address family"],
  [block(0x21, 0x13, IPV4), "unknown address family or transport"],
  [block(0x21, 0x11, "", 11), "too few"],
  [block(0x21, 0x21, "", 35), "too few"],
  [block(0x21, 0x21, IPV4), "too few"],
  [block(0x21, 0x31, "", 215), "too few"],
  [block(0x21, 0x11, "", 4_097), "announces 4097 bytes, more than the 4096"],
  [block(0x20, 0x00, "", 65_535), "announces 65535 bytes"],
  [block(0x21, 0x11, `${IPV4}\x04`), "cut off"],
  [block(0x21, 0x11, `${IPV4}\x04\0`), "cut off"],
  [block(0x21, 0x11, `${IPV4}\x04\0\x01`), "cut off"],
  [block(0x21, 0x11, `${IPV4}\x04\0\x01xx`), "cut off"],
])("%j is refused at its end, or before", (text, sentence) => {
  const refusal = { state: "refused", sentence: expect.stringContaining(sentence) };
  expect(read(text)).toEqual(refusal);
  expect(readInPieces(new ProxyHeaderReader(), bytes(text), 1).reading).toEqual(refusal);
});

const V4 = { address: "192.168.0.1", port: 56_324 };
const V6 = { address: "2001:db8::7", port: 22 };

test.each([
  [V4, { address: "192.168.0.11", port: 443 }, "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"],
  [V6, V6, "PROXY TCP6 2001:db8::7 2001:db8::7 22 22\r\n"],
  [{ address: "::ffff:192.168.0.1", port: 1 }, V4, "PROXY TCP4 192.168.0.1 192.168.0.1 1 56324\r\n"],
  [V4, V6, "PROXY TCP6 ::ffff:c0a8:1 2001:db8::7 56324 22\r\n"],
  [V6, V4, "PROXY TCP6 2001:db8::7 ::ffff:c0a8:1 22 56324\r\n"],
  [{ address: "fe80::1%eth0", port: 1 }, V6, "PROXY TCP6 fe80::1 2001:db8::7 1 22\r\n"],
  [{ address: "", port: 0 }, V4, "PROXY UNKNOWN\r\n"],
  [V4, { address: "localhost", port: 0 }, "PROXY UNKNOWN\r\n"],
])("version 1 of %j to %j", (source, destination, line) => {
  expect(writeProxyHeader(1, source, destination).toString("latin1")).toBe(line);
});

test.each([
  [IPV4_ENDPOINTS.source, IPV4_ENDPOINTS.destination, 0x10, IPV4],
  [IPV6_ENDPOINTS.source, IPV6_ENDPOINTS.destination, 0x20, IPV6],
  [{ address: "::ffff:1.2.3.4", port: 65_535 }, { address: "::FFFF:cb00:7107", port: 443 }, 0x10, IPV4],
  [
    V4,
    V6,
    0x20,
    `${"\0".repeat(10)}\xff\xff\xc0\xa8\0\x01\x20\x01\x0d\xb8${"\0".repeat(11)}\x07\xdc\x04\0\x16`,
  ],
])("version 2 of %j to %j", (source, destination, family, content) => {
  expect(writeProxyHeader(2, source, destination)).toEqual(bytes(block(0x21, family | 1, content)));
  expect(writeDatagramProxyHeader(source, destination)).toEqual(bytes(block(0x21, family | 2, content)));
});

test("version 2 says of unknown endpoints that they are not known, and not that they are the sender's", () => {
  const nowhere = { address: "", port: 0 };
  for (const header of [
    writeProxyHeader(2, nowhere, V4),
    writeProxyHeader(2, V4, nowhere),
    writeDatagramProxyHeader(nowhere, nowhere),
  ]) {
    expect(header).toEqual(bytes(block(0x21, 0x00, "")));
  }
});

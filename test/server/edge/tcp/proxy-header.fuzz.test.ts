import * as fc from "fast-check";
import { expect } from "vitest";
import { plainAddress } from "../../../../runtime/ip-address.ts";
import {
  ProxyHeaderReader,
  writeDatagramProxyHeader,
  writeProxyHeader,
  type Endpoint,
  type ProxyReading,
} from "../../../../server/edge/tcp/proxy-header.ts";
import { address, spell, spelling } from "../../../support/address-arbitraries.ts";
import { fuzz } from "../../../support/fuzz.ts";
import { mutated } from "./mutated.ts";
import { readInPieces } from "./read-in-pieces.ts";

const port = fc.oneof(fc.constantFrom(0, 1, 65_535), fc.nat(65_535));
const endpoint = fc.record({
  address: fc.tuple(address, spelling).map(([octets, spelling]) => spell(octets, spelling)),
  port,
});
const writer = fc.constantFrom(
  (source: Endpoint, destination: Endpoint) => writeProxyHeader(1, source, destination),
  (source: Endpoint, destination: Endpoint) => writeProxyHeader(2, source, destination),
  writeDatagramProxyHeader,
);
const header = fc
  .tuple(writer, endpoint, endpoint)
  .map(([write, source, destination]) => write(source, destination));
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const pieces = fc.infiniteStream(fc.nat(40));

fuzz(
  "what is written is read, in whatever pieces it comes, and what follows is left alone",
  [writer, endpoint, endpoint, bytes, pieces],
  (write, source, destination, rest, pieces) => {
    const header = write(source, destination);
    const endpoints = { source: plain(source), destination: plain(destination) };
    const whole = Buffer.concat([header, rest]);
    expect(new ProxyHeaderReader().push(whole)).toEqual({ state: "header", endpoints, rest });
    const { reading, taken } = readInPieces(new ProxyHeaderReader(), whole, () => pieces.next().value);
    expect(reading).toMatchObject({ state: "header", endpoints });
    expect(header.length).toBe(headerBytes(reading, taken));
  },
);

const nearly = fc.oneof(
  mutated(fc.tuple(header, bytes).map((parts) => Buffer.concat(parts))),
  // A block of version 2 with lengths and kinds of all sorts.
  fc
    .tuple(
      fc.constantFrom(0x20, 0x21, 0x21, 0x21, 0x11, 0x22),
      fc.constantFrom(0x00, 0x11, 0x21, 0x31, 0x10, 0x13, 0x41),
      fc.oneof(fc.nat(300), fc.constantFrom(4_096, 4_097, 65_535)),
      bytes,
    )
    .map(([command, kind, length, content]) =>
      Buffer.concat([
        Buffer.from("\r\n\r\n\0\r\nQUIT\n"),
        Buffer.from([command, kind, length >> 8, length & 0xff]),
        content,
      ]),
    ),
  fc
    .array(
      fc.oneof(
        fc.constantFrom("PROXY", "TCP4", "TCP6", "UNKNOWN", " ", " ", " ", "\r\n", "\n", "\r", "\0"),
        fc.constantFrom("1.2.3.4", "::1", "::ffff:1.2.3.4", "0", "65535", "65536", "00", "-1"),
      ),
      { maxLength: 14 },
    )
    .map((parts) => Buffer.from(`PROXY ${parts.join("")}`)),
  bytes,
);

fuzz(
  "any bytes get the same answer in whatever pieces they come, and it is a header, a refusal, or none yet",
  [nearly, pieces],
  (bytes, pieces) => {
    const whole = new ProxyHeaderReader().push(bytes);
    for (const length of [1, () => pieces.next().value]) {
      const { reading, taken } = readInPieces(new ProxyHeaderReader(), bytes, length);
      expect({ ...reading, rest: undefined }).toEqual({ ...whole, rest: undefined });
      expect(headerBytes(reading, taken)).toBe(headerBytes(whole, bytes.length));
    }
    if (whole.state === "refused") expect(whole.sentence).toMatch(/^The .*\.$/);
  },
);

fuzz("an answer is final: more bytes do not change it", [nearly, bytes], (bytes, more) => {
  const before = new ProxyHeaderReader().push(bytes);
  if (before.state === "more") return;
  const after = new ProxyHeaderReader().push(Buffer.concat([bytes, more]));
  expect({ ...after, rest: undefined }).toEqual({ ...before, rest: undefined });
});

fuzz("what is read can be passed on and means the same", [nearly, writer], (bytes, write) => {
  const reading = new ProxyHeaderReader().push(bytes);
  if (reading.state !== "header" || !reading.endpoints) return;
  const { source, destination } = reading.endpoints;
  const { endpoints } = reading;
  expect(new ProxyHeaderReader().push(write(source, destination))).toMatchObject({ endpoints });
});

function plain({ address, port }: Endpoint): Endpoint {
  return { address: plainAddress(address)!, port };
}

/** How long the header was, where there was one. */
function headerBytes(reading: ProxyReading, taken: number): number | undefined {
  return reading.state === "header" ? taken - reading.rest.length : undefined;
}

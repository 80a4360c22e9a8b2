import { describe, expect, test } from "vitest";
import { withinBatchLimits } from "../../link/batch-limits.ts";
import { definition, linkService } from "../../link/contract.ts";
import type { Control, Tunnel } from "../../link/messages.ts";
import { chunk, open } from "../support/raw-peer.ts";

const { requestSerialize, requestDeserialize } = linkService.Connect;
const read = withinBatchLimits(requestDeserialize, definition);

const count = withinBatchLimits(() => undefined, definition);

function wire(control: Control[], data: Buffer = Buffer.alloc(0)): Buffer {
  return requestSerialize({ control, data });
}

describe("a batch as a sender makes it is read", () => {
  test.each<[string, Buffer]>([
    ["empty", Buffer.alloc(0)],
    [
      "4,097 heads with every field set",
      wire(Array.from({ length: 4_097 }, (_, i) => open(2 * i + 2, { end: true }))),
    ],
    ["data that looks like fields", wire([], chunk(2, 0, Buffer.alloc(65_536, 0x0a)))],
    ["heads that look like fields", wire([open(2, { head: Buffer.alloc(20_000, 0x0a) })])],
    [
      "a thousand tunnels",
      wire([
        { message: "tunnels", tunnels: { tunnels: Array.from({ length: 1_000 }, (_, id) => tunnel(id)) } },
      ]),
    ],
  ])("%s", (_name, bytes) => {
    expect(read(bytes)).toEqual(requestDeserialize(bytes));
  });
});

test.each<[string, Buffer]>([
  ["control messages without content", Buffer.alloc(200_000).fill(Buffer.from([0x0a, 0x00]))],
  ["pings", Buffer.alloc(200_000).fill(Buffer.from([0x0a, 0x02, 0x32, 0x00]))],
  [
    "empty names in one Hello",
    wire([
      { message: "tunnels", tunnels: { tunnels: Array.from({ length: 70_000 }, (_, id) => tunnel(id)) } },
    ]),
  ],
  ["Hellos", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x0a, 0x00]))],
  [
    "Hellos in one control message",
    Buffer.from([0x0a, 40, ...Buffer.alloc(40).fill(Buffer.from([0x0a, 0x00]))]),
  ],
  ["states of tunnels", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x6a, 0x00]))],
  ["messages of a later version", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x72, 0x00]))],
  ["fields that nobody knows", Buffer.alloc(200_000).fill(Buffer.from([0x78, 0x00]))],
  ["groups", Buffer.alloc(1_000, 0x0b)],
])("too many %s are refused before they are built", (_name, bytes) => {
  const built: Buffer[] = [];
  const spy = withinBatchLimits((bytes) => built.push(bytes), definition);
  expect(() => spy(bytes)).toThrow(RangeError);
  expect(built).toEqual([]);
});

test("a batch cut short anywhere is refused, or was whole there", () => {
  const whole = wire([open(2), open(4)], chunk(2, 1, "hello"));
  const cuts = Array.from(whole, (_, length) => whole.subarray(0, length));
  const taken = cuts.filter((cut) => {
    try {
      count(cut);
      return true;
    } catch {
      return false;
    }
  });
  expect(taken.map((cut) => read(cut).control.length)).toEqual([0, 1, 2]);
});

describe("what the reader would read otherwise than it is counted is refused:", () => {
  // Of each, one that is well spelled is taken.
  const hello = [0x0a, 0x02, 0x0a, 0x00];

  test.each<[string, number[]]>([
    ["a message in the form of a number", [0x08, 0x02, 0x0a, 0x00]],
    ["a number in the form of bytes", [0x0a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 0x00]],
    ["bytes in the form of a number", [0x10, 0x02, 0x0a, 0x00]],
    ["a tag of six bytes", [0x8a, 0x80, 0x80, 0x80, 0x80, 0x00, 0x02, 0x0a, 0x00]],
    ["a length of six bytes", [0x0a, 0x82, 0x80, 0x80, 0x80, 0x80, 0x00, 0x0a, 0x00]],
    ["a field longer than its message", [0x0a, 0x02, 0x0a, 0x02, 0x0a, 0x00]],
    ["a number that goes beyond its message", [0x0a, 0x04, 0x32, 0x02, 0x08, 0x80, 0x00]],
  ])("%s", (_name, bytes) => {
    expect(() => count(Buffer.from(hello))).not.toThrow();
    expect(() => count(Buffer.from(bytes))).toThrow(RangeError);
  });

  test("but fields of a later version are left alone, of whatever form", () => {
    const later = [0x7a, 0x01, 0x00, 0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    expect(() => count(Buffer.from([...later, ...hello]))).not.toThrow();
  });
});

test("counting a batch full of data costs next to nothing", () => {
  const bytes = wire([], Buffer.alloc(4_000_000, 0x0a));
  const startMs = performance.now();
  for (let i = 0; i < 1_000; i++) count(bytes);
  expect(performance.now() - startMs).toBeLessThan(100);
});

function tunnel(id: number): Tunnel {
  return { id, name: "n", kind: "HTTP", url: "http://a/", target: "b:1" };
}

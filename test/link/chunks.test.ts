import { describe, expect, test } from "vitest";
import { chunkHeader, ChunkReader, DATAGRAM, END, MAX_CHUNK_BYTES, TRAILERS } from "../../link/chunks.ts";
import { Random, SEEDS } from "../support/random.ts";
import { chunk } from "../support/raw-peer.ts";

interface Piece {
  stream: number;
  flags: number;
  payload: string;
}

function reader(): { pieces: Piece[]; chunks: ChunkReader } {
  const pieces: Piece[] = [];
  const chunks = new ChunkReader((stream, flags, payload) =>
    pieces.push({ stream, flags, payload: payload.toString("latin1") }),
  );
  return { pieces, chunks };
}

test("a header is the stream, the flags and the length, big endian", () => {
  expect([...chunkHeader(0xfffffffe, END, 65_536)]).toEqual([0xff, 0xff, 0xff, 0xfe, 1, 1, 0, 0]);
  expect([...chunkHeader(1, END | TRAILERS, 5)]).toEqual([0, 0, 0, 1, 3, 0, 0, 5]);
});

test("payload is handed over without copying", () => {
  const run = chunk(2, 0, "payload");
  const chunks = new ChunkReader((_stream, _flags, payload) => {
    expect(payload.buffer).toBe(run.buffer);
    expect(payload.byteOffset).toBe(run.byteOffset + 8);
  });
  chunks.push(run);
  chunks.finish();
  expect.assertions(2);
});

test("an end without payload is told with an empty payload", () => {
  const { pieces, chunks } = reader();
  chunks.push(chunk(2, END));
  chunks.finish();
  expect(pieces).toEqual([{ stream: 2, flags: END, payload: "" }]);
});

test("the end flag comes with the last piece of a chunk that was cut", () => {
  const { pieces, chunks } = reader();
  const run = chunk(2, END, "abcdef");
  chunks.push(run.subarray(0, 10));
  chunks.push(run.subarray(10));
  expect(pieces).toEqual([
    { stream: 2, flags: 0, payload: "ab" },
    { stream: 2, flags: END, payload: "cdef" },
  ]);
});

test("trailers come whole, wherever the slices are cut", () => {
  const run = chunk(2, END | TRAILERS, "x: 1\r\ny: 2\r\n");
  for (let cut = 1; cut < run.length; cut++) {
    const { pieces, chunks } = reader();
    chunks.push(run.subarray(0, cut));
    chunks.push(run.subarray(cut));
    chunks.finish();
    expect(pieces).toEqual([{ stream: 2, flags: END | TRAILERS, payload: "x: 1\r\ny: 2\r\n" }]);
  }
});

test("an empty trailer section is a trailer section", () => {
  const { pieces, chunks } = reader();
  chunks.push(chunk(2, END | TRAILERS));
  expect(pieces).toEqual([{ stream: 2, flags: END | TRAILERS, payload: "" }]);
});

test.each([65_535, 65_536])("a chunk of %i bytes passes", (length) => {
  const { pieces, chunks } = reader();
  chunks.push(chunk(2, 0, Buffer.alloc(length, "x")));
  chunks.finish();
  expect(pieces[0]!.payload).toHaveLength(length);
});

test.each([65_537, 0xffffff])("a chunk of %i bytes is refused at its header", (length) => {
  const { pieces, chunks } = reader();
  expect(() => chunks.push(chunkHeader(2, 0, length))).toThrow(
    expect.objectContaining({ code: "protocol", message: expect.stringContaining(String(length)) }),
  );
  expect(pieces).toEqual([]);
});

test("a datagram comes whole, wherever the slices are cut", () => {
  const run = Buffer.concat([chunk(2, DATAGRAM, "datagram"), chunk(4, DATAGRAM), chunk(2, 0, "x")]);
  for (let cut = 1; cut < run.length; cut++) {
    const { pieces, chunks } = reader();
    chunks.push(run.subarray(0, cut));
    chunks.push(run.subarray(cut));
    chunks.finish();
    expect(pieces).toEqual([
      { stream: 2, flags: DATAGRAM, payload: "datagram" },
      { stream: 4, flags: DATAGRAM, payload: "" },
      { stream: 2, flags: 0, payload: "x" },
    ]);
  }
});

test("a datagram of 65,507 bytes passes, and one of a byte more is refused at its header", () => {
  const { pieces, chunks } = reader();
  chunks.push(chunk(2, DATAGRAM, Buffer.alloc(65_507)));
  expect(pieces[0]!.payload).toHaveLength(65_507);
  expect(() => chunks.push(chunkHeader(2, DATAGRAM, 65_508))).toThrow(
    expect.objectContaining({ code: "protocol" }),
  );
});

test.each([TRAILERS, 5, 6, 7, 8, 12, 128, 255])("flags %i are refused", (flags) => {
  expect(() => reader().chunks.push(chunkHeader(2, flags, 0))).toThrow(
    expect.objectContaining({ code: "protocol" }),
  );
});

describe("a batch that ends inside a chunk is refused", () => {
  const run = chunk(2, END, "abc");
  test.each(Array.from({ length: run.length - 1 }, (_, i) => i + 1))("behind byte %i", (bytes) => {
    const { chunks } = reader();
    chunks.push(run.subarray(0, bytes));
    expect(() => chunks.finish()).toThrow(expect.objectContaining({ code: "protocol" }));
  });

  test("and whole ones are not", () => {
    const { pieces, chunks } = reader();
    chunks.finish();
    chunks.push(run);
    chunks.finish();
    chunks.push(Buffer.concat([run, run]));
    chunks.finish();
    expect(pieces).toHaveLength(3);
  });
});

test.each(SEEDS)("runs read the same however they are sliced (seed %i)", (seed) => {
  const random = new Random(seed);
  const said: Piece[] = [];
  const run: Buffer[] = [];
  for (let i = 0; i < 60; i++) {
    const flags = random.pick([0, 0, 0, END, END | TRAILERS, DATAGRAM]);
    const payload = random.bytes(random.pick([0, 1, 7, 300, random.below(600)]));
    const stream = random.below(0x1_0000_0000);
    said.push({ stream, flags, payload: payload.toString("latin1") });
    run.push(chunk(stream, flags, payload));
  }
  const bytes = Buffer.concat(run);
  for (const most of [1, 2, 9, 1000, bytes.length]) {
    const { pieces, chunks } = reader();
    for (let at = 0; at < bytes.length;) {
      const length = most < 9 ? most : 1 + random.below(most);
      chunks.push(bytes.subarray(at, at + length));
      at += length;
    }
    chunks.finish();
    expect(joined(pieces, said)).toEqual(said);
  }
});

/** Joins the pieces of chunks that were cut, by the lengths of what was said. */
function joined(pieces: Piece[], said: Piece[]): Piece[] {
  let at = 0;
  return said.map(({ payload: { length } }) => {
    const whole = { ...pieces[at++]! };
    while (whole.payload.length < length) {
      expect(whole.flags).toBe(0);
      const next = pieces[at++]!;
      expect(next.stream).toBe(whole.stream);
      whole.payload += next.payload;
      whole.flags = next.flags;
    }
    return whole;
  });
}

test("the largest payload is what the contract says", () => {
  expect(MAX_CHUNK_BYTES).toBe(65_536);
});

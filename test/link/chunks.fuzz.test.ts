import * as fc from "fast-check";
import { expect } from "vitest";
import {
  ChunkReader,
  DATAGRAM,
  END,
  MAX_CHUNK_BYTES,
  MAX_DATAGRAM_BYTES,
  TRAILERS,
} from "../../link/chunks.ts";
import { TunnelError } from "../../link/errors.ts";
import { fuzz } from "../support/fuzz.ts";
import { chunk } from "../support/raw-peer.ts";

interface Chunk {
  stream: number;
  flags: number;
  payload: Buffer;
}

const stream = fc.oneof(fc.constantFrom(0, 1, 2, 0xffff_ffff), fc.nat(0xffff_ffff));
const legalChunk: fc.Arbitrary<Chunk> = fc.record({
  stream,
  flags: fc.constantFrom(0, 0, 0, END, END | TRAILERS, DATAGRAM),
  payload: bytes(40),
});
const anyChunk = fc
  .record({
    stream,
    flags: fc.nat(255),
    length: fc.constantFrom(0, 1, 9, 65_507, 65_508, 65_536, 65_537, 0xffffff),
    payload: bytes(20),
  })
  .map(({ stream, flags, length, payload }) => {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(stream, 0);
    header.writeUInt32BE(flags * 0x1000000 + length, 4);
    return Buffer.concat([header, payload]);
  });
/** A batch's data: legal, nearly legal, or nothing of the kind. */
const run = fc
  .array(fc.oneof({ weight: 6, arbitrary: legalChunk.map(onWire) }, anyChunk, bytes(12)), { maxLength: 8 })
  .map((parts) => Buffer.concat(parts));
const cuts = fc.array(fc.nat(20), { maxLength: 30 });

fuzz(
  "any bytes say the same, or are refused for the same, however they are sliced",
  [run, cuts],
  (bytes, cuts) => {
    const whole = read([bytes]);
    expect(read(sliced(bytes, cuts))).toEqual(whole);
    expect(read(sliced(bytes, Array(bytes.length).fill(1)))).toEqual(whole);
  },
);

fuzz(
  "a run of legal chunks says what was put in",
  [fc.array(legalChunk, { maxLength: 10 }), cuts],
  (chunks, cuts) => {
    const told = read(sliced(Buffer.concat(chunks.map(onWire)), cuts));
    expect(told).toEqual({
      said: merged(chunks.map(({ stream, flags, payload }) => ({ stream, flags, payload }))),
    });
  },
);

fuzz(
  "a run that ends inside a chunk is refused",
  [fc.array(legalChunk, { maxLength: 4 }), legalChunk, fc.nat(1_000), cuts],
  (chunks, last, at, cuts) => {
    const wire = onWire(last);
    const cut = wire.subarray(0, 1 + (at % (wire.length - 1)));
    const { refused } = read(sliced(Buffer.concat([...chunks.map(onWire), cut]), cuts));
    expect(refused).toBe("a batch ends inside a chunk");
  },
);

fuzz(
  "no bytes make more of themselves than they are, or hand over an illegal chunk",
  [run, cuts],
  (bytes, cuts) => {
    const pieces = piecesOf(sliced(bytes, cuts)).said;
    expect(pieces.reduce((sum, { payload }) => sum + payload.length, 0)).toBeLessThanOrEqual(bytes.length);
    for (const { flags, payload } of pieces) {
      expect([0, END, END | TRAILERS, DATAGRAM]).toContain(flags);
      expect(payload.length).toBeLessThanOrEqual(flags === DATAGRAM ? MAX_DATAGRAM_BYTES : MAX_CHUNK_BYTES);
    }
  },
);

function read(slices: Buffer[]): { said: Chunk[]; refused?: string } {
  const { said, ...rest } = piecesOf(slices);
  return { said: merged(said), ...rest };
}

function piecesOf(slices: Buffer[]): { said: Chunk[]; refused?: string } {
  const said: Chunk[] = [];
  const chunks = new ChunkReader((stream, flags, payload) => said.push({ stream, flags, payload }));
  try {
    for (const slice of slices) chunks.push(slice);
    chunks.finish();
    return { said };
  } catch (error) {
    if (!(error instanceof TunnelError) || error.code !== "protocol") throw error;
    return { said, refused: error.message };
  }
}

/** Pieces without a flag belong to what follows on their stream; where a chunk was cut means nothing. */
function merged(pieces: Chunk[]): Chunk[] {
  const whole: Chunk[] = [];
  for (const piece of pieces) {
    const last = whole.at(-1);
    const goesOn =
      last?.flags === 0 && last.stream === piece.stream && (piece.flags & (TRAILERS | DATAGRAM)) === 0;
    if (!goesOn) whole.push({ ...piece });
    else {
      last.payload = Buffer.concat([last.payload, piece.payload]);
      last.flags = piece.flags;
    }
  }
  return whole;
}

function sliced(bytes: Buffer, cuts: number[]): Buffer[] {
  const slices: Buffer[] = [];
  let at = 0;
  for (const length of cuts) {
    slices.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...slices, bytes.subarray(at)];
}

function onWire({ stream, flags, payload }: Chunk): Buffer {
  return chunk(stream, flags, payload);
}

function bytes(maxLength: number): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
}

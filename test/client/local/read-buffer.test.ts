import { expect, test } from "vitest";
import { readingInPlace } from "../../../client/local/read-buffer.ts";

/** Reads as a socket would: what has come, as much as fits into the buffer that it is given. */
function readAll(pieces: Buffer[]): { received: Buffer[]; buffers: Uint8Array[] } {
  const received: Buffer[] = [];
  const reading = readingInPlace((bytes) => received.push(bytes));
  const buffers = new Set<Uint8Array>();
  for (const piece of pieces) {
    for (let at = 0; at < piece.length;) {
      const into = (reading.buffer as () => Uint8Array)();
      buffers.add(into);
      const length = piece.copy(into, 0, at);
      expect(reading.callback(length, into)).toBe(true);
      at += length;
    }
  }
  return { received, buffers: [...buffers] };
}

test("small pieces are read into one small buffer, and each stays as it was", () => {
  const pieces = Array.from({ length: 100 }, (_, i) => Buffer.alloc(1 + i * 40, i));
  const { received, buffers } = readAll(pieces);
  expect(same(received, pieces)).toBe(true);
  expect(buffers.map(({ length }) => length)).toEqual([4_096]);
});

test("pieces beyond the first buffer are read into a larger one", () => {
  const pieces = Array.from({ length: 100 }, (_, i) => Buffer.alloc(10_000, i));
  const { received, buffers } = readAll(pieces);
  expect(Buffer.concat(received).equals(Buffer.concat(pieces))).toBe(true);
  expect(buffers.map(({ length }) => length)).toEqual([4_096, 65_536]);
});

test("a large piece is handed on as it is, and nothing is read into it again", () => {
  const pieces = [4_096, 40_000, 65_536, 10, 65_536].map((bytes, i) => Buffer.alloc(bytes, i + 1));
  const { received, buffers } = readAll(pieces);
  expect(same(received, pieces)).toBe(true);
  expect(buffers).toHaveLength(4);
  // What is kept is not much more than what was read.
  for (const bytes of received)
    expect(bytes.buffer.byteLength).toBeLessThanOrEqual(Math.max(8192, 4 * bytes.length));
});

function same(some: Buffer[], others: Buffer[]): boolean {
  return some.length === others.length && some.every((bytes, i) => bytes.equals(others[i]!));
}

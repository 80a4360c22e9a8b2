import { beforeAll, expect, test } from "vitest";
import { readingInPlace } from "../../../client/local/read-buffer.ts";
import { keepBufferBlocksSmall } from "../../../runtime/buffer-pool.ts";

beforeAll(() => {
  const { poolSize } = Buffer;
  // As the program does; the block in use is used up first.
  keepBufferBlocksSmall();
  for (let bytes = 0; bytes < poolSize; bytes += 1024) Buffer.allocUnsafe(1024);
});

/** Reads as a socket does: each piece into the buffer that it has been given last. */
class Reader {
  readonly received: Buffer[] = [];
  readonly #reading = readingInPlace((bytes) => this.received.push(bytes));
  buffer = this.#next();

  read(piece: Buffer): void {
    piece.copy(this.buffer);
    this.#reading.callback(piece.length, this.buffer);
    this.buffer = this.#next();
  }

  #next(): Uint8Array {
    return (this.#reading.buffer as () => Uint8Array)();
  }
}

test("small pieces are read into one buffer for all connections, and each stays as it was", () => {
  const [one, other] = [new Reader(), new Reader()];
  const pieces = Array.from({ length: 100 }, (_, i) => Buffer.alloc(1 + i * 160, i));
  for (const piece of pieces) {
    one.read(piece);
    other.read(Buffer.alloc(16_000, 255));
    expect(one.buffer).toBe(other.buffer);
  }
  expect(same(one.received, pieces)).toBe(true);
});

test("a large piece stays as it was, whatever is read behind it, by its own connection or by another", () => {
  const [one, other] = [new Reader(), new Reader()];
  const sizes = [4_096, 40_000, 65_536, 65_536, 10, 65_536];
  const pieces = sizes.map((bytes, i) => Buffer.alloc(bytes, i + 1));
  for (const piece of pieces) {
    one.read(piece);
    other.read(Buffer.alloc(65_536, 255));
  }
  expect(same(one.received, pieces)).toBe(true);
  // What is kept is not much more than what was read.
  for (const bytes of one.received)
    expect(bytes.buffer.byteLength).toBeLessThanOrEqual(Math.max(8192, 4 * bytes.length));
});

test("of many large pieces in a row only the first is copied", () => {
  const reader = new Reader();
  const buffers = Array.from({ length: 5 }, () => {
    const { buffer } = reader;
    reader.read(Buffer.alloc(65_536));
    return buffer.buffer;
  });
  expect(reader.received.map((bytes, i) => bytes.buffer === buffers[i])).toEqual([
    false,
    true,
    true,
    true,
    true,
  ]);
});

test("a connection that has read little keeps no buffer of its own", () => {
  const [one, other] = [new Reader(), new Reader()];
  one.read(Buffer.alloc(65_536));
  expect(one.buffer).not.toBe(other.buffer);
  one.read(Buffer.alloc(10));
  expect(one.buffer).toBe(other.buffer);
});

function same(some: Buffer[], others: Buffer[]): boolean {
  return some.length === others.length && some.every((bytes, i) => bytes.equals(others[i]!));
}

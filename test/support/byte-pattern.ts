import { Random } from "./random.ts";

const BYTES = new Random(7).bytes(1 << 18);

/** The bytes that belong on a stream from an offset on: different for each stream, and cheap to make and compare. */
export function pattern(stream: number, offset: number, length: number): Buffer {
  const from = (stream * 7919 + offset) % BYTES.length;
  const parts = [BYTES.subarray(from, from + length)];
  for (let left = length - parts[0]!.length; left > 0; left -= parts.at(-1)!.length) {
    parts.push(BYTES.subarray(0, left));
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

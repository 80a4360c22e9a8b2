import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TokenBucket } from "../../../../server/edge/udp/token-bucket.ts";

const MB = 1_000_000;
const LARGEST = 65_507;

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

/** How many of the bytes pass in so many seconds, if a datagram comes each millisecond. */
function passed(bucket: TokenBucket, seconds: number, datagramBytes: number): number {
  let bytes = 0;
  for (let ms = 0; ms < seconds * 1_000; ms++) {
    vi.advanceTimersByTime(1);
    if (bucket.take(datagramBytes)) bytes += datagramBytes;
  }
  return bytes;
}

test.each([10_000, 100_000, MB])("of a stream that wants more, %i bytes per second pass", (rate) => {
  const bytes = passed(new TokenBucket(rate), 20, 1_200);
  expect(bytes).toBeGreaterThan(rate * 20 * 0.98);
  expect(bytes).toBeLessThanOrEqual(rate * 20 + Math.max(LARGEST, rate / 10));
});

test("what is not used is saved up for a tenth of a second, and no longer", () => {
  const bucket = new TokenBucket(10 * MB);
  vi.advanceTimersByTime(60_000);
  expect(bucket.take(MB)).toBe(true);
  expect(bucket.take(1_200)).toBe(false);
});

test("the largest datagram passes at any rate, and the next has to be earned", () => {
  const bucket = new TokenBucket(1_000);
  expect(bucket.take(LARGEST)).toBe(true);
  vi.advanceTimersByTime(1_000);
  expect(bucket.take(1_001)).toBe(false);
  expect(bucket.take(1_000)).toBe(true);
});

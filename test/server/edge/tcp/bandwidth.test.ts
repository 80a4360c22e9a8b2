import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Bandwidth, type Share } from "../../../../server/edge/tcp/bandwidth.ts";

const KIB = 1024;
const MB = 1_000_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function pass(ms: number): void {
  vi.advanceTimersByTime(ms);
}

/** A connection that always has more, and passes a chunk whenever it may. */
class Busy {
  readonly share: Share;
  readonly passed: { atMs: number; bytes: number }[] = [];
  paidBytes = 0;
  readonly #chunkBytes: number;
  readonly #pauseMs: number;

  /** @param pauseMs until a socket that is resumed has the next chunk */
  constructor(bandwidth: Bandwidth, chunkBytes: number, pauseMs = 0) {
    this.#chunkBytes = chunkBytes;
    this.#pauseMs = pauseMs;
    this.share = bandwidth.join();
    this.share.onPaid = (bytes) => (this.paidBytes += bytes);
    this.share.onReady = () => this.#resume();
    this.#goOn();
  }

  get bytes(): number {
    return bytesIn([this]);
  }

  #resume(): void {
    if (this.#pauseMs === 0) this.#goOn();
    else setTimeout(() => this.#goOn(), this.#pauseMs);
  }

  #goOn(): void {
    for (;;) {
      this.passed.push({ atMs: performance.now(), bytes: this.#chunkBytes });
      if (!this.share.spend(this.#chunkBytes)) return;
      this.paidBytes += this.#chunkBytes;
    }
  }
}

function bytesIn(connections: Busy[], fromMs = 0, toMs = Infinity): number {
  let sum = 0;
  for (const { passed } of connections) {
    for (const { atMs, bytes } of passed) if (atMs >= fromMs && atMs < toMs) sum += bytes;
  }
  return sum;
}

/** The most that passed within a second, and the least after the first. */
function perSecond(connections: Busy[], seconds: number): { most: number; least: number } {
  const starts = connections.flatMap(({ passed }) => passed.map(({ atMs }) => atMs));
  let [most, least] = [0, Infinity];
  for (const start of starts) {
    const bytes = bytesIn(connections, start, start + 1_000);
    most = Math.max(most, bytes);
    if (start >= 1_000 && start <= (seconds - 1) * 1_000) least = Math.min(least, bytes);
  }
  return { most, least };
}

test.each([
  [10_000, 16 * KIB],
  [100_000, 64 * KIB],
  [MB, 1_000],
  [MB, 16 * KIB],
  [MB, 64 * KIB],
  [100 * MB, 64 * KIB],
])("at %i bytes per second one connection with chunks of %i gets just that", (rate, chunk) => {
  const seconds = rate > MB ? 5 : 100;
  const bandwidth = new Bandwidth(rate);
  const busy = new Busy(bandwidth, chunk);
  pass(seconds * 1_000);
  const saved = Math.max(16 * KIB, rate / 20);
  expect(busy.bytes).toBeGreaterThan(rate * seconds);
  expect(busy.bytes).toBeLessThanOrEqual(rate * seconds + saved + chunk);
  expect(busy.paidBytes).toBeLessThanOrEqual(rate * seconds + saved);
});

test.each([
  [1, 64 * KIB, 1.12, 0.93],
  [1, 16 * KIB, 1.07, 0.98],
  [10, 16 * KIB, 1.22, 0.98],
  [10, 64 * KIB, 1.71, 0.93],
])(
  "%i connections with chunks of %i bytes stay near 1 MB/s in every second",
  (count, chunk, atMost, atLeast) => {
    const bandwidth = new Bandwidth(MB);
    const connections = Array.from({ length: count }, () => new Busy(bandwidth, chunk));
    pass(20_000);
    const { most, least } = perSecond(connections, 20);
    expect(most).toBeLessThanOrEqual(atMost * MB);
    expect(least).toBeGreaterThanOrEqual(atLeast * MB);
  },
);

test.each([2, 10])("%i busy connections get the same, whatever the size of their chunks", (count) => {
  const bandwidth = new Bandwidth(MB);
  const sizes = [64 * KIB, 4 * KIB, 16 * KIB, 1_460, 40_000];
  const connections = Array.from(
    { length: count },
    (_, i) => new Busy(bandwidth, sizes[i % sizes.length]!, i % 3),
  );
  pass(100_000);
  for (const { paidBytes } of connections) {
    expect(Math.abs(paidBytes - (100 * MB) / count)).toBeLessThan(100 * KIB);
  }
});

test("who comes to busy ones gets their share from then on, and leaves it to them", () => {
  const bandwidth = new Bandwidth(MB);
  const first = new Busy(bandwidth, 64 * KIB);
  pass(10_000);
  const second = new Busy(bandwidth, 64 * KIB);
  const before = first.paidBytes;
  pass(10_000);
  expect(Math.abs(first.paidBytes - before - 5 * MB)).toBeLessThan(100 * KIB);
  expect(Math.abs(second.paidBytes - 5 * MB)).toBeLessThan(100 * KIB);
  second.share.leave();
  const then = first.paidBytes;
  pass(10_000);
  expect(first.paidBytes - then).toBeGreaterThan(10 * MB - 150 * KIB);
});

test.each([1, 9])("who needs less than their share does not wait for %i busy ones", (count) => {
  const bandwidth = new Bandwidth(MB);
  const light = bandwidth.join();
  const busy = Array.from({ length: count }, () => new Busy(bandwidth, 64 * KIB));
  pass(5_000);
  const waitedMs: number[] = [];
  for (let i = 0; i < 200; i++) {
    const spentAtMs = performance.now();
    light.onReady = () => waitedMs.push(performance.now() - spentAtMs);
    if (light.spend(2_000)) waitedMs.push(0);
    pass(25);
  }
  expect(waitedMs).toHaveLength(200);
  // As long as its own bytes take at this rate, where the time of a turn of one of the others is 65 ms.
  expect(Math.max(...waitedMs)).toBeLessThanOrEqual(3);
  expect(bytesIn(busy, 5_000)).toBeGreaterThan(4.6 * MB - 64 * KIB * (count + 1));
});

test.each([0, 1])(
  "who wants more than their share gets no more by small chunks, read %i ms after they may be",
  (pauseMs) => {
    const bandwidth = new Bandwidth(MB);
    const heavy = new Busy(bandwidth, 64 * KIB);
    const small = new Busy(bandwidth, 1_000, pauseMs);
    for (let i = 0; i < 50; i++) {
      pass(200);
      expect(small.paidBytes - heavy.paidBytes).toBeLessThanOrEqual(128 * KIB);
    }
    expect(small.paidBytes).toBeGreaterThan(4 * MB);
  },
);

test("newcomers do not overtake one that has been there", () => {
  const bandwidth = new Bandwidth(MB);
  const old = new Busy(bandwidth, 64 * KIB);
  pass(5_000);
  const before = old.paidBytes;
  for (let i = 0; i < 100; i++) bandwidth.join().spend(64 * KIB);
  pass(66);
  expect(old.paidBytes - before).toBe(64 * KIB);
});

test("what is saved up while nobody spends is 50 ms' worth, or 16 KiB if that is more", () => {
  for (const [rate, saved] of [
    [MB, 50_000],
    [10_000, 16 * KIB],
  ] as const) {
    const bandwidth = new Bandwidth(rate);
    const share = bandwidth.join();
    expect(share.spend(saved)).toBe(true);
    pass(3_600_000);
    expect(share.spend(saved)).toBe(true);
    expect(share.spend(1)).toBe(false);
    share.leave();
  }
});

test("what is owed is told as it is paid, and readiness once, at the end", () => {
  const bandwidth = new Bandwidth(MB);
  const share = bandwidth.join();
  const told: string[] = [];
  share.onPaid = (bytes) => told.push(`${bytes} at ${Math.round(performance.now())}`);
  share.onReady = () => told.push("ready");
  expect(share.spend(50_000)).toBe(true);
  expect(share.spend(100_000)).toBe(false);
  expect(share.spend(50_000)).toBe(false);
  pass(1_000);
  expect(told).toEqual(["65536 at 66", "65536 at 132", "18928 at 150", "ready"]);
  expect(share.spend(1)).toBe(true);
});

test("timers that come late make nobody slower, if it is no more than what may be saved", () => {
  delayTimers(() => 45);
  const busy = new Busy(new Bandwidth(MB), 64 * KIB);
  pass(10_000);
  expect(busy.bytes).toBeGreaterThan(10 * MB);
});

test("what could not be passed while the process stood still is not made up for", () => {
  const delays = [5_000];
  delayTimers(() => delays.shift() ?? 0);
  const bandwidth = new Bandwidth(MB);
  const connections = Array.from({ length: 10 }, () => new Busy(bandwidth, 16 * KIB));
  pass(6_000);
  expect(bytesIn(connections, 5_000)).toBeGreaterThan(0.9 * MB);
  expect(bytesIn(connections, 5_000)).toBeLessThan(1.2 * MB);
});

/** Has timers come later than they were set to. */
function delayTimers(byMs: () => number): void {
  const onTime = globalThis.setTimeout;
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((callback: () => void, ms: number) =>
    onTime(callback, ms + byMs())) as typeof setTimeout);
}

test("nobody who left is told anything, and the others pay what they owed in turn with their own", () => {
  const bandwidth = new Bandwidth(MB);
  const heard: string[] = [];
  const gone = bandwidth.join();
  gone.onReady = () => heard.push("ready");
  gone.onPaid = () => heard.push("paid");
  gone.spend(1.05 * MB);
  const busy = new Busy(bandwidth, 64 * KIB);
  gone.leave();
  gone.leave();
  pass(1_000);
  expect(Math.abs(busy.paidBytes - MB / 2)).toBeLessThan(100 * KIB);
  pass(2_000);
  // 1 MB were owed, 50 KB of what was spent had been saved up.
  expect(Math.abs(busy.paidBytes - 2 * MB)).toBeLessThan(100 * KIB);
  expect(heard).toEqual([]);
});

test("what those who left owe is paid while nobody is there, too", () => {
  const bandwidth = new Bandwidth(MB);
  const gone = bandwidth.join();
  gone.spend(550_000);
  gone.leave();
  pass(400);
  const share = bandwidth.join();
  expect(share.spend(1)).toBe(false);
  share.leave();
  pass(200);
  expect(bandwidth.join().spend(50_000)).toBe(true);
});

test("one may leave, spend or be spent for while being told", () => {
  const bandwidth = new Bandwidth(MB);
  const [leaver, spender, other] = [bandwidth.join(), bandwidth.join(), bandwidth.join()];
  const told: string[] = [];
  leaver.onPaid = () => {
    told.push("leaver paid");
    leaver.leave();
  };
  leaver.onReady = () => told.push("leaver ready");
  let spends = 1;
  spender.onPaid = () => {
    told.push("spender paid");
    if (spends++ < 3) spender.spend(60_000);
    else other.leave();
  };
  spender.onReady = () => told.push("spender ready");
  other.onReady = () => told.push("other ready");
  leaver.spend(60_000);
  spender.spend(60_000);
  other.spend(600_000);
  pass(10_000);
  expect(told).toEqual(["leaver paid", "spender paid", "spender paid", "spender paid", "spender ready"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("there is one timer while anyone waits, and none otherwise", () => {
  const bandwidth = new Bandwidth(MB);
  const shares = Array.from({ length: 5 }, () => bandwidth.join());
  expect(vi.getTimerCount()).toBe(0);
  shares[0]!.spend(50_000);
  expect(vi.getTimerCount()).toBe(0);
  for (const share of shares) expect(share.spend(64 * KIB)).toBe(false);
  expect(vi.getTimerCount()).toBe(1);
  for (const share of shares.slice(1)) share.leave();
  expect(vi.getTimerCount()).toBe(1);
  shares[0]!.leave();
  expect(vi.getTimerCount()).toBe(0);
  const last = bandwidth.join();
  last.spend(1);
  expect(vi.getTimerCount()).toBe(1);
  pass(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

test("who comes does not put off the timer for whose turn it is", () => {
  const bandwidth = new Bandwidth(MB);
  const first = bandwidth.join();
  first.spend(50_000);
  first.spend(64 * KIB);
  const ready = vi.fn<() => void>();
  first.onReady = ready;
  const timers = vi.spyOn(globalThis, "setTimeout");
  for (let i = 0; i < 65; i++) {
    bandwidth.join().spend(64 * KIB);
    pass(1);
  }
  // A timer is set for a millisecond at least: set anew with each of many, it would never come.
  expect(timers).not.toHaveBeenCalled();
  pass(1);
  expect(ready).toHaveBeenCalledTimes(1);
});

test("what has been earned for whose turn it is goes to nobody else", () => {
  const bandwidth = new Bandwidth(MB);
  const [first, other] = [bandwidth.join(), bandwidth.join()];
  other.spend(50_000);
  const ready = vi.fn<() => void>();
  first.onReady = ready;
  first.spend(64 * KIB);
  pass(60);
  expect(other.spend(20_000)).toBe(false);
  pass(6);
  expect(ready).toHaveBeenCalledTimes(1);
});

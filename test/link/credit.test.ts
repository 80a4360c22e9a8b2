import { expect, test } from "vitest";
import { INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES, ReceiveWindow, WindowBudget } from "../../link/credit.ts";
import { Random, SEEDS } from "../support/random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** What a sender may have out before it has to wait, found by a reader that keeps up. */
function keepUp(window: ReceiveWindow, rounds: number): number {
  let granted = 0;
  for (let i = 0; i < rounds; i++) {
    expect(window.received(64 * KIB)).toBe(true);
    granted += window.consumed(64 * KIB);
  }
  return INITIAL_WINDOW_BYTES - rounds * 64 * KIB + granted;
}

test("a window takes exactly its credit", () => {
  const window = new ReceiveWindow(new WindowBudget());
  expect(window.received(INITIAL_WINDOW_BYTES)).toBe(true);
  expect(window.received(1)).toBe(false);
});

test("credit comes back in quarters of the window", () => {
  const window = new ReceiveWindow(new WindowBudget());
  window.received(INITIAL_WINDOW_BYTES);
  expect(window.consumed(64 * KIB - 1)).toBe(0);
  expect(window.consumed(1)).toBe(64 * KIB);
  expect(window.consumed(100)).toBe(0);
});

test("a reader that keeps up gets up to 4 MiB", () => {
  const budget = new WindowBudget();
  const window = new ReceiveWindow(budget);
  expect(keepUp(window, 1000)).toBeGreaterThan(MAX_WINDOW_BYTES * 0.74);
  expect(window.received(MAX_WINDOW_BYTES + 1)).toBe(false);
  expect(64 * MIB - budget.growthLeftBytes).toBe(MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
});

test("a reader that lags behind keeps its first window", () => {
  const budget = new WindowBudget();
  const window = new ReceiveWindow(budget);
  window.received(INITIAL_WINDOW_BYTES);
  for (let i = 0; i < 100; i++) {
    const granted = window.consumed(64 * KIB);
    expect(granted).toBe(64 * KIB);
    expect(window.received(granted)).toBe(true);
  }
  expect(budget.growthLeftBytes).toBe(64 * MIB);
});

test("the windows of a connection grow by no more than 64 MiB together", () => {
  const budget = new WindowBudget();
  const windows = Array.from({ length: 100 }, () => new ReceiveWindow(budget));
  for (const window of windows) keepUp(window, 300);
  expect(budget.growthLeftBytes).toBeGreaterThanOrEqual(0);
  expect(budget.growthLeftBytes).toBeLessThan(4 * MIB);
  for (const window of windows) window.close();
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
});

test("with too much unread, windows shrink to where they began, and still move", () => {
  const budget = new WindowBudget();
  const windows = Array.from({ length: 12 }, () => new ReceiveWindow(budget));
  const credits = windows.map((window) => keepUp(window, 1000));
  windows.forEach((window, i) => window.received(credits[i]!));
  expect(budget.unreadBytes).toBeGreaterThan(32 * MIB);

  const first = windows[0]!;
  let granted = 0;
  for (let left = credits[0]!; left > 0; left -= 64 * KIB)
    granted += first.consumed(Math.min(left, 64 * KIB));
  expect(granted).toBeLessThanOrEqual(INITIAL_WINDOW_BYTES);
  expect(granted).toBeGreaterThanOrEqual(INITIAL_WINDOW_BYTES * 0.74);
  expect(first.received(granted)).toBe(true);
  expect(first.consumed(granted)).toBeGreaterThan(0);
});

test("a direction that has ended gives its growth back, grants nothing, and counts what is unread", () => {
  const budget = new WindowBudget();
  const window = new ReceiveWindow(budget);
  keepUp(window, 1000);
  window.received(MIB);
  window.end();
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: MIB });
  expect(window.consumed(MIB)).toBe(0);
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
});

test.each(SEEDS)("whatever happens, a connection's budget comes back whole (seed %i)", (seed) => {
  const random = new Random(seed);
  const budget = new WindowBudget();
  let right = true;
  let open: { window: ReceiveWindow; credit: number; unread: number }[] = [];
  for (let i = 0; i < 6_000; i++) {
    if (open.length < 40 && random.next() < 0.05) {
      open.push({ window: new ReceiveWindow(budget), credit: INITIAL_WINDOW_BYTES, unread: 0 });
    }
    const one = open.length > 0 ? random.pick(open) : undefined;
    if (!one) continue;
    const bytes = random.below(2 * 64 * KIB);
    const dice = random.next();
    if (dice < 0.5) {
      const taken = one.window.received(bytes);
      right &&= taken === bytes <= one.credit;
      if (!taken) continue;
      one.credit -= bytes;
      one.unread += bytes;
    } else if (dice < 0.98) {
      const consumed = random.next() < 0.7 ? one.unread : Math.min(one.unread, bytes);
      one.unread -= consumed;
      one.credit += one.window.consumed(consumed);
      right &&= one.credit + one.unread <= MAX_WINDOW_BYTES;
      right &&= one.unread > 0 || one.credit > INITIAL_WINDOW_BYTES / 2;
    } else {
      if (random.next() < 0.5) one.window.end();
      one.window.close();
      open = open.filter((other) => other !== one);
    }
    expect(right && budget.growthLeftBytes >= 0).toBe(true);
    expect(budget.unreadBytes).toBe(open.reduce((sum, { unread }) => sum + unread, 0));
  }
  for (const { window } of open) window.close();
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
});

import { describe, expect, test } from "vitest";
import {
  CROWDED_WINDOW_BYTES,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  MIN_WINDOW_BYTES,
  ReceiveWindow,
  WindowBudget,
} from "../../link/credit.ts";
import { UnreadBudget } from "../../link/unread-budget.ts";
import { Random, SEEDS } from "../support/random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

function windowOf(
  connection: WindowBudget,
  process = new UnreadBudget(),
  windowBytes?: number,
): ReceiveWindow {
  return new ReceiveWindow({ connection, process, windowBytes, stream: { shed: unexpected } });
}

/** A budget in which another stream holds more than half. */
function pressed(): UnreadBudget {
  const process = new UnreadBudget();
  process.add(200 * MIB);
  return process;
}

function unexpected(): never {
  throw new Error("a stream was shed");
}

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
  const window = windowOf(new WindowBudget());
  expect(window.received(INITIAL_WINDOW_BYTES)).toBe(true);
  expect(window.received(1)).toBe(false);
});

test("credit comes back in quarters of the window", () => {
  const window = windowOf(new WindowBudget());
  window.received(INITIAL_WINDOW_BYTES);
  expect(window.consumed(64 * KIB - 1)).toBe(0);
  expect(window.consumed(1)).toBe(64 * KIB);
  expect(window.consumed(100)).toBe(0);
});

test("a reader that keeps up gets up to 16 MiB", () => {
  const budget = new WindowBudget();
  const window = windowOf(budget);
  expect(keepUp(window, 1000)).toBeGreaterThan(MAX_WINDOW_BYTES * 0.74);
  expect(window.received(MAX_WINDOW_BYTES + 1)).toBe(false);
  expect(64 * MIB - budget.growthLeftBytes).toBe(MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
});

test("a reader that lags behind keeps its first window", () => {
  const budget = new WindowBudget();
  const window = windowOf(budget);
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
  const windows = Array.from({ length: 100 }, () => windowOf(budget));
  for (const window of windows) keepUp(window, 300);
  expect(budget.growthLeftBytes).toBeGreaterThanOrEqual(0);
  expect(budget.growthLeftBytes).toBeLessThan(4 * MIB);
  for (const window of windows) window.close();
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
});

test("windows that have grown beyond 4 MiB give way to others, until each has as much", () => {
  const budget = new WindowBudget();
  const first = Array.from({ length: 3 }, () => windowOf(budget));
  const large = first.map((window) => keepUp(window, 2000));
  for (const credit of large) expect(credit).toBeGreaterThan(MAX_WINDOW_BYTES * 0.74);

  const windows = [...first, ...Array.from({ length: 13 }, () => windowOf(budget))];
  let credits = windows.map((_, i) => large[i] ?? INITIAL_WINDOW_BYTES);
  for (let round = 0; round < 2000; round++) {
    credits = windows.map((window, i) => {
      expect(window.received(64 * KIB)).toBe(true);
      return credits[i]! + window.consumed(64 * KIB) - 64 * KIB;
    });
  }
  expect(Math.min(...credits)).toBeGreaterThan(CROWDED_WINDOW_BYTES * 0.74);
  expect(Math.max(...credits)).toBeLessThanOrEqual(CROWDED_WINDOW_BYTES);
});

test("with too much unread, windows shrink to where they began, and still move", () => {
  const budget = new WindowBudget();
  const windows = Array.from({ length: 12 }, () => windowOf(budget));
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
  const window = windowOf(budget);
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
  const process = new UnreadBudget();
  let right = true;
  let open: { window: ReceiveWindow; credit: number; unread: number }[] = [];
  for (let i = 0; i < 6_000; i++) {
    if (open.length < 40 && random.next() < 0.05) {
      open.push({ window: windowOf(budget, process), credit: INITIAL_WINDOW_BYTES, unread: 0 });
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
      if (one.unread > 0) one.window.waits(random.below(1000));
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
    expect(process.heldBytes).toBe(open.reduce((sum, { window }) => sum + window.heldBytes, 0));
    expect(open.every(({ window, unread }) => unread > 0 || window.heldBytes === 0)).toBe(true);
  }
  for (const { window } of open) window.close();
  expect(budget).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
  expect(process.heldBytes).toBe(0);
});

describe("a process under pressure", () => {
  test("windows shrink to 16 KiB as they are read, and still move", () => {
    const connection = new WindowBudget();
    const process = new UnreadBudget();
    const window = windowOf(connection, process);
    let credit = keepUp(window, 1000);
    expect(credit).toBeGreaterThan(MAX_WINDOW_BYTES * 0.74);

    process.add(200 * MIB);
    // All that it was promised may still come, once.
    let moved = 0;
    while (moved < 64 * MIB) {
      const bytes = Math.min(credit, 64 * KIB);
      expect(bytes).toBeGreaterThan(0);
      expect(window.received(bytes)).toBe(true);
      credit += window.consumed(bytes) - bytes;
      moved += bytes;
    }
    expect(credit).toBeLessThanOrEqual(MIN_WINDOW_BYTES);
    expect(window.received(MIN_WINDOW_BYTES + 1)).toBe(false);
    expect(connection.growthLeftBytes).toBe(64 * MIB);
  });

  test("a window that began small grows like any other once the pressure is gone, and costs its connection the same", () => {
    const connection = new WindowBudget();
    const process = pressed();
    const window = windowOf(connection, process, MIN_WINDOW_BYTES);
    expect(window.received(MIN_WINDOW_BYTES + 1)).toBe(false);
    process.giveBack(200 * MIB);

    let credit = MIN_WINDOW_BYTES;
    for (let i = 0; i < 1000; i++) {
      const bytes = Math.min(credit, 64 * KIB);
      window.received(bytes);
      credit += window.consumed(bytes) - bytes;
    }
    expect(credit).toBeGreaterThan(MAX_WINDOW_BYTES * 0.74);
    expect(connection.growthLeftBytes).toBe(64 * MIB - (MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES));
    window.close();
    expect(connection).toEqual({ growthLeftBytes: 64 * MIB, unreadBytes: 0 });
  });
});

test("what is passed on at once is no matter for the process; what waits is, with what it takes beside itself", () => {
  const process = new UnreadBudget();
  const window = windowOf(new WindowBudget(), process);
  window.received(1000);
  window.consumed(1000);
  expect(process.heldBytes).toBe(0);

  window.received(1000);
  window.waits(500);
  expect(process.heldBytes).toBe(1500);
  window.received(1000);
  window.consumed(1000);
  expect(process.heldBytes).toBe(1250);
  window.waits(0);
  expect(process.heldBytes).toBe(1250);
  window.consumed(1000);
  expect(process.heldBytes).toBe(0);
});

test("a window that is closed gives back its head, its bytes and what they take", () => {
  const process = new UnreadBudget();
  const window = windowOf(new WindowBudget(), process);
  window.receivedHead(5000);
  window.received(1000);
  window.waits(500);
  expect(process.heldBytes).toBe(6500);
  window.consumed(1000);
  expect(process.heldBytes).toBe(5000);
  window.close();
  window.close();
  expect(process.heldBytes).toBe(0);
});

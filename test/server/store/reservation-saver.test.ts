import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ReservationSaver } from "../../../server/store/reservation-saver.ts";
import type { Remembered } from "../../../server/store/reservations.ts";
import { recordingLog } from "../../support/recording-log.ts";

const NOTHING: Remembered = { reservations: [], lastPorts: [] };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function saverOf() {
  const { log, lines } = recordingLog();
  const disk = { saves: 0, isFull: false };
  const onLook = { call: () => {} };
  const saver = new ReservationSaver({
    store: {
      load: () => Promise.resolve(NOTHING),
      async save() {
        if (disk.isFull) throw new Error("the disk is full");
        disk.saves++;
      },
    },
    remembered: () => {
      onLook.call();
      return NOTHING;
    },
    log,
  });
  return { saver, disk, lines, onLook };
}

test("a change is saved soon, those that follow once in ten seconds, and nothing else", async () => {
  const { saver, disk } = saverOf();
  saver.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(disk.saves).toBe(0);
  for (let i = 0; i < 10; i++) {
    saver.changed();
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(disk.saves).toBe(1);
  for (let i = 0; i < 29; i++) {
    saver.changed();
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(disk.saves).toBe(3);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(disk.saves).toBe(4);
});

test("what turns out to have changed when it is looked at is saved too", async () => {
  const { saver, disk, onLook } = saverOf();
  saver.start();
  onLook.call = () => saver.changed();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(disk.saves).toBe(1);
});

test("what has changed is saved at the end, and nothing after it", async () => {
  const { saver, disk } = saverOf();
  saver.start();
  saver.changed();
  await saver.end();
  expect(disk.saves).toBe(1);
  saver.changed();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(disk.saves).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});

test("a server that never came to run has no timer", () => {
  saverOf().saver.changed();
  expect(vi.getTimerCount()).toBe(0);
});

test("a full disk is one warning; it is tried again, and said when that works", async () => {
  const { saver, disk, lines } = saverOf();
  saver.start();
  disk.isFull = true;
  saver.changed();
  await vi.advanceTimersByTimeAsync(35_000);
  expect(lines).toMatchObject([{ level: "warn", message: expect.stringContaining("cannot be saved") }]);
  disk.isFull = false;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(disk.saves).toBe(1);
  expect(lines).toHaveLength(2);
});

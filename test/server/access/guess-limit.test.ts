import { expect, test } from "vitest";
import { GuessLimit } from "../../../server/access/guess-limit.ts";

const KEY = "00000000000000aa";
const OTHER_KEY = "00000000000000bb";
const HERE = "203.0.113.7";
const DAY_MS = 24 * 3_600_000;

/** A limit on a clock that stands still. */
function limitWithClock() {
  const clock = { now: 1_000_000 };
  const limit = new GuessLimit(() => clock.now);
  /** Guesses until the limit says no; as an attacker has it, who always guesses wrong. */
  const guess = (keyId: string, network: string, atMost = 1_000): number => {
    let looks = 0;
    while (looks < atMost && !limit.tooMany(keyId, network)) {
      limit.failed(keyId, network);
      looks++;
    }
    return looks;
  };
  return { clock, limit, guess };
}

test("ten wrong keys of one network are looked at, and then one in two seconds", () => {
  const { clock, limit, guess } = limitWithClock();
  expect(guess(KEY, HERE)).toBe(10);
  expect(limit.tooMany(OTHER_KEY, HERE)).toEqual({ of: "network", waitMs: 2_000 });
  clock.now += 1_999;
  expect(guess(OTHER_KEY, HERE)).toBe(0);
  clock.now += 1;
  expect(guess(OTHER_KEY, HERE)).toBe(1);
  clock.now += 60_000;
  expect(guess(OTHER_KEY, HERE)).toBe(10);
});

test("a day of guessing from one network is 43,210 looks at most", () => {
  const { clock, guess } = limitWithClock();
  let looks = guess(KEY, HERE);
  for (let second = 0; second < DAY_MS / 1_000; second++) {
    clock.now += 1_000;
    looks += guess(KEY, HERE);
  }
  expect(looks).toBe(10 + 43_200);
});

test("many networks together guess one key no faster than one of them", () => {
  const { clock, limit, guess } = limitWithClock();
  let looks = 0;
  for (let i = 0; i < 500; i++) looks += guess(KEY, `203.0.113.${i}`);
  expect(looks).toBe(10);
  expect(limit.tooMany(KEY, "198.51.100.1")).toEqual({ of: "key", waitMs: 2_000 });
  // Their own tries are theirs still.
  expect(guess(OTHER_KEY, "203.0.113.77", 1)).toBe(1);
  clock.now += 2_000;
  expect(guess(KEY, "198.51.100.1")).toBe(1);
});

test("a key id that no key has is slowed like one that is", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, "192.0.2.1");
  for (const id of [KEY, OTHER_KEY]) {
    for (let i = 0; i < 10; i++) guess(id, `${id}-${i}`, 1);
    expect(limit.tooMany(id, HERE)).toEqual({ of: "key", waitMs: 2_000 });
  }
});

test("right keys use up nothing", () => {
  const { limit } = limitWithClock();
  for (let i = 0; i < 1_000; i++) {
    expect(limit.tooMany(KEY, HERE)).toBeUndefined();
    limit.succeeded(KEY, HERE);
  }
});

test("strangers who know a key's id cannot keep its owner out", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  for (let i = 0; i < 100; i++) guess(KEY, `198.51.100.${i}`);
  expect(limit.tooMany(KEY, "198.51.100.200")).toBeDefined();
  expect(limit.tooMany(KEY, HERE)).toBeUndefined();
});

test("a neighbour behind the same address, with wrong keys of its own, cannot keep an owner out", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  expect(guess(OTHER_KEY, HERE)).toBe(10);
  expect(limit.tooMany(OTHER_KEY, HERE)).toBeDefined();
  expect(limit.tooMany(KEY, HERE)).toBeUndefined();
});

test("where the right secret came from, wrong ones are slowed too, however often the right one comes", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  expect(guess(KEY, HERE)).toBe(10);
  limit.succeeded(KEY, HERE);
  expect(limit.tooMany(KEY, HERE)).toEqual({ of: "network", waitMs: 2_000 });
});

test("a network is a key's own for a day after the right secret came from there", () => {
  const { clock, limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  clock.now += DAY_MS - 1;
  for (let i = 0; i < 10; i++) guess(KEY, `198.51.100.${i}`, 1);
  expect(limit.tooMany(KEY, HERE)).toBeUndefined();
  clock.now += 1;
  expect(limit.tooMany(KEY, HERE)).toMatchObject({ of: "key" });
});

test("a count is pushed out by 10,000 failures of others and by no fewer", () => {
  const { limit, guess } = limitWithClock();
  guess(KEY, HERE);
  for (let i = 0; i < 9_999; i++) limit.failed(OTHER_KEY, `network-${i}`);
  expect(limit.tooMany(OTHER_KEY, HERE)).toMatchObject({ of: "network" });
  limit.failed(OTHER_KEY, "one more");
  expect(limit.tooMany("00000000000000cc", HERE)).toBeUndefined();
});

test("who has one key and many networks pushes out no network of another key", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  for (let i = 0; i < 20_000; i++) limit.succeeded(OTHER_KEY, `network-${i}`);
  for (let i = 0; i < 10; i++) guess(KEY, `198.51.100.${i}`, 1);
  expect(limit.tooMany(KEY, HERE)).toBeUndefined();
});

test("of a key's own networks the latest 2,048 are remembered", () => {
  const { limit, guess } = limitWithClock();
  limit.succeeded(KEY, HERE);
  for (let i = 0; i < 2_047; i++) limit.succeeded(KEY, `network-${i}`);
  for (let i = 0; i < 10; i++) guess(KEY, `198.51.100.${i}`, 1);
  expect(limit.tooMany(KEY, HERE)).toBeUndefined();
  limit.succeeded(KEY, "one more");
  expect(limit.tooMany(KEY, HERE)).toMatchObject({ of: "key" });
});

import { expect, test } from "vitest";
import { Backoff } from "../../../client/connection/backoff.ts";

function waits(backoff: Backoff, count: number): number[] {
  return Array.from({ length: count }, () => backoff.next());
}

test("waits grow by half from 250 ms to 15 s", () => {
  const [first, second, third, ...others] = waits(new Backoff(() => 1), 13);
  expect([first, second, third]).toEqual([250, 375, 563]);
  expect(others.slice(-3)).toEqual([14_416, 15_000, 15_000]);
});

test("each wait is random between nothing and all of it", () => {
  const randoms = [0, 0.5, 0.25];
  expect(waits(new Backoff(() => randoms.shift()!), 3)).toEqual([0, 188, 141]);
});

test("after a success that lasted waits begin anew", () => {
  const backoff = new Backoff(() => 1);
  waits(backoff, 5);
  backoff.reset();
  expect(waits(backoff, 2)).toEqual([250, 375]);
});

test("after a success that did not last waits go back to a second, and are not shortened below", () => {
  const backoff = new Backoff(() => 1);
  waits(backoff, 6);
  backoff.ease();
  expect(waits(backoff, 2)).toEqual([1_000, 1_500]);
  const fresh = new Backoff(() => 1);
  fresh.ease();
  expect(waits(fresh, 2)).toEqual([250, 375]);
});

test("a wait ends early, without an error, when it is called off", async () => {
  const stop = new AbortController();
  const waiting = new Backoff().wait(1e6, stop.signal);
  stop.abort();
  await waiting;
  expect(stop.signal.aborted).toBe(true);
});

import { expect, test } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import { RefusedHellos } from "../../../server/access/refused-hellos.ts";

const KEY = "00000000000000aa";
const HERE = "203.0.113.7";

function limitAt() {
  const clock = { now: 1_000_000 };
  const refusedHellos = new RefusedHellos(() => clock.now);
  const isLookedAt = (keyId = KEY, network = HERE): boolean => {
    try {
      refusedHellos.check(keyId, network);
      return true;
    } catch (error) {
      if (!(error instanceof TunnelError) || error.code !== "overloaded") throw error;
      return false;
    }
  };
  return { clock, refusedHellos, isLookedAt };
}

test("after sixty refusals a key is looked at ten times a second", () => {
  const { clock, refusedHellos, isLookedAt } = limitAt();
  for (let i = 0; i < 60; i++) {
    expect(isLookedAt()).toBe(true);
    refusedHellos.refused(KEY, HERE);
  }
  let looks = 0;
  for (let ms = 0; ms < 1_000; ms++, clock.now++) {
    if (!isLookedAt()) continue;
    looks++;
    refusedHellos.refused(KEY, HERE);
  }
  expect(looks).toBeGreaterThanOrEqual(9);
  expect(looks).toBeLessThanOrEqual(10);
});

test("neither another key nor the same one from elsewhere is slowed", () => {
  const { refusedHellos, isLookedAt } = limitAt();
  for (let i = 0; i < 60; i++) refusedHellos.refused(KEY, HERE);
  expect(isLookedAt()).toBe(false);
  expect(isLookedAt(KEY, "198.51.100.1")).toBe(true);
  expect(isLookedAt("00000000000000bb")).toBe(true);
});

test("a key that is refused from everywhere is slowed everywhere", () => {
  const { refusedHellos, isLookedAt } = limitAt();
  for (let i = 0; i < 300; i++) refusedHellos.refused(KEY, `192.0.2.${i}`);
  expect(isLookedAt()).toBe(false);
  expect(isLookedAt("00000000000000bb")).toBe(true);
});

test("a client that is refused all the time, and backs off, is looked at each time", () => {
  const { clock, refusedHellos, isLookedAt } = limitAt();
  for (const waitMs of [0, 100, 200, 500, 1_000, 2_000, 4_000, ...Array<number>(100).fill(7_500)]) {
    clock.now += waitMs;
    expect(isLookedAt()).toBe(true);
    refusedHellos.refused(KEY, HERE);
  }
});

import { expect, test } from "vitest";
import { Places } from "../../../server/access/places.ts";

test("one network gets so many places, and another still gets one", () => {
  const places = new Places(2);
  const leave = places.take("here");
  places.take("here");
  expect(places.take("here")).toBeUndefined();
  expect(places.take("there")).toBeDefined();
  leave!();
  expect(places.take("here")).toBeDefined();
});

test("all networks together get so many places", () => {
  const places = new Places(2, 3);
  const leaves = ["a", "b", "c"].map((network) => places.take(network)!);
  expect(places.take("d")).toBeUndefined();
  leaves[0]!();
  expect(places.take("d")).toBeDefined();
});

test("a place that is left twice is free once", () => {
  const places = new Places(1, 2);
  const leave = places.take("here")!;
  leave();
  leave();
  expect(places.take("here")).toBeDefined();
  expect(places.take("here")).toBeUndefined();
  expect(places.take("there")).toBeDefined();
  expect(places.take("elsewhere")).toBeUndefined();
});

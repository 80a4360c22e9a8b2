import { expect, test } from "vitest";
import { ratioOf, spreadOf } from "../../bench/statistics.ts";

test("the median of an odd number is the middle one, of an even number the mean of the two", () => {
  expect(spreadOf([9, 1, 5])).toEqual({ median: 5, min: 1, max: 9 });
  expect(spreadOf([4, 1, 2, 3])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(spreadOf([10, 9, 100])?.median).toBe(10);
});

test("nothing has no median", () => {
  expect(spreadOf([])).toBeUndefined();
});

test("a ratio is the median of the rounds' ratios, not the ratio of the medians", () => {
  const ours = new Map([
    [0, 100],
    [1, 10],
    [2, 90],
  ]);
  const theirs = new Map([
    [0, 50],
    [1, 40],
    [2, 30],
  ]);
  expect(ratioOf(ours, theirs)).toEqual({ median: 2, min: 0.25, max: 3 });
});

test("a round that failed for one of the two counts for neither", () => {
  const ours = new Map([[0, 100]]);
  const theirs = new Map([
    [0, 50],
    [1, 1],
  ]);
  expect(ratioOf(ours, theirs)).toEqual({ median: 2, min: 2, max: 2 });
  expect(ratioOf(ours, new Map([[1, 1]]))).toBeUndefined();
});

import { expect, test } from "vitest";
import { trendOf } from "../../soak/trend.ts";

const line = Array.from({ length: 30 }, (_, i) => ({ minutes: i / 2, value: 100 + 3 * (i / 2) }));

test("a line has its own slope, and grows by it over its time", () => {
  const trend = trendOf(line)!;
  expect(trend.slope).toBeCloseTo(3, 10);
  expect(trend.growth).toBeCloseTo(3 * 14.5, 10);
  expect(trend.level).toBeCloseTo(100 + 3 * 7.25, 10);
});

test("outliers, a fifth of the samples, do not move the slope much", () => {
  const spoiled = line.map((sample, i) => (i % 5 === 0 ? { ...sample, value: 10_000 } : sample));
  expect(trendOf(spoiled)!.slope).toBeCloseTo(3, 0);
});

test("certainty is Mann–Kendall's, ties counted out", () => {
  // Scores and variances by hand: twelve that rise have 66 and 638/3; in six tied pairs they have 60 and 620/3.
  const rising = Array.from({ length: 12 }, (_, i) => ({ minutes: i, value: i }));
  expect(trendOf(rising)!.certainty).toBeCloseTo(65 / Math.sqrt(638 / 3), 10);
  const tied = rising.map(({ minutes, value }) => ({ minutes, value: value >> 1 }));
  expect(trendOf(tied)!.certainty).toBeCloseTo(59 / Math.sqrt(620 / 3), 10);
  const falling = rising.map(({ minutes, value }) => ({ minutes, value: -value }));
  expect(trendOf(falling)!.certainty).toBeCloseTo(-65 / Math.sqrt(638 / 3), 10);
});

test("samples by the thousand keep their slope when neighbours are taken together", () => {
  const many = Array.from({ length: 5_000 }, (_, i) => ({ minutes: i, value: 7 + i / 100 }));
  expect(trendOf(many)!.slope).toBeCloseTo(0.01, 6);
});

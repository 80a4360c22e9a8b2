import { expect, test } from "vitest";
import { compare, ratiosOf } from "../../bench/ratios.ts";
import { get } from "../../bench/workloads/get.ts";
import { ready } from "../../bench/workloads/ready.ts";
import { always, row } from "./rows.ts";

test("what is stored is the ratio of rates, and of nothing that differs from run to run", () => {
  const rows = [
    row("get-64", "culvert", { figures: { rate: always(9) } }),
    row("get-64", "ssh", { ratios: { rate: always(1.23456), p99: always(0.4) } }),
    row("ready", "ssh", { ratios: { ms: always(1.5) } }),
  ];
  expect(ratiosOf(rows, [get(64), ready])).toEqual({ "get-64 ÷ ssh": 1.235 });
});

test.for([
  ["a gain", 2.0, true],
  ["a loss of a fifth", 0.8, true],
  ["a loss of just 25 %", 0.75, true],
  ["a larger one", 0.74, false],
] as const)("%s: %d of 1 is ok: %s", ([, measured, ok]) => {
  const [comparison] = compare({ "get-64 ÷ ssh": 1 }, { "get-64 ÷ ssh": measured });
  expect(comparison).toMatchObject({ ok, stored: 1, measured });
});

test("what only one of the two runs has is not compared", () => {
  expect(compare({ "get-64 ÷ ssh": 1 }, { "get-64 ÷ nginx": 0.1 })).toEqual([]);
});

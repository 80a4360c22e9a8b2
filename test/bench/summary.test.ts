import { expect, test } from "vitest";
import { summarise } from "../../bench/summary.ts";
import type { Sample } from "../../bench/workload.ts";
import { get } from "../../bench/workloads/get.ts";
import { always } from "./rows.ts";

const workload = get(64);

function sample(contender: string, round: number, rate: number): Sample {
  return { workload: workload.name, contender, round, figures: { rate } };
}

test("a row holds the spread of each figure, and ours to it round by round", () => {
  const samples = [
    sample("culvert", 0, 10),
    sample("ssh", 0, 5),
    sample("ssh", 1, 20),
    sample("culvert", 1, 20),
    { ...sample("culvert", 0, 999), workload: "get-1" },
  ];
  const [ours, theirs] = summarise(workload, ["culvert", "ssh"], samples, "culvert");
  expect(ours).toMatchObject({ figures: { rate: { median: 15, min: 10, max: 20 } }, ratios: {} });
  expect(theirs!.ratios).toEqual({ rate: { median: 1.5, min: 1, max: 2 } });
});

test("a sample that failed is told, and is in no figure", () => {
  const failed: Sample = { ...sample("ssh", 1, 0), figures: {}, failed: "socket errors" };
  const [, theirs] = summarise(
    workload,
    ["culvert", "ssh"],
    [sample("culvert", 0, 10), sample("culvert", 1, 10), sample("ssh", 0, 5), failed],
    "culvert",
  );
  expect(theirs).toMatchObject({
    failures: ["socket errors"],
    figures: { rate: always(5) },
    ratios: { rate: always(2) },
  });
});

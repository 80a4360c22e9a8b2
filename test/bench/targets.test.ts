import { expect, test } from "vitest";
import { judge, TARGETS, verdictLines } from "../../bench/targets.ts";
import { WORKLOADS } from "../../bench/workloads/all-workloads.ts";
import { CONTENDERS } from "../../bench/contenders/all-contenders.ts";
import { always, row } from "./rows.ts";

function verdictOn(title: string, rows: Parameters<typeof judge>[0]): string {
  const verdicts = judge(rows, "culvert").filter((verdict) => verdict.title === title);
  return verdictLines(verdicts).join("");
}

const RATE = "small GET, 64 ÷ ssh -R";
const P99 = "p99 at 64 ÷ ssh -R's";

test.for([
  [RATE, "rate", 1.29, /MISSED$/],
  [RATE, "rate", 1.3, / ok$/],
  [RATE, "rate", 1.8, / ok, stretch too$/],
  [P99, "p99", 0.51, /MISSED$/],
  [P99, "p99", 0.5, / ok$/],
  [P99, "p99", 0.2, / ok, stretch too$/],
] as const)("%s: %s of %d is told as %s", ([title, figure, ratio, word]) => {
  expect(verdictOn(title, [row("get-64", "ssh", { ratios: { [figure]: always(ratio) } })])).toMatch(word);
});

test("a figure of culvert's own counts as it is, and nobody else's does", () => {
  const title = "10,000 polls, KB each, server";
  const of = (contender: string): string =>
    verdictOn(title, [row("polls-10000", contender, { figures: { serverEach: always(13) } })]);
  expect(of("culvert")).toMatch(/13\.00 .*MISSED$/);
  expect(of("culvert-plain")).toBe("");
});

test("what was not measured has no verdict", () => {
  expect(judge([], "culvert").map(({ ok }) => ok)).toEqual(TARGETS.map(() => undefined));
  expect(verdictLines(judge([], "culvert"))).toEqual([]);
});

test.for(TARGETS)(
  "$title: its workload measures that, and its peer takes part",
  ({ workload: name, figure, peer }) => {
    const workload = WORKLOADS.find((one) => one.name === name)!;
    expect(workload.figures.map((one) => one.name)).toContain(figure);
    const taking = workload.contenders ?? CONTENDERS.map((one) => one.name);
    expect(taking).toContain(peer ?? "culvert");
  },
);

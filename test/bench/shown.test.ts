import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { chartOf } from "../../bench/chart.ts";
import { thisMachine } from "../../bench/machine.ts";
import type { Results } from "../../bench/results.ts";
import { saveResults } from "../../bench/save.ts";
import { tableOf } from "../../bench/table.ts";
import { get } from "../../bench/workloads/get.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { always, row } from "./rows.ts";

const FAILURE = `did not start: frps ended with exit code 1: \u001B[31m<port>\u001B[0m in use\nsecond line; ${"x".repeat(400)} <the end>`;
const ROWS = [
  row("get-64", "culvert", { figures: { rate: always(9_000) } }),
  row("get-64", "frp-http", { failures: [FAILURE, FAILURE] }),
];
const TITLES = new Map([["frp-http", "frp, HTTP"]]);

function results(more: Partial<Results> = {}): Results {
  return {
    machine: thisMachine(),
    options: { seconds: 1, rounds: 2, quick: false },
    skipped: [],
    rows: ROWS,
    targets: [],
    samples: [],
    ...more,
  };
}

test("a table says once, on one line and not at length, why a contender has no figures", () => {
  const lines = tableOf(get(64), ROWS, TITLES);
  expect(lines.find((line) => line.startsWith("  frp, HTTP"))).toMatch(/^ {2}frp, HTTP +– +– +–$/);
  const failures = lines.filter((line) => line.includes("FAILED"));
  expect(failures).toHaveLength(1);
  expect(failures[0]).toMatch(
    /^ {2}FAILED: frp, HTTP: did not start: .* in use second line; x+…x+ <the end>$/,
  );
  expect(failures[0]!.length).toBeLessThan(350);
});

test("a chart says it in place of the bar, as text that XML can hold", () => {
  const chart = chartOf(results(), TITLES);
  expect(chart).toMatch(
    />frp, HTTP<\/text><text class="quiet" [^>]*>did not start: frps ended with.*&lt;the end></,
  );
  expect(chart).not.toMatch(/NaN|Infinity/);
  expect(chart).not.toMatch(/[\0-\u0008\u000B-\u001F]/);
});

test("a chart where nobody has a figure is one of reasons alone", () => {
  const chart = chartOf(results({ rows: [ROWS[1]!] }), TITLES);
  expect(chart).toContain(">did not start: ");
  expect(chart).not.toMatch(/NaN|Infinity/);
});

test("a chart of a run that was interrupted says so", () => {
  expect(chartOf(results({ incomplete: "interrupted" }), TITLES)).toContain(">Not complete: interrupted.<");
  expect(chartOf(results(), TITLES)).not.toContain("Not complete");
});

test("the page of figures says it too", async () => {
  const root = await temporaryDirectory();
  for (const folder of ["docs", "bench"]) mkdirSync(join(root, folder));
  const page = join(root, "docs/performance.md");
  writeFileSync(page, "<!-- figures: written by npm run bench -- --save -->\n<!-- end of figures -->\n");
  await saveResults(results(), { root, workloads: [get(64)], titles: TITLES });
  expect(readFileSync(page, "utf8")).toMatch(
    /^\| frp, HTTP \| – \|.*$[^]*^- FAILED: frp, HTTP: did not start: /m,
  );
});

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findProgram } from "../../bench/needed-programs.ts";
import type { Results } from "../../bench/results.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const MAIN = join(import.meta.dirname, "../../dist/bench/main.js");

const missing = ["wrk", "nginx", "curl"].filter((program) => findProgram(program) === undefined);
if (missing.length > 0 && process.env["CI"]) throw new Error(`no ${missing.join(", ")} here`);

function bench(...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: stdout + stderr }),
    );
  });
}

test.skipIf(missing.length > 0)(
  "a run prints a table with the ratio, and leaves all figures and a chart",
  { timeout: 120_000 },
  async () => {
    const out = await temporaryDirectory();
    const { code, output } = await bench(
      "--quick",
      "--rounds=1",
      "--seconds=1",
      "--only=get-16",
      "--contenders=culvert,direct",
      `--out=${out}`,
    );
    expect(output).toMatch(/Small GET, 16 connections[^]*\n {2}culvert +[\d.,]+ [^]*\n {2}direct +[\d.,]+ /);
    expect(code).toBe(0);
    const results = JSON.parse(readFileSync(join(out, "latest.json"), "utf8")) as Results;
    const [ours, direct] = results.rows;
    expect(Object.keys(ours!.figures).toSorted()).toEqual(
      ["clientCpu", "clientPeak", "p50", "p99", "rate", "serverCpu", "serverPeak"].toSorted(),
    );
    expect(Object.values(ours!.figures).every(({ median }) => median > 0)).toBe(true);
    const quotient = ours!.figures["rate"]!.median / direct!.figures["rate"]!.median;
    expect(direct!.ratios["rate"]!.median).toBeCloseTo(quotient, 6);
    expect(results.machine.cores).toBeGreaterThan(0);
    expect(readFileSync(join(out, "latest.svg"), "utf8")).toMatch(/^<svg [^]*<\/svg>\n$/);
  },
);

test.skipIf(missing.length > 0)(
  "a run that is interrupted leaves what it has measured",
  { timeout: 120_000 },
  async () => {
    const out = await temporaryDirectory();
    const args = ["--quick", "--rounds=1", "--seconds=1", "--only=get", "--contenders=direct"];
    const child = spawn(process.execPath, [MAIN, ...args, `--out=${out}`]);
    let output = "";
    let stopped = false;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (!stopped && output.includes("Small GET, 1 connection")) stopped = child.kill("SIGINT");
      });
    expect(await once(child, "close")).toEqual([1, null]);
    expect(output).toContain(`interrupted; what was measured until then: ${join(out, "latest.json")}`);
    const results = JSON.parse(readFileSync(join(out, "latest.json"), "utf8")) as Results;
    expect(results.incomplete).toBe("interrupted");
    expect(results.rows.length).toBeLessThan(4);
    expect(results.rows[0]).toMatchObject({ workload: "get-1", contender: "direct" });
    expect(results.rows[0]!.figures["rate"]!.median).toBeGreaterThan(0);
  },
);

test.for([
  [["--only", "nonsense"], /--only: there is no "nonsense"; there are get-1, get-16/],
  [["--contenders", "culvert,nobody"], /--contenders: there is no "nobody"; there are culvert, /],
  [["--rounds", "0"], /expected a whole number over 0/],
  [["--fast"], /--fast/],
] as const)("%s is refused with what to do instead", async ([args, message]) => {
  const { code, output } = await bench(...args);
  expect(output).toMatch(message);
  expect(code).toBe(2);
});

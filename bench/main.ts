#!/usr/bin/env node
import { createRequire } from "node:module";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InvalidArgumentError } from "commander";
import { CommandError, USAGE_EXIT_CODE } from "../runtime/command-error.ts";
import { newProgram, runProgram } from "../runtime/command-line.ts";
import { CONTENDERS, QUICK_CONTENDERS } from "./contenders/all-contenders.ts";
import { machineLine, thisMachine } from "./machine.ts";
import { inWords } from "./measure.ts";
import { installNeeded } from "./needed-programs.ts";
import { compare, ratiosOf } from "./ratios.ts";
import { runBench } from "./run-bench.ts";
import { readStoredRatios, saveResults, writeResults } from "./save.ts";
import { verdictLines } from "./targets.ts";
import { QUICK_WORKLOADS, WORKLOADS } from "./workloads/all-workloads.ts";

interface Options {
  only?: string[];
  contenders?: string[];
  rounds: number;
  seconds?: number;
  quick: boolean;
  out?: string;
  save: boolean;
  check: boolean;
}

const ROOT = dirname(createRequire(import.meta.url).resolve("#package.json"));
const RESULTS = join(ROOT, "bench/results");

const program = newProgram(
  "npm run bench --",
  "Culvert beside other ways through NAT, on this machine: speed, processor time, memory. docs/performance.md says more.",
)
  .option("--only <NAMES>", `workloads, by name or by how it begins: ${namesOf(WORKLOADS)}`, list)
  .option("--contenders <NAMES>", namesOf(CONTENDERS), list)
  .option("--rounds <N>", "how often each is measured", positive, 3)
  .option("--seconds <N>", "how long a sample of steady load takes (10; --quick: 2)", positive)
  .option("--quick", "under two minutes: the main contenders, three workloads", false)
  .option("--out <DIR>", "where latest.json and latest.svg go (bench/results)")
  .option("--save", "make it the run that docs/performance.md shows and --check compares with", false)
  .option("--check", "fail if a ratio is more than 25 % worse than the stored one", false)
  .action(run);
await runProgram(program);

async function run(options: Options): Promise<void> {
  const { quick, rounds, seconds = quick ? 2 : 10, out = RESULTS, save, check } = options;
  const workloads = chosen("--only", WORKLOADS, options.only, quick ? QUICK_WORKLOADS : undefined);
  const contenders = chosen(
    "--contenders",
    CONTENDERS,
    options.contenders,
    quick ? QUICK_CONTENDERS : undefined,
  );
  if (process.platform !== "linux") throw new CommandError(1, "the bench reads /proc: it runs on Linux");
  const stored = check ? await readStoredRatios(ROOT) : undefined;
  const stop = new AbortController();
  // Repeated signals change nothing: npm passes on a Ctrl-C that the terminal has sent already.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
  await installNeeded(
    contenders.flatMap(({ programs = [] }) => programs),
    print,
  );
  // Better now than after an hour.
  await mkdir(out, { recursive: true });
  print(machineLine(thisMachine()));

  const titles = new Map(CONTENDERS.map(({ name, title }) => [name, title]));
  const results = await runBench({
    workloads,
    contenders,
    rounds,
    seconds,
    quick,
    print,
    keep: (soFar) =>
      writeResults(soFar, titles, out).catch((error: unknown) => print(`not saved: ${inWords(error)}`)),
    signal: stop.signal,
  });
  const where = join(out, "latest.json");
  if (results.incomplete !== undefined && results.rows.length === 0) throw new Error(results.incomplete);
  await writeResults(results, titles, out);
  if (results.incomplete !== undefined)
    throw new Error(`${results.incomplete}; what was measured until then: ${where}`);
  const verdicts = verdictLines(results.targets);
  if (verdicts.length > 0) print(`\nWhat must hold of culvert\n${verdicts.join("\n")}`);
  if (save) await saveResults(results, { root: ROOT, workloads: WORKLOADS, titles });
  print(`\nall figures: ${where}`);
  if (stored) {
    const comparisons = compare(stored, ratiosOf(results.rows, WORKLOADS));
    const worse = comparisons.filter(({ ok }) => !ok);
    for (const { name, stored: before, measured, loss } of worse)
      print(`WORSE: ${name}: ${measured}, was ${before}: ${Math.round(loss * 100)} % lost`);
    print(`check: ${comparisons.length} ratios compared, ${worse.length} worse by more than 25 %`);
    if (worse.length > 0) process.exitCode = 1;
  }
  if (results.samples.some(({ failed }) => failed !== undefined)) process.exitCode = 1;
}

function print(line: string): void {
  console.log(line);
}

/** Those whose name is one of these, or begins with one and a hyphen. */
function chosen<T extends { name: string }>(
  option: string,
  all: readonly T[],
  wanted: readonly string[] | undefined,
  usual: readonly string[] | undefined,
): T[] {
  const names = wanted ?? usual;
  if (!names) return [...all];
  const matches = ({ name }: T, text: string): boolean =>
    name === text || (option === "--only" && name.startsWith(`${text}-`));
  for (const text of names) {
    if (!all.some((item) => matches(item, text)))
      throw new CommandError(USAGE_EXIT_CODE, `${option}: there is no "${text}"; there are ${namesOf(all)}`);
  }
  return all.filter((item) => names.some((text) => matches(item, text)));
}

function namesOf(all: readonly { name: string }[]): string {
  return all.map(({ name }) => name).join(", ");
}

function list(text: string): string[] {
  return text.split(",").filter((name) => name !== "");
}

function positive(text: string): number {
  const number = Number(text);
  if (!(Number.isInteger(number) && number > 0))
    throw new InvalidArgumentError("expected a whole number over 0.");
  return number;
}

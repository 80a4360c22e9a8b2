import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chartOf } from "./chart.ts";
import { machineLine } from "./machine.ts";
import { ratiosOf, type Ratios } from "./ratios.ts";
import type { Results } from "./results.ts";
import type { Row } from "./summary.ts";
import { markdownOf, shown } from "./table.ts";
import type { Workload } from "./workload.ts";

const PAGE = "docs/performance.md";
const CHART = "docs/performance.svg";
const RATIOS = "bench/ratios.json";
const BEGIN = "<!-- figures: written by npm run bench -- --save -->";
const END = "<!-- end of figures -->";

export async function writeResults(
  results: Results,
  titles: ReadonlyMap<string, string>,
  directory: string,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  await replaceFile(join(directory, "latest.json"), `${JSON.stringify(results, undefined, 1)}\n`);
  await replaceFile(join(directory, "latest.svg"), chartOf(results, titles));
}

/** Whole at every moment, even if this process is killed meanwhile. */
async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

/**
 * Makes this run the one that the documentation shows and that later ones are compared to.
 *
 * @param root of the repository
 */
export async function saveResults(
  results: Results,
  {
    root,
    workloads,
    titles,
  }: { root: string; workloads: readonly Workload[]; titles: ReadonlyMap<string, string> },
): Promise<void> {
  const ratios = { machine: machineLine(results.machine), ratios: ratiosOf(results.rows, workloads) };
  await writeFile(join(root, RATIOS), `${JSON.stringify(ratios, undefined, 2)}\n`);
  await writeFile(join(root, CHART), chartOf(results, titles));
  const page = await readFile(join(root, PAGE), "utf8");
  await writeFile(join(root, PAGE), withFigures(page, figuresOf(results, workloads, titles)));
}

/** @throws if there are none, or none that can be read */
export async function readStoredRatios(root: string): Promise<Ratios> {
  try {
    return (JSON.parse(await readFile(join(root, RATIOS), "utf8")) as { ratios: Ratios }).ratios;
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`--check compares with ${RATIOS}, which --save writes: ${message}`, { cause: error });
  }
}

/** @throws if the page has no place for figures */
export function withFigures(page: string, lines: readonly string[]): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`${PAGE}: expected a line "${BEGIN}" and a line "${END}"`);
  return [page.slice(0, from) + BEGIN, "", ...lines, "", page.slice(to)].join("\n");
}

function figuresOf(
  { machine, options, rows, targets, skipped }: Results,
  workloads: readonly Workload[],
  titles: ReadonlyMap<string, string>,
): string[] {
  const measured = targets.filter(({ measured: value }) => value !== undefined);
  return [
    `${machineLine(machine)}. ${options.rounds} rounds, ${options.seconds} s each.`,
    "",
    "| | measured | must | stretch | |",
    "|---|---|---|---|---|",
    ...measured.map(({ title, measured: value, better, must, stretch, ok }) => {
      const sign = better === "more" ? "≥" : "≤";
      return `| ${title} | ${shown(value)} | ${sign} ${must} | ${sign} ${stretch} | ${ok ? "ok" : "MISSED"} |`;
    }),
    ...workloads.flatMap((workload) => {
      const own = rows.filter((row: Row) => row.workload === workload.name);
      return own.length === 0 ? [] : ["", `### ${workload.title}`, "", ...markdownOf(workload, own, titles)];
    }),
    ...(skipped.length === 0
      ? []
      : ["", ...skipped.map(({ name, reason }) => `- not measured: ${name}: ${reason}`)]),
  ];
}

import type { Spread } from "./statistics.ts";
import type { Row } from "./summary.ts";
import type { Workload } from "./workload.ts";

/** A workload's rows, a line each. @param titles of contenders, by name */
export function tableOf(
  workload: Workload,
  rows: readonly Row[],
  titles: ReadonlyMap<string, string>,
): string[] {
  const cells = cellsOf(workload, rows, titles);
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  const lines = cells.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd(),
  );
  return [workload.title, ...lines.map((line) => `  ${line}`), ...failuresOf(rows, titles)];
}

/** The same in Markdown. */
export function markdownOf(
  workload: Workload,
  rows: readonly Row[],
  titles: ReadonlyMap<string, string>,
): string[] {
  const [head, ...body] = cellsOf(workload, rows, titles).map((line) => `| ${line.join(" | ")} |`);
  const rule = `|${"---|".repeat(cellsOf(workload, [], titles)[0]!.length)}`;
  const failures = failuresOf(rows, titles).map((line) => `- ${line.trim()}`);
  return [head!, rule, ...body, ...(failures.length > 0 ? ["", ...failures] : [])];
}

function cellsOf(workload: Workload, rows: readonly Row[], titles: ReadonlyMap<string, string>): string[][] {
  const [main, ...others] = workload.figures;
  const { cpuPer } = workload;
  const head = [
    "",
    main.title,
    "min–max",
    ...others.map(({ title }) => title),
    ...(cpuPer ? [cpuPer === "GiB" ? "CPU s/GiB" : "CPU s/10k"] : []),
    "peak MiB",
    "culvert ÷ it",
  ];
  return [
    head,
    ...rows.map(({ contender, figures, ratios }) => [
      titles.get(contender) ?? contender,
      shown(figures[main.name]?.median),
      range(figures[main.name]),
      ...others.map(({ name }) => shown(figures[name]?.median)),
      ...(cpuPer ? [pair(figures["serverCpu"], figures["clientCpu"], (value) => value.toFixed(2))] : []),
      pair(figures["serverPeak"], figures["clientPeak"], (value) => value.toFixed(0)),
      withRange(ratios[main.name]),
    ]),
  ];
}

function failuresOf(rows: readonly Row[], titles: ReadonlyMap<string, string>): string[] {
  return rows.flatMap(({ contender, failures }) =>
    [...new Set(failures)].map(
      (failure) => `  FAILED: ${titles.get(contender) ?? contender}: ${inShort(failure, 300)}`,
    ),
  );
}

/**
 * On one line: what programs say is often long, and holds characters that no table or chart can. How it begins and how it ends matters
 * most, since the cause is what a program says last.
 */
export function inShort(text: string, mostCharacters: number): string {
  const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
  if (line.length <= mostCharacters) return line;
  const head = Math.floor(mostCharacters / 2);
  return `${line.slice(0, head)}…${line.slice(head + 1 - mostCharacters)}`;
}

/** Three digits that say something; a dash for nothing. */
export function shown(value: number | undefined): string {
  if (value === undefined) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function range(spread: Spread | undefined): string {
  return spread ? `${shown(spread.min)}–${shown(spread.max)}` : "";
}

function withRange(spread: Spread | undefined): string {
  if (!spread) return "";
  return `${spread.median.toFixed(2)} (${spread.min.toFixed(2)}–${spread.max.toFixed(2)})`;
}

/** Of the server and the client. */
function pair(
  server: Spread | undefined,
  client: Spread | undefined,
  inWords: (value: number) => string,
): string {
  if (!server && !client) return "";
  return [server, client].map((spread) => (spread ? inWords(spread.median) : "–")).join(" + ");
}

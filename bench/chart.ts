import { direct } from "./contenders/direct.ts";
import { machineLine } from "./machine.ts";
import type { Results } from "./results.ts";
import type { Spread } from "./statistics.ts";
import { inShort, shown } from "./table.ts";

interface Bar {
  title: string;
  ours: boolean;
  /** Or why there is none. */
  measured: Spread | string;
}

interface Panel {
  title: string;
  bars: Bar[];
}

const WIDTH = 760;
const ROW = 24;
const LABELS = 130;
const NUMBERS = 70;
const MARGIN = 20;
const FOOT = 16;
/** As many characters of a failure as fit beside a title. */
const FAILURE_LENGTH = 95;

/** Requests and bytes a second by contender, for the README: on a light page and on a dark one. */
export function chartOf(results: Results, titles: ReadonlyMap<string, string>): string {
  const measured = (workload: string): boolean => results.rows.some((row) => row.workload === workload);
  const panels = [
    panelOf(results, titles, {
      workload: "get-64",
      figure: "rate",
      title: "Small GETs a second over 64 connections",
    }),
    panelOf(results, titles, {
      workload: measured("down-1g") ? "down-1g" : "down-256m",
      figure: "speed",
      title: "One download, MB/s",
    }),
  ].filter(({ bars }) => bars.length > 0);
  let y = MARGIN;
  const drawn = panels.map((panel) => {
    const text = drawPanel(panel, y);
    y += heightOf(panel);
    return text;
  });
  const { rounds } = results.options;
  const foot = [
    ...(results.incomplete === undefined ? [] : [`Not complete: ${results.incomplete}.`]),
    `Medians of ${rounds}; the line goes from the least to the most.`,
    machineLine(results.machine),
  ];
  const height = y + foot.length * FOOT + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="13">`,
    `<style>text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 11px } .bar { fill: #8c959f } .ours { fill: #0f8a7e } .range { stroke: #1f2328 }`,
    `@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .quiet { fill: #9198a1 } .bar { fill: #656c76 } .ours { fill: #2bb3a3 } .range { stroke: #f0f6fc } }</style>`,
    ...drawn,
    ...foot.map(
      (line, i) => `<text class="quiet" x="${MARGIN}" y="${y + (i + 1) * FOOT}">${escaped(line)}</text>`,
    ),
    "</svg>\n",
  ].join("\n");
}

function panelOf(
  { rows }: Results,
  titles: ReadonlyMap<string, string>,
  { workload, figure, title }: { workload: string; figure: string; title: string },
): Panel {
  const own = rows.filter((row) => row.workload === workload);
  // In the title, since its bar would make all others short.
  const without = own.find(({ contender }) => contender === direct.name)?.figures[figure];
  const bars = own
    .filter(({ contender }) => contender !== direct.name)
    .map(({ contender, figures, failures }) => ({
      title: titles.get(contender) ?? contender,
      ours: contender.startsWith("culvert"),
      measured: figures[figure] ?? inShort(failures[0] ?? "not measured", FAILURE_LENGTH),
    }));
  return {
    title: without ? `${title} (without anything between: ${shown(without.median)})` : title,
    bars: bars.toSorted((a, b) => medianOf(b) - medianOf(a)),
  };
}

/** Those without a figure come last. */
function medianOf({ measured }: Bar): number {
  return typeof measured === "string" ? -1 : measured.median;
}

function heightOf({ bars }: Panel): number {
  return 26 + bars.length * ROW + 18;
}

function drawPanel({ title, bars }: Panel, top: number): string {
  const most = Math.max(...bars.map(({ measured }) => (typeof measured === "string" ? 0 : measured.max)));
  const x = (value: number): number =>
    MARGIN + LABELS + (value / most) * (WIDTH - 2 * MARGIN - LABELS - NUMBERS);
  const lines = bars.map(({ title: label, ours, measured: spread }, i) => {
    const y = top + 26 + i * ROW;
    const middle = y + ROW / 2 - 2;
    const name = `<text x="${MARGIN + LABELS - 8}" y="${middle + 4}" text-anchor="end"${ours ? ' font-weight="600"' : ""}>${escaped(label)}</text>`;
    if (typeof spread === "string")
      return `${name}<text class="quiet" x="${MARGIN + LABELS}" y="${middle + 4}">${escaped(spread)}</text>`;
    return [
      name,
      `<rect class="${ours ? "ours" : "bar"}" x="${MARGIN + LABELS}" y="${y}" width="${(x(spread.median) - x(0)).toFixed(1)}" height="${ROW - 5}" rx="2"/>`,
      `<path class="range" d="M${x(spread.min).toFixed(1)} ${middle}H${x(spread.max).toFixed(1)}" stroke-opacity="0.6"/>`,
      `<text x="${(x(spread.max) + 8).toFixed(1)}" y="${middle + 4}">${shown(spread.median)}</text>`,
    ].join("");
  });
  return [`<text x="${MARGIN}" y="${top + 10}" font-weight="600">${escaped(title)}</text>`, ...lines].join(
    "\n",
  );
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

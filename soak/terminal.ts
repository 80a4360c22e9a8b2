import type { Figure, Judgement } from "./verdict.ts";
import type { Sample } from "./trend.ts";

const BARS = "▁▂▃▄▅▆▇█";
const WIDTH = 40;
const MIB = 1024 * 1024;

/** A figure in a line: its course, where it ended, its slope, the verdict. */
export function plotLine(figure: Figure, samples: readonly Sample[], { trend, verdict }: Judgement): string {
  const level = trend === undefined ? "" : inUnits(figure, trend.level);
  const slope = trend === undefined ? "" : `${signed(figure, trend.slope)}/min`;
  return [
    figure.padEnd(11),
    sparkline(samples.map(({ value }) => value)).padEnd(WIDTH),
    level.padStart(10),
    slope.padStart(16),
    ` ${verdict}`,
  ].join(" ");
}

export function inUnits(figure: Figure, value: number): string {
  const bytes = figure === "memory" || figure === "resident";
  return bytes ? `${(value / MIB).toFixed(1)} MiB` : String(Math.round(value));
}

/** From nothing to the highest, so that what is flat looks flat. */
function sparkline(values: number[]): string {
  const highest = Math.max(...values, Number.MIN_VALUE);
  const columns = Math.min(WIDTH, values.length);
  return Array.from({ length: columns }, (_, column) => {
    const from = Math.floor((column * values.length) / columns);
    const to = Math.floor(((column + 1) * values.length) / columns);
    const mean = values.slice(from, to).reduce((sum, value) => sum + value, 0) / (to - from);
    return BARS[Math.min(BARS.length - 1, Math.floor((mean / highest) * BARS.length))];
  }).join("");
}

function signed(figure: Figure, slope: number): string {
  const bytes = figure === "memory" || figure === "resident";
  const text = bytes ? `${(slope / 1024).toFixed(1)} KiB` : slope.toFixed(2);
  return slope < 0 ? text : `+${text}`;
}

import type { Sample } from "./trend.ts";
import { inUnits } from "./terminal.ts";
import type { Figure, Judgement } from "./verdict.ts";

export interface Plot {
  process: string;
  figure: Figure;
  /** All that were taken. */
  samples: Sample[];
  judgement: Judgement;
}

const WIDTH = 360;
const HEIGHT = 110;
const MARGIN = { left: 70, top: 40, right: 20, bottom: 20 };

/** A column for each process, a row for each figure; the warm-up is grey, what grows is red. */
export function drawPlots(plots: Plot[], minutes: number, warmUpMinutes: number): string {
  const processes = [...new Set(plots.map(({ process }) => process))];
  const figures = [...new Set(plots.map(({ figure }) => figure))];
  const width = processes.length * WIDTH;
  const height = figures.length * HEIGHT;
  const drawn = plots.map((plot) => {
    const x = processes.indexOf(plot.process) * WIDTH;
    const y = figures.indexOf(plot.figure) * HEIGHT;
    return `<g transform="translate(${x} ${y})">${drawPlot(plot, minutes, warmUpMinutes)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

function drawPlot(
  { process, figure, samples, judgement }: Plot,
  minutes: number,
  warmUpMinutes: number,
): string {
  const inner = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const highest = Math.max(1, ...samples.map(({ value }) => value)) * 1.05;
  const x = (at: number): number => MARGIN.left + (at / minutes) * inner.width;
  const y = (value: number): number => MARGIN.top + (1 - value / highest) * inner.height;
  const points = samples.map((sample) => `${x(sample.minutes).toFixed(1)},${y(sample.value).toFixed(1)}`);
  const colour = judgement.verdict === "grows" ? "#c0392b" : "#0f8a7e";
  const base = MARGIN.top + inner.height;
  return [
    `<text x="${MARGIN.left}" y="${MARGIN.top - 8}">${process}: ${figure} (${judgement.verdict})</text>`,
    `<rect x="${MARGIN.left}" y="${MARGIN.top}" width="${x(warmUpMinutes) - MARGIN.left}" height="${inner.height}" fill="#eee"/>`,
    `<path d="M${MARGIN.left} ${MARGIN.top}V${base}H${MARGIN.left + inner.width}" fill="none" stroke="#888"/>`,
    `<text x="${MARGIN.left - 5}" y="${MARGIN.top + 8}" text-anchor="end">${inUnits(figure, highest)}</text>`,
    `<text x="${MARGIN.left - 5}" y="${base}" text-anchor="end">0</text>`,
    `<text x="${MARGIN.left + inner.width}" y="${base + 13}" text-anchor="end">${minutes} min</text>`,
    `<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
  ].join("");
}

import type { Row } from "./summary.ts";
import type { Workload } from "./workload.ts";

/** Ours to each peer's, by `workload ÷ contender`: what `--check` compares. */
export type Ratios = Record<string, number>;

/** How much less than the stored ratio one may be: runs on busy machines differ by that much by themselves. */
const ALLOWED_LOSS = 0.25;

/** Of each workload's first figure where that is a rate or a speed; memory and times differ too much from run to run. */
export function ratiosOf(rows: readonly Row[], workloads: readonly Workload[]): Ratios {
  return Object.fromEntries(
    rows.flatMap(({ workload, contender, ratios }) => {
      const figure = workloads.find(({ name }) => name === workload)?.figures[0];
      const ratio = figure?.better === "more" ? ratios[figure.name] : undefined;
      return ratio ? [[`${workload} ÷ ${contender}`, Number(ratio.median.toFixed(3))]] : [];
    }),
  );
}

export interface Comparison {
  name: string;
  stored: number;
  measured: number;
  /** Of the stored ratio; negative is a gain. */
  loss: number;
  ok: boolean;
}

/** Only what both have. */
export function compare(stored: Ratios, measured: Ratios): Comparison[] {
  return Object.entries(stored).flatMap(([name, before]) => {
    const now = measured[name];
    if (now === undefined) return [];
    const loss = 1 - now / before;
    return [{ name, stored: before, measured: now, loss, ok: loss <= ALLOWED_LOSS }];
  });
}

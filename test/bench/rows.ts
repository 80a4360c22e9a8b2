import type { Row } from "../../bench/summary.ts";

/** What nothing but its median matters of. */
export function always(value: number): { median: number; min: number; max: number } {
  return { median: value, min: value, max: value };
}

export function row(workload: string, contender: string, more: Partial<Row> = {}): Row {
  return { workload, contender, figures: {}, ratios: {}, failures: [], ...more };
}

import type { Machine } from "./machine.ts";
import type { Row } from "./summary.ts";
import type { Verdict } from "./targets.ts";
import type { Sample } from "./workload.ts";

/** What a run leaves behind, in latest.json. */
export interface Results {
  /** Why this is not all of it. */
  incomplete?: string;
  machine: Machine;
  options: { seconds: number; rounds: number; quick: boolean };
  /** Contenders and workloads that could not take part, and why. */
  skipped: Skipped[];
  rows: Row[];
  targets: Verdict[];
  samples: Sample[];
}

export interface Skipped {
  name: string;
  reason: string;
}

import type { Backend } from "./backend/backend.ts";
import type { Contender } from "./contender.ts";
import type { Road } from "./road/road.ts";
import type { ToolRun } from "./tool.ts";

export interface Figure {
  /** Its key in samples. */
  name: string;
  /** Its column, with the unit. */
  title: string;
  better: "more" | "less";
}

/** Which road it is measured on: none, 100 ms there and back, or the same with a loss of 1 %. */
export type RoadName = "here" | "far" | "lossy";

export interface Workload {
  name: string;
  title: string;
  road: RoadName;
  /** What it measures; ratios are of the first. */
  figures: readonly [Figure, ...Figure[]];
  /** What processor time is counted by. */
  cpuPer?: "10k requests" | "GiB";
  /** Names of those that take part; all, if left out. */
  contenders?: readonly string[];
  /** Names of those that cannot. */
  except?: readonly string[];
  /** Each sample gets a contender that has done nothing yet. */
  fresh?: boolean;
  /** Rounds that are enough, where one says it all or takes very long. */
  rounds?: number;
  /** One sample. @throws if any visitor was answered wrong */
  run(bench: Measuring): Promise<Outcome>;
}

/** What a workload has at hand. */
export interface Measuring {
  contender: Contender;
  backend: Backend;
  road: Road;
  /** How long a sample of steady load takes. */
  seconds: number;
  /** An empty directory of its own. */
  directory: string;
  /** Runs a program where the visitors are. */
  visit(command: readonly string[]): Promise<ToolRun>;
  signal: AbortSignal;
}

export interface Outcome {
  figures: Record<string, number>;
  /** For the processor time by request, or by GiB. */
  requests?: number;
  bytes?: number;
}

/** One run of a workload through a contender. */
export interface Sample {
  workload: string;
  contender: string;
  round: number;
  /** The workload's own, and those of `measure.ts`. */
  figures: Record<string, number>;
  /** Why there are none. */
  failed?: string;
}

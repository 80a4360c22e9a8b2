import type { Sample, Trend } from "./trend.ts";
import { trendOf } from "./trend.ts";

const KIB = 1024;

/** What must stay flat in a process that lives through the whole run. */
export const FIGURES = [
  "memory",
  "resident",
  "descriptors",
  "active",
  "sockets",
  "streams",
  "timers",
  "threads",
] as const;
export type Figure = (typeof FIGURES)[number];

/**
 * How much a figure may grow and count as flat: a trend fails only if it exceeds all three. Growth is that of the time
 * measured, so a longer run finds a slower leak.
 */
export interface Allowance {
  /** Of its level. */
  share: number;
  growth: number;
  perMinute: number;
}

/** Idle connections are kept for 75 s, and as many as a burst has needed: a count may drift by a few. */
const COUNT: Allowance = { share: 0.1, growth: 5, perMinute: 0 };

export const ALLOWANCES: Record<Figure, Allowance> = {
  // After a collection, so that only what is held counts. Compiled code and inline caches still grow for some minutes.
  memory: { share: 0.1, growth: 512 * KIB, perMinute: 32 * KIB },
  // The allocator gives pages back late, and never all of them.
  resident: { share: 0.15, growth: 8 * KIB * KIB, perMinute: 256 * KIB },
  descriptors: COUNT,
  active: COUNT,
  sockets: COUNT,
  streams: COUNT,
  timers: COUNT,
  // They are a pool of a fixed size; one more a minute is as wrong as any leak.
  threads: { share: 0.1, growth: 2, perMinute: 0 },
};

/** Standard deviations. A run has 24 series: noise alone may not fail one run in fifty, as it would with 3. */
const CERTAIN = 4;

export interface Judgement {
  trend: Trend | undefined;
  verdict: "flat" | "grows" | "too few samples";
}

/** @param samples those taken after the warm-up, while no fault was about */
export function judge(figure: Figure, samples: readonly Sample[]): Judgement {
  const trend = trendOf(samples);
  if (!trend) return { trend, verdict: "too few samples" };
  const allowance = ALLOWANCES[figure];
  const grows =
    trend.certainty > CERTAIN &&
    trend.growth > allowance.growth &&
    trend.growth > allowance.share * trend.level &&
    trend.slope > allowance.perMinute;
  return { trend, verdict: grows ? "grows" : "flat" };
}

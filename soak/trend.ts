/** One figure of a process, on the clock of the run. */
export interface Sample {
  minutes: number;
  value: number;
}

export interface Trend {
  /** A minute. The median of the slopes between all pairs of samples (Theil–Sen): bursts and outliers do not move it. */
  slope: number;
  /** The slope over the time that the samples span. */
  growth: number;
  /** The middle sample's value. */
  level: number;
  /**
   * How sure it is that there is a trend at all, in standard deviations (Mann–Kendall): positive for a rise. Noise
   * without a trend exceeds 4 in one of 30,000 series.
   */
  certainty: number;
}

/** Fewer cannot be told from chance: with ten, each above the last, `certainty` is 3.9. */
const FEWEST_SAMPLES = 11;
/** The pairs of more would fill gigabytes in a day. */
const MOST_SAMPLES = 500;

/** @returns undefined where there are too few samples to tell */
export function trendOf(all: readonly Sample[]): Trend | undefined {
  if (all.length < FEWEST_SAMPLES) return undefined;
  const samples = thinned(all);
  const slopes: number[] = [];
  let score = 0;
  for (const [i, later] of samples.entries()) {
    for (const earlier of samples.slice(0, i)) {
      slopes.push((later.value - earlier.value) / (later.minutes - earlier.minutes));
      score += Math.sign(later.value - earlier.value);
    }
  }
  const slope = median(slopes);
  return {
    slope,
    growth: slope * (samples.at(-1)!.minutes - samples[0]!.minutes),
    level: median(samples.map(({ value }) => value)),
    certainty: standardised(score, samples),
  };
}

/** Kendall's score in standard deviations of what chance gives, ties counted out (Kendall 1975). */
function standardised(score: number, samples: readonly Sample[]): number {
  if (score === 0) return 0;
  const times = new Map<number, number>();
  for (const { value } of samples) times.set(value, (times.get(value) ?? 0) + 1);
  let variance = varianceTerm(samples.length);
  for (const tied of times.values()) variance -= varianceTerm(tied);
  return (score - Math.sign(score)) / Math.sqrt(variance);
}

function varianceTerm(n: number): number {
  return (n * (n - 1) * (2 * n + 5)) / 18;
}

/** Neighbours give way to their median. */
function thinned(samples: readonly Sample[]): readonly Sample[] {
  const size = Math.ceil(samples.length / MOST_SAMPLES);
  if (size === 1) return samples;
  return Array.from({ length: Math.ceil(samples.length / size) }, (_, i) => {
    const neighbours = samples.slice(i * size, (i + 1) * size);
    return {
      minutes: median(neighbours.map(({ minutes }) => minutes)),
      value: median(neighbours.map(({ value }) => value)),
    };
  });
}

function median(values: number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

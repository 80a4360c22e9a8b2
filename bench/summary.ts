import { ratioOf, spreadOf, type Spread } from "./statistics.ts";
import type { Sample, Workload } from "./workload.ts";

/** All rounds of one contender in one workload. */
export interface Row {
  workload: string;
  contender: string;
  /** By figure; those of `measure.ts` too. */
  figures: Record<string, Spread>;
  /** Of ours to this one, by the workload's figures; empty for ours. */
  ratios: Record<string, Spread>;
  failures: string[];
}

/** @param ours the contender whose ratios count */
export function summarise(
  workload: Workload,
  contenders: readonly string[],
  samples: readonly Sample[],
  ours: string,
): Row[] {
  const own = samples.filter((sample) => sample.workload === workload.name);
  return contenders.map((contender) => {
    const theirs = own.filter((sample) => sample.contender === contender);
    const names = new Set(theirs.flatMap(({ figures }) => Object.keys(figures)));
    const row: Row = {
      workload: workload.name,
      contender,
      figures: {},
      ratios: {},
      failures: theirs.flatMap(({ failed }) => failed ?? []),
    };
    for (const name of names) row.figures[name] = spreadOf([...byRound(own, contender, name).values()])!;
    if (contender !== ours) {
      for (const { name } of workload.figures) {
        const ratio = ratioOf(byRound(own, ours, name), byRound(own, contender, name));
        if (ratio) row.ratios[name] = ratio;
      }
    }
    return row;
  });
}

function byRound(samples: readonly Sample[], contender: string, figure: string): Map<number, number> {
  return new Map(
    samples.flatMap((sample) => {
      const value = sample.figures[figure];
      return sample.contender === contender && value !== undefined ? [[sample.round, value] as const] : [];
    }),
  );
}

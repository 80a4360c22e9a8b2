import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Soak } from "./run-soak.ts";
import { drawPlots } from "./svg.ts";
import { inUnits, plotLine } from "./terminal.ts";
import { ALLOWANCES, FIGURES, judge } from "./verdict.ts";

/** Of compiled code, caches and pools: a third of a short run. */
const LONGEST_WARM_UP_MINUTES = 20;

export interface Report {
  lines: string[];
  passed: boolean;
}

/** Judges what was seen, and writes plots.svg and figures.json to the directory. */
export async function report(soak: Soak, minutes: number, directory: string): Promise<Report> {
  const warmUpMinutes = Math.min(minutes / 3, LONGEST_WARM_UP_MINUTES);
  const plots = soak.records.flatMap((record) =>
    FIGURES.map((figure) => {
      const samples = record.samples(figure).filter(({ minutes: at }) => at <= minutes);
      const settled = samples.filter(({ minutes: at }) => at >= warmUpMinutes);
      return { process: record.name, figure, samples, judgement: judge(figure, settled) };
    }),
  );
  const { answered, excused, failed, failures, slowestMs } = soak.ledger;
  const growing = plots.filter(({ judgement }) => judgement.verdict === "grows");
  const unjudged = FIGURES.filter((wanted) =>
    plots.some(({ figure, judgement }) => figure === wanted && judgement.verdict === "too few samples"),
  );
  const problems = [
    ...growing.map(({ process, figure }) => `the ${process} grows: ${figure}`),
    ...(failed > 0 ? [`${failed} visits failed`] : []),
    ...soak.troubles,
  ];

  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "plots.svg"), drawPlots(plots, minutes, warmUpMinutes));
  const figures = {
    minutes,
    warmUpMinutes,
    faults: soak.faults,
    visits: { answered, excused, failed, failures, slowestMs },
    logLines: soak.logLines,
    problems,
    allowances: ALLOWANCES,
    judgements: plots.map(({ process, figure, judgement }) => ({ process, figure, ...judgement })),
    processes: soak.records.map(({ name, peak, queued, looks }) => ({ name, peak, queued, looks })),
  };
  await writeFile(join(directory, "figures.json"), `${JSON.stringify(figures, undefined, 1)}\n`);

  const lines = soak.records.flatMap(({ name, peak, queued }) => [
    "",
    `${name} (at most ${inUnits("resident", peak)} resident; waited for a processor ${Math.round(queued * 100)} % of the time)`,
    ...plots
      .filter(({ process }) => process === name)
      .map(({ figure, samples, judgement }) => `  ${plotLine(figure, samples, judgement)}`),
  ]);
  lines.push(
    "",
    `${answered} visits answered, the slowest small page away from faults in ${Math.round(slowestMs)} ms; ${excused} met one of ${soak.faults} faults; ${failed} failed`,
    `${soak.logLines} lines of log; plots and figures: ${directory}`,
    ...failures.map((failure) => `failed: ${failure}`),
    ...problems.map((problem) => `problem: ${problem}`),
  );
  if (unjudged.length > 0) lines.push(`too short a run to judge: ${unjudged.join(", ")}`);
  return { lines, passed: problems.length === 0 };
}

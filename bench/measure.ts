import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { howOneEnded, type Contender } from "./contender.ts";
import { cpuSeconds, peakBytes, resetPeaks } from "./processes.ts";
import { GIB, MIB } from "./units.ts";
import type { Outcome, Sample, Workload } from "./workload.ts";
import type { World } from "./world.ts";

export interface MeasureOptions {
  world: World;
  contender: Contender;
  round: number;
  seconds: number;
  signal: AbortSignal;
}

/** One sample, with what it took the programs at both ends. What goes wrong is the sample's failure. */
export async function measure(workload: Workload, options: MeasureOptions): Promise<Sample> {
  const { world, contender, round, seconds, signal } = options;
  const sample = { workload: workload.name, contender: contender.kind.name, round };
  const directory = await mkdtemp(join(world.directory, "sample-"));
  const ends = endsOf(contender);
  const cpuBefore = ends.map(({ pid }) => cpuSeconds([pid]));
  for (const { pid } of ends) resetPeaks([pid]);
  try {
    const outcome = await workload.run({
      contender,
      backend: world.backend,
      road: world.road,
      seconds,
      directory,
      visit: (command) => world.visit(command),
      signal,
    });
    const per = unitsOf(workload, outcome);
    const figures: Record<string, number> = {};
    // Anew: a workload may have started another client.
    endsOf(contender).forEach(({ end, pid }, i) => {
      if (per !== undefined) figures[`${end}Cpu`] = (cpuSeconds([pid]) - cpuBefore[i]!) / per;
      figures[`${end}Peak`] = peakBytes([pid]) / MIB;
    });
    return { ...sample, figures: { ...figures, ...outcome.figures } };
  } catch (error) {
    signal.throwIfAborted();
    const failed = [inWords(error), howOneEnded(contender) ?? []].flat().join("; ");
    return { ...sample, figures: {}, failed };
  } finally {
    contender.server?.emptyLog();
    contender.client?.emptyLog();
    await rm(directory, { recursive: true, force: true });
  }
}

/** With what is behind it. */
export function inWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  return cause instanceof Error ? `${message} (${cause.message})` : message;
}

function endsOf({ server, client }: Contender): { end: "server" | "client"; pid: number }[] {
  return [
    ...(server ? [{ end: "server" as const, pid: server.pid }] : []),
    ...(client ? [{ end: "client" as const, pid: client.pid }] : []),
  ];
}

/** How many times what processor time is counted by. */
function unitsOf({ cpuPer }: Workload, { requests, bytes }: Outcome): number | undefined {
  if (cpuPer === "GiB" && bytes) return bytes / GIB;
  if (cpuPer === "10k requests" && requests) return requests / 10_000;
  return undefined;
}

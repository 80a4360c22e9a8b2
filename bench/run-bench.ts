import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Contender, ContenderKind } from "./contender.ts";
import { OURS } from "./contenders/all-contenders.ts";
import { thisMachine } from "./machine.ts";
import { inWords, measure } from "./measure.ts";
import { Owned } from "./owned.ts";
import type { Results, Skipped } from "./results.ts";
import { roadObstacle, startRoad } from "./road/all-roads.ts";
import { summarise, type Row } from "./summary.ts";
import { inShort, tableOf } from "./table.ts";
import { judge } from "./targets.ts";
import type { RoadName, Sample, Workload } from "./workload.ts";
import { World } from "./world.ts";

export interface BenchOptions {
  workloads: readonly Workload[];
  contenders: readonly ContenderKind[];
  rounds: number;
  seconds: number;
  quick: boolean;
  print: (line: string) => void;
  /** Keeps what has been measured so far, after each workload. */
  keep: (results: Results) => Promise<void>;
  signal: AbortSignal;
}

/**
 * Runs every workload through every contender, round by round; prints each workload's table when it is through. What fails on the way is
 * in the results; if it is told to end, so is what it has measured until then.
 */
export async function runBench(options: BenchOptions): Promise<Results> {
  const directory = await mkdtemp(join(tmpdir(), "culvert-bench-"));
  const bench = new Bench(options, directory);
  try {
    await bench.run();
    return bench.results();
  } catch (error) {
    if (!options.signal.aborted) throw error;
    return bench.results("interrupted");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** One whose turn comes in each round. */
interface Entrant {
  kind: ContenderKind;
  sample(workload: Workload, round: number): Promise<Sample>;
}

class Bench {
  readonly #samples: Sample[] = [];
  readonly #rows: Row[] = [];
  readonly #skipped: Skipped[] = [];
  readonly #options: BenchOptions;
  readonly #directory: string;

  constructor(options: BenchOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
  }

  /** So far. @param incomplete why that is not all */
  results(incomplete?: string): Results {
    const { seconds, rounds, quick } = this.#options;
    return {
      ...(incomplete === undefined ? {} : { incomplete }),
      machine: thisMachine(),
      options: { seconds, rounds, quick },
      skipped: this.#skipped,
      rows: this.#rows,
      targets: judge(this.#rows, OURS),
      samples: this.#samples,
    };
  }

  async run(): Promise<void> {
    const { workloads, contenders, print, signal } = this.#options;
    const able: ContenderKind[] = [];
    for (const kind of contenders) {
      const reason = await kind.obstacle?.(this.#options).catch(inWords);
      if (reason === undefined) able.push(kind);
      else this.#skip(kind.name, reason);
    }
    for (const road of ["here", "far", "lossy"] as const) {
      const onIt = workloads.filter((workload) => workload.road === road);
      if (onIt.length === 0) continue;
      const reason = await roadObstacle(road).catch(inWords);
      if (reason !== undefined) {
        for (const { name } of onIt) this.#skip(name, reason);
        continue;
      }
      try {
        await this.#travel(road, onIt, able);
      } catch (error) {
        signal.throwIfAborted();
        const failure = inWords(error);
        print(`FAILED: ${road}: ${failure}`);
        const entrants = able.map((kind) => absent(kind, failure));
        const left = onIt.filter(({ name }) => !this.#rows.some(({ workload }) => workload === name));
        for (const workload of left) await this.#work(workload, entrants);
      }
    }
  }

  /** All workloads of one road. */
  async #travel(
    road: RoadName,
    workloads: readonly Workload[],
    kinds: readonly ContenderKind[],
  ): Promise<void> {
    const { quick, signal } = this.#options;
    await using owned = new Owned();
    const directory = join(this.#directory, road);
    await mkdir(directory);
    const world = owned.own(
      await World.start({
        directory,
        road: await startRoad(road, directory),
        warmSeconds: quick ? 1 : 3,
        signal,
      }),
    );
    const entrants: Entrant[] = [];
    for (const kind of kinds) {
      if (workloads.some((workload) => takesPart(workload, kind)))
        entrants.push(await this.#enter(kind, world));
    }
    for (const workload of workloads) await this.#work(workload, entrants);
  }

  async #enter(kind: ContenderKind, world: World): Promise<Entrant> {
    try {
      const contender = await world.add(kind);
      return {
        kind,
        sample: (workload, round) => this.#sample(workload, { world, contender, round }),
      };
    } catch (error) {
      this.#options.signal.throwIfAborted();
      const failure = didNotStart(error);
      this.#options.print(inShort(`FAILED: ${kind.title} ${failure}`, 300));
      return absent(kind, failure);
    }
  }

  async #work(workload: Workload, all: readonly Entrant[]): Promise<void> {
    const entrants = all.filter(({ kind }) => takesPart(workload, kind));
    if (entrants.length === 0) return;
    const samples: Sample[] = [];
    const rounds = Math.min(this.#options.rounds, workload.rounds ?? Infinity);
    try {
      for (let round = 0; round < rounds; round++) {
        for (const entrant of rotated(entrants, round)) samples.push(await entrant.sample(workload, round));
      }
    } finally {
      // What was measured before an interruption counts too.
      await this.#tell(workload, samples);
    }
  }

  async #tell(workload: Workload, samples: readonly Sample[]): Promise<void> {
    const { print, keep, contenders } = this.#options;
    const measured = contenders.filter(({ name }) => samples.some(({ contender }) => contender === name));
    if (measured.length === 0) return;
    const rows = summarise(
      workload,
      measured.map(({ name }) => name),
      samples,
      OURS,
    );
    this.#samples.push(...samples);
    this.#rows.push(...rows);
    const titles = new Map(contenders.map(({ name, title }) => [name, title]));
    print("");
    for (const line of tableOf(workload, rows, titles)) print(line);
    await keep(this.results("the run has not ended"));
  }

  async #sample(
    workload: Workload,
    { world, contender, round }: { world: World; contender: Contender; round: number },
  ): Promise<Sample> {
    const { seconds, signal } = this.#options;
    const measuring = { world, round, seconds, signal };
    if (!workload.fresh) return await measure(workload, { ...measuring, contender });
    let fresh;
    try {
      fresh = await world.startFresh(contender.kind);
    } catch (error) {
      signal.throwIfAborted();
      return failedSample(workload, { kind: contender.kind, round, failed: didNotStart(error) });
    }
    await using own = new Owned();
    return await measure(workload, { ...measuring, contender: own.own(fresh) });
  }

  #skip(name: string, reason: string): void {
    this.#skipped.push({ name, reason });
    this.#options.print(`SKIPPED: ${name}: ${reason}`);
  }
}

function takesPart({ contenders, except = [] }: Workload, { name }: ContenderKind): boolean {
  return (contenders === undefined || contenders.includes(name)) && !except.includes(name);
}

/** Stands in all tables with the reason why it was not measured. */
function absent(kind: ContenderKind, failed: string): Entrant {
  return { kind, sample: async (workload, round) => failedSample(workload, { kind, round, failed }) };
}

function failedSample(
  workload: Workload,
  { kind, round, failed }: { kind: ContenderKind; round: number; failed: string },
): Sample {
  return { workload: workload.name, contender: kind.name, round, figures: {}, failed };
}

function didNotStart(error: unknown): string {
  return `did not start: ${inWords(error)}`;
}

/** Another one is first in each round. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const from = by % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ContenderKind } from "./contender.ts";
import { OURS } from "./contenders/all-contenders.ts";
import { thisMachine } from "./machine.ts";
import { measure } from "./measure.ts";
import { Owned } from "./owned.ts";
import type { Results, Skipped } from "./results.ts";
import { roadObstacle, startRoad } from "./road/all-roads.ts";
import { summarise, type Row } from "./summary.ts";
import { tableOf } from "./table.ts";
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
  signal: AbortSignal;
}

/** Runs every workload through every contender, round by round; prints each workload's table when it is through. */
export async function runBench(options: BenchOptions): Promise<Results> {
  const directory = await mkdtemp(join(tmpdir(), "culvert-bench-"));
  try {
    const bench = new Bench(options, directory);
    await bench.run();
    const { rows, samples, skipped } = bench;
    const { seconds, rounds, quick } = options;
    return {
      machine: thisMachine(),
      options: { seconds, rounds, quick },
      skipped,
      rows,
      targets: judge(rows, OURS),
      samples,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

class Bench {
  readonly samples: Sample[] = [];
  readonly rows: Row[] = [];
  readonly skipped: Skipped[] = [];
  readonly #options: BenchOptions;
  readonly #directory: string;

  constructor(options: BenchOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
  }

  async run(): Promise<void> {
    const { workloads, contenders } = this.#options;
    const able: ContenderKind[] = [];
    for (const kind of contenders) {
      const reason = await kind.obstacle?.(this.#options);
      if (reason === undefined) able.push(kind);
      else this.#skip(kind.name, reason);
    }
    for (const road of ["here", "far", "lossy"] as const) {
      const onIt = workloads.filter((workload) => workload.road === road);
      if (onIt.length === 0) continue;
      const reason = await roadObstacle(road);
      if (reason === undefined) await this.#travel(road, onIt, able);
      else for (const { name } of onIt) this.#skip(name, reason);
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
    for (const kind of kinds) {
      if (!workloads.some((workload) => takesPart(workload, kind))) continue;
      try {
        await world.add(kind);
      } catch (error) {
        signal.throwIfAborted();
        this.#skip(kind.name, (error as Error).message);
      }
    }
    for (const workload of workloads) await this.#work(workload, world);
  }

  async #work(workload: Workload, world: World): Promise<void> {
    const { print, contenders } = this.#options;
    const kinds = world.contenders.map(({ kind }) => kind).filter((kind) => takesPart(workload, kind));
    if (kinds.length === 0) return;
    const rounds = Math.min(this.#options.rounds, workload.rounds ?? Infinity);
    for (let round = 0; round < rounds; round++) {
      for (const kind of rotated(kinds, round))
        this.samples.push(await this.#sample(workload, world, kind, round));
    }
    const rows = summarise(
      workload,
      kinds.map(({ name }) => name),
      this.samples,
      OURS,
    );
    this.rows.push(...rows);
    const titles = new Map(contenders.map(({ name, title }) => [name, title]));
    print("");
    for (const line of tableOf(workload, rows, titles)) print(line);
  }

  async #sample(workload: Workload, world: World, kind: ContenderKind, round: number): Promise<Sample> {
    const { seconds, signal } = this.#options;
    await using own = new Owned();
    const contender = workload.fresh
      ? own.own(await world.startFresh(kind))
      : world.contenders.find((running) => running.kind === kind)!;
    return await measure(workload, { world, contender, round, seconds, signal });
  }

  #skip(name: string, reason: string): void {
    this.skipped.push({ name, reason });
    this.#options.print(`SKIPPED: ${name}: ${reason}`);
  }
}

function takesPart({ contenders, except = [] }: Workload, { name }: ContenderKind): boolean {
  return (contenders === undefined || contenders.includes(name)) && !except.includes(name);
}

/** Another one is first in each round. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const from = by % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}

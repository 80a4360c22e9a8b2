import { setMaxListeners } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FAULTS } from "./faults.ts";
import { Ledger } from "./ledger.ts";
import { load } from "./load.ts";
import { ProcessRecord } from "./process-record.ts";
import type { Program } from "./program.ts";
import { startWorld, type World } from "./world.ts";

export interface SoakOptions {
  minutes: number;
  /** Visits a second. */
  rate: number;
  print: (line: string) => void;
  /** Ends it early. */
  signal: AbortSignal;
}

/** What a soak has seen so far. */
export class Soak {
  readonly ledger = new Ledger();
  records: ProcessRecord[] = [];
  faults = 0;
  logLines = 0;
  /** What went wrong beside the visits, in words. */
  readonly troubles: string[] = [];
  readonly #startedAt = performance.now();

  get minutes(): number {
    return (performance.now() - this.#startedAt) / MINUTE_MS;
  }
}

const MINUTE_MS = 60_000;
/** Each look inside costs a collection of garbage, some 50 ms. */
const LOOK_EVERY_MS = 5_000;
/** In the last calm of each minute, so that what it takes the processes is over before the next fault. */
const COUNT_AT_MS = 50_000;
/** For streams to end behind visitors that have left. */
const QUIET_WITHIN_MS = 10_000;
const STOP_WITHIN_MS = 10_000;

/** Load, a fault each minute and looks at the processes, until the time or the signal is up; then all are gone. */
export async function runSoak(options: SoakOptions): Promise<Soak> {
  const directory = await mkdtemp(join(tmpdir(), "culvert-soak-"));
  try {
    await using world = await startWorld({ directory, rate: options.rate });
    const soak = new Soak();
    await endure(world, soak, options);
    return soak;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function endure(
  world: World,
  soak: Soak,
  { minutes, print, signal: early }: SoakOptions,
): Promise<void> {
  const lasting = [world.server, world.client, world.returner];
  soak.records = lasting.map((program) => new ProcessRecord(program));
  const over = new AbortController();
  const { signal } = over;
  // The visitors that stay, the waits between visits, the fault and the looks all listen.
  setMaxListeners(30, signal);
  const end = (): void => over.abort();
  early.addEventListener("abort", end);
  if (early.aborted) end();
  const timer = setTimeout(end, minutes * MINUTE_MS);

  const visitors = Promise.all(Object.values(world.crowds).map((crowd) => load(crowd, soak.ledger, signal)));
  try {
    await Promise.race([
      Promise.all([strike(world, soak, { minutes, print }, signal), watch(world, soak, signal)]),
      ...lasting.map(endsUnasked),
    ]);
    if (!early.aborted) {
      await visitors;
      await leaveNothingBehind(soak);
      await stop([world.guest, ...lasting, world.secondServer], soak);
    }
  } catch (error) {
    if (!early.aborted) soak.troubles.push((error as Error).message);
  } finally {
    clearTimeout(timer);
    end();
    early.removeEventListener("abort", end);
    for (const program of world.programs) {
      soak.logLines += program.logLines;
      soak.troubles.push(...program.complaints.map((line) => `the ${program.name} said: ${line}`));
    }
  }
}

/** A fault at the beginning of each minute but the first. */
async function strike(
  world: World,
  soak: Soak,
  { minutes, print }: Pick<SoakOptions, "minutes" | "print">,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await pause((Math.floor(soak.minutes) + 1 - soak.minutes) * MINUTE_MS, signal);
    // None that is not seen to be over.
    if (signal.aborted || minutes - soak.minutes < 0.9) return;
    const fault = FAULTS[soak.faults++ % FAULTS.length]!;
    const { answered, excused, failed } = soak.ledger;
    print(
      `minute ${Math.round(soak.minutes)}: ${fault.name} (${answered} visits answered so far, ${excused} met a fault, ${failed} failed)`,
    );
    await fault
      .crowd(world)
      .weather.storm(() => fault.happen(world, signal), signal)
      .catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
  }
}

async function watch(world: World, soak: Soak, signal: AbortSignal): Promise<void> {
  for (let counted = -1; !signal.aborted; await pause(LOOK_EVERY_MS, signal)) {
    const { minutes } = soak;
    const inside = Object.values(world.crowds).every(({ weather }) => weather.calm);
    const held = inside && counted < Math.floor(minutes) && (minutes % 1) * MINUTE_MS >= COUNT_AT_MS;
    if (held) counted = Math.floor(minutes);
    await Promise.all(soak.records.map((record) => record.look(minutes, { inside, held })));
  }
}

async function endsUnasked(program: Program): Promise<never> {
  throw new Error(`the ${program.name} ended with ${await program.ended}`);
}

/** Once all visitors have left, no stream may be left of theirs. */
async function leaveNothingBehind(soak: Soak): Promise<void> {
  const giveUpAt = performance.now() + QUIET_WITHIN_MS;
  for (const record of soak.records) {
    for (;;) {
      const { held } = await record.look(soak.minutes, { inside: false, held: true });
      const streams = held?.streams;
      if (streams === 0) break;
      if (performance.now() > giveUpAt) {
        soak.troubles.push(`the ${record.name} holds ${streams} streams, and all visitors have left`);
        break;
      }
      await pause(500);
    }
  }
}

async function stop(programs: Program[], soak: Soak): Promise<void> {
  for (const program of programs) {
    program.kill("SIGTERM");
    const how = await Promise.race([program.ended, pause(STOP_WITHIN_MS)]);
    if (how !== "exit code 0")
      soak.troubles.push(`SIGTERM: the ${program.name} ended with ${how ?? "nothing"}`);
  }
}

/** Ends early, without an error, when the signal is aborted. */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

import { setTimeout as sleep } from "node:timers/promises";
import { residentBytes } from "./processes.ts";

const LOOK_EVERY_MS = 1_000;
/** So many looks in a row without a change worth speaking of. */
const STEADY_LOOKS = 4;
const STEADY_SHARE = 0.005;
const GIVE_UP_AFTER_LOOKS = 25;

/** What these families hold once that has stopped changing, or after 25 s. */
export async function settledMemory(pids: readonly number[], signal: AbortSignal): Promise<number[]> {
  const look = (): number[] => pids.map((pid) => residentBytes([pid]));
  let before = look();
  for (let looks = 0, steady = 0; looks < GIVE_UP_AFTER_LOOKS && steady < STEADY_LOOKS; looks++) {
    await sleep(LOOK_EVERY_MS, undefined, { signal });
    const now = look();
    const same = now.every((bytes, i) => Math.abs(bytes - before[i]!) <= before[i]! * STEADY_SHARE);
    steady = same ? steady + 1 : 0;
    before = now;
  }
  return before;
}

import { setTimeout as sleep } from "node:timers/promises";
import { findProgram } from "../needed-programs.ts";
import { holdOpen } from "../load/holder.ts";
import { runWrk } from "../load/wrk.ts";
import { settledMemory } from "../settled-memory.ts";
import { runTool } from "../tool.ts";
import type { Measuring, Workload } from "../workload.ts";

const OTHERS = 64;
const ARRIVE_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 100;
const KB = 1_000;

/** Visitors that wait for an answer that does not come: what each costs, and what others lose by them. */
export function polls(count: number, contenders: readonly string[]): Workload {
  return {
    name: `polls-${count}`,
    title: `${count.toLocaleString("en")} idle long polls; others: small GETs at ${OTHERS}, with them ÷ without`,
    road: "here",
    figures: [
      { name: "serverEach", title: "server KB each", better: "less" },
      { name: "clientEach", title: "client KB each", better: "less" },
      { name: "others", title: "others", better: "more" },
    ],
    contenders,
    fresh: true,
    async run(bench) {
      const { contender, signal } = bench;
      const pids = [contender.server!.pid, contender.client!.pid];
      const before = await settledMemory(pids, signal);
      const held = await holdOpen(bench, { path: "/hold", count, readBytes: 0 });
      let after, withThem;
      try {
        await allArrived(bench, count);
        after = await settledMemory(pids, signal);
        // The first is the warm-up.
        await runWrk(bench, OTHERS);
        withThem = await runWrk(bench, OTHERS);
        await allArrived(bench, count);
      } finally {
        await held[Symbol.asyncDispose]();
      }
      await allArrived(bench, 0);
      const without = await runWrk(bench, OTHERS);
      const [serverEach, clientEach] = after.map((bytes, i) => (bytes - before[i]!) / count / KB);
      return {
        figures: { serverEach: serverEach!, clientEach: clientEach!, others: withThem.rate / without.rate },
      };
    },
  };
}

/** So many are at the local service. */
async function allArrived({ backend, road, signal }: Measuring, count: number): Promise<void> {
  const command = [findProgram("curl")!, "-sS", "--noproxy", "*", `http://127.0.0.1:${backend.port}/held`];
  const giveUpAt = performance.now() + ARRIVE_WITHIN_MS;
  for (;;) {
    const { stdout, stderr } = await runTool([...road.atClient, ...command], { signal });
    if (Number(stdout) === count) return;
    if (performance.now() > giveUpAt)
      throw new Error(`${stdout || stderr} polls are at the local service instead of ${count}`);
    await sleep(LOOK_EVERY_MS, undefined, { signal });
  }
}

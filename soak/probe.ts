/**
 * Loaded into each program under soak by `node --import`, so that what only the inside can tell is known without a line
 * of production code. It answers its parent over the channel that `spawn` makes.
 */
import { Socket } from "node:net";
import { queryObjects } from "node:v8";
import { MuxStream } from "../link/link-stream.ts";
import type { HeldFigures, InsideFigures } from "./figures.ts";

const timer = setTimeout(() => {}, 0);
clearTimeout(timer);
const Timeout = timer.constructor;

process.on("message", (question: "look" | "count") => process.send!(question === "look" ? look() : count()));
// The channel alone must not keep the program alive, and its end is the end of the soak.
process.channel!.unref();
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));

function look(): InsideFigures {
  // What remains is held by somebody.
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  const active = process.getActiveResourcesInfo();
  return { memory: heapUsed + external, active: active.length, resources: tally(active) };
}

function count(): HeldFigures {
  return { timers: instances(Timeout), sockets: instances(Socket), streams: instances(MuxStream) };
}

function instances(constructor: unknown): number {
  return queryObjects(constructor as () => unknown, { format: "count" });
}

function tally(kinds: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

import { runWrk } from "../load/wrk.ts";
import type { Figure, Workload } from "../workload.ts";

export const GET_FIGURES: readonly [Figure, ...Figure[]] = [
  { name: "rate", title: "req/s", better: "more" },
  { name: "p50", title: "p50 ms", better: "less" },
  { name: "p99", title: "p99 ms", better: "less" },
];

/** An answer of 150 bytes, over connections that are kept. */
export function get(connections: number): Workload {
  return {
    name: `get-${connections}`,
    title: `Small GET, ${connections} ${connections === 1 ? "connection" : "connections"}`,
    road: "here",
    figures: GET_FIGURES,
    cpuPer: "10k requests",
    async run(bench) {
      const { requests, ...figures } = await runWrk(bench, connections);
      return { figures, requests };
    },
  };
}

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { curlCommand } from "../load/curl.ts";
import { runWrk } from "../load/wrk.ts";
import { Owned } from "../owned.ts";
import { writtenBytes } from "../processes.ts";
import { Program } from "../program.ts";
import { MB } from "../units.ts";
import type { RoadName, Workload } from "../workload.ts";
import { GET_FIGURES } from "./get.ts";

type Distant = Exclude<RoadName, "here">;

const TITLES: Record<Distant, string> = { far: "100 ms", lossy: "100 ms, 1 % loss" };
/** Those that can be told where to connect. */
const CONTENDERS = [
  "culvert",
  "culvert-plain",
  "culvert-tcp",
  "ssh",
  "frp-http",
  "frp-tls",
  "rathole-noise",
  "gost",
  "direct",
];
/** Windows grow before the speed counts. */
const GROW_MS = 3_000;

/** So many at a time, over the same seconds for all. */
export function distantDown(road: Distant, count: number): Workload {
  return {
    name: `${road}-down-${count}`,
    title: `${TITLES[road]}, ${count === 1 ? "one download" : `${count} downloads`}`,
    road,
    figures: [{ name: "speed", title: "MB/s", better: "more" }],
    contenders: CONTENDERS,
    async run(bench) {
      const { road: place, directory, seconds, signal } = bench;
      await using readers = new Owned();
      const programs = Array.from({ length: count }, (_, i) =>
        readers.own(
          new Program({
            name: "curl",
            // One file after the other, without end.
            command: [...place.atServer, ...curlCommand(bench, "/4g?[1-1000]"), "-f", "-o", "/dev/null"],
            logFile: join(directory, `curl-${i}.log`),
          }),
        ),
      );
      const ended = Promise.race(programs.map(({ ended: end }) => end)).then((how) => {
        throw new Error(`a download ${how}`);
      });
      const wait = (ms: number): Promise<void> => Promise.race([sleep(ms, undefined, { signal }), ended]);
      const written = (): number => programs.reduce((sum, { pid }) => sum + writtenBytes(pid), 0);
      await wait(GROW_MS);
      const [from, startedAt] = [written(), performance.now()];
      await wait(seconds * 1_000);
      const speed = (written() - from) / MB / ((performance.now() - startedAt) / 1_000);
      // They are ended now, and that is no failure.
      ended.catch(() => {});
      return { figures: { speed } };
    },
  };
}

export function distantGet(road: Distant, connections: number): Workload {
  return {
    name: `${road}-get-${connections}`,
    title: `${TITLES[road]}, small GET, ${connections} connections`,
    road,
    figures: GET_FIGURES,
    contenders: CONTENDERS,
    async run(bench) {
      const { requests: _requests, ...figures } = await runWrk(bench, connections);
      return { figures };
    },
  };
}

import { FILES } from "../backend/backend.ts";
import { download } from "../load/curl.ts";
import { residentBytes } from "../processes.ts";
import { spreadOf } from "../statistics.ts";
import { MIB } from "../units.ts";
import type { Workload } from "../workload.ts";

const COUNT = 10;
/** A collection of garbage may be due or just over: the last few say where memory ends up. */
const LAST = 3;

/** The same tunnel, one GiB after the other; resident memory after each stands in the samples. */
export const volume: Workload = {
  name: "volume",
  title: `${COUNT} GiB through one tunnel; MiB resident after the last ${LAST}, less after the first`,
  road: "here",
  figures: [
    { name: "speed", title: "MB/s", better: "more" },
    { name: "serverGrowth", title: "server grows MiB", better: "less" },
    { name: "clientGrowth", title: "client grows MiB", better: "less" },
  ],
  cpuPer: "GiB",
  contenders: ["culvert", "culvert-plain"],
  fresh: true,
  rounds: 1,
  async run(bench) {
    const { server, client } = bench.contender;
    const figures: Record<string, number> = {};
    const [serverMib, clientMib, speeds]: [number[], number[], number[]] = [[], [], []];
    for (let i = 1; i <= COUNT; i++) {
      speeds.push(await download(bench, "/1g", FILES["1g"]));
      serverMib.push((figures[`serverAfter${i}`] = residentBytes([server!.pid]) / MIB));
      clientMib.push((figures[`clientAfter${i}`] = residentBytes([client!.pid]) / MIB));
    }
    figures["speed"] = spreadOf(speeds)!.median;
    figures["serverGrowth"] = growth(serverMib);
    figures["clientGrowth"] = growth(clientMib);
    return { figures, bytes: COUNT * FILES["1g"] };
  },
};

function growth(mib: readonly number[]): number {
  return spreadOf(mib.slice(-LAST))!.median - mib[0]!;
}

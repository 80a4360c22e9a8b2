import { FILES } from "../backend/backend.ts";
import { download } from "../load/curl.ts";
import { holdOpen } from "../load/holder.ts";
import { runWrk } from "../load/wrk.ts";
import type { Measuring, Workload } from "../workload.ts";

const READERS = 16;
const READ_BYTES = 64 * 1024;
const OTHERS = 64;

/** Readers that ask for much and stop reading; what others lose by them, in percent. */
export const stalled: Workload = {
  name: "stalled",
  title: `${READERS} stalled readers; others: small GETs at ${OTHERS}, and 256 MiB down`,
  road: "here",
  figures: [
    { name: "rate", title: "req/s", better: "more" },
    { name: "getLoss", title: "lost %", better: "less" },
    { name: "speed", title: "MB/s", better: "more" },
    { name: "downLoss", title: "lost %", better: "less" },
  ],
  // The one has ten connections for all visitors, and these stay; the other has by default one buffer for all, and these fill it.
  except: ["localtunnel", "gost"],
  async run(bench) {
    const before = await others(bench);
    const held = await holdOpen(bench, { path: "/1g", count: READERS, readBytes: READ_BYTES });
    let withThem;
    try {
      withThem = await others(bench);
    } finally {
      await held[Symbol.asyncDispose]();
    }
    // Before and after: what the machine does meanwhile is not theirs.
    const after = await others(bench);
    const loss = (figure: "rate" | "speed"): number =>
      100 * (1 - withThem[figure] / ((before[figure] + after[figure]) / 2));
    return { figures: { getLoss: loss("rate"), downLoss: loss("speed"), ...withThem } };
  },
};

async function others(bench: Measuring): Promise<{ rate: number; speed: number }> {
  const { rate } = await runWrk(bench, OTHERS);
  return { rate, speed: await download(bench, "/256m", FILES["256m"]) };
}

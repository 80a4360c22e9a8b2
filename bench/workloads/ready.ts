import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { howOneEnded, type Entrance } from "../contender.ts";
import { spreadOf } from "../statistics.ts";
import type { Workload } from "../workload.ts";

const TIMES = 5;
const READY_WITHIN_MS = 20_000;
const LOOK_EVERY_MS = 5;
/** For the server to notice that the last client has gone. */
const CLIENT_GONE_MS = 500;

/** From the start of the client's process to the first answer through it; the server is there. */
export const ready: Workload = {
  name: "ready",
  title: `A client's start to its first answer, median of ${TIMES}`,
  road: "here",
  figures: [{ name: "ms", title: "ms", better: "less" }],
  contenders: [
    "culvert",
    "culvert-plain",
    "ssh",
    "frp-http",
    "frp-tls",
    "frp",
    "rathole-noise",
    "rathole",
    "chisel",
    "gost",
    "bore",
  ],
  fresh: true,
  async run({ contender, signal }) {
    const took: number[] = [];
    while (took.length < TIMES) {
      await contender.stopClient!();
      await sleep(contender.kind.clientGoneMs ?? CLIENT_GONE_MS, undefined, { signal });
      const startedAt = performance.now();
      contender.startClient!();
      while (!(await answers(contender.entrance, signal))) {
        const end = howOneEnded(contender);
        if (end !== undefined) throw new Error(end);
        if (performance.now() - startedAt > READY_WITHIN_MS) throw new Error("the new client never answered");
        await sleep(LOOK_EVERY_MS, undefined, { signal });
      }
      took.push(performance.now() - startedAt);
    }
    return { figures: { ms: spreadOf(took)!.median } };
  },
};

function answers({ host, port, hostname }: Entrance, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host, port, path: "/small", headers: { Host: hostname }, agent: false, signal });
    request.setTimeout(2_000, () => request.destroy());
    request.on("response", (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
    request.on("close", () => resolve(false));
  });
}

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startCulvertServer } from "../contenders/culvert.ts";
import { runWrk } from "../load/wrk.ts";
import { Owned } from "../owned.ts";
import { peakBytes } from "../processes.ts";
import { Program } from "../program.ts";
import { settledMemory } from "../settled-memory.ts";
import { MIB } from "../units.ts";
import type { Workload } from "../workload.ts";

const MANY_CLIENTS = fileURLToPath(new URL("../load/many-clients.js", import.meta.url));
const COUNT = 1_000;
const KB = 1_000;

/** On a server of their own. */
export const clients: Workload = {
  name: "clients",
  title: `${COUNT.toLocaleString("en")} clients of one server, small GETs at 64 across them`,
  road: "here",
  figures: [
    { name: "rate", title: "req/s", better: "more" },
    { name: "p99", title: "p99 ms", better: "less" },
    { name: "readySeconds", title: "s until all serve", better: "less" },
    { name: "serverEach", title: "server KB each", better: "less" },
  ],
  contenders: ["culvert"],
  async run(bench) {
    const { backend, road, contender, signal } = bench;
    await using owned = new Owned();
    const directory = join(bench.directory, "own");
    await mkdir(directory);
    const server = await startCulvertServer({ tls: "auto", road, directory });
    const { program } = server;
    owned.own(program);
    const before = await settledMemory([program.pid], signal);
    const key = await server.createKey(`127.0.0.1:${server.grpcPort}`, []);
    const startedAt = performance.now();
    const driver = owned.own(
      new Program({
        name: "the process of all clients",
        command: [process.execPath, MANY_CLIENTS, String(backend.port), String(COUNT)],
        logFile: join(directory, "clients.log"),
        env: { TUNNEL_KEY: key },
      }),
    );
    await driver.said(/^all serving$/m);
    const readySeconds = (performance.now() - startedAt) / 1_000;
    const after = await settledMemory([program.pid], signal);
    const script = join(directory, "hosts.lua");
    await writeFile(
      script,
      `local n = 0
function request()
  n = (n + 1) % ${COUNT}
  return wrk.format("GET", "/small", { Host = "c" .. n .. ".localhost" })
end
`,
    );
    const entrance = { host: "127.0.0.1", port: server.httpPort, hostname: "c0.localhost" };
    const visitors = { ...bench, contender: { ...contender, entrance } };
    // The first request of each client takes longer.
    await runWrk(visitors, 64, ["-s", script]);
    const { rate, p99 } = await runWrk(visitors, 64, ["-s", script]);
    return {
      figures: {
        rate,
        p99,
        readySeconds,
        serverEach: (after[0]! - before[0]!) / COUNT / KB,
        // Not those of the contender, which had nothing to do.
        serverPeak: peakBytes([program.pid]) / MIB,
        clientPeak: peakBytes([driver.pid]) / MIB,
      },
    };
  },
};

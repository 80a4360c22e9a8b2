import { fileURLToPath } from "node:url";
import type { Workload } from "../workload.ts";

const ECHO = fileURLToPath(new URL("../load/echo.js", import.meta.url));
const SOCKETS = 16;

export const websocket: Workload = {
  name: "websocket",
  title: `WebSocket echo, ${SOCKETS} sockets, 64 bytes to and fro`,
  road: "here",
  figures: [
    { name: "rate", title: "messages/s", better: "more" },
    { name: "p50", title: "p50 ms", better: "less" },
    { name: "p99", title: "p99 ms", better: "less" },
  ],
  cpuPer: "10k requests",
  // It has ten connections for all visitors, and these stay.
  except: ["localtunnel"],
  async run(bench) {
    const { contender, seconds } = bench;
    const { host, port, hostname } = contender.entrance;
    const args = [host, port, hostname, "/echo", SOCKETS, seconds].map(String);
    const { code, stdout, stderr } = await bench.visit([process.execPath, ECHO, ...args]);
    if (code !== 0) throw new Error(stderr.trim());
    const figures = JSON.parse(stdout) as { rate: number; p50: number; p99: number };
    return { figures, requests: figures.rate * seconds };
  },
};

import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { GIB } from "./units.ts";

/** Where figures come from; without it they mean nothing. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGib: number;
  kernel: string;
  node: string;
  /** When, as 2026-01-31. */
  date: string;
}

export function thisMachine(): Machine {
  return {
    cpu: cpuModel(),
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / GIB),
    kernel: release(),
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

export function machineLine({ cpu, cores, memoryGib, kernel, node, date }: Machine): string {
  return `${cpu}, ${cores} ${cores === 1 ? "core" : "cores"}, ${memoryGib} GiB; Linux ${kernel}, Node.js ${node.slice(1)}; ${date}`;
}

function cpuModel(): string {
  const model = /^model name\s*:\s*(.+)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return (model ?? cpus()[0]?.model ?? "unknown processor").replaceAll(/\((?:R|TM)\)/g, "").trim();
}

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Program } from "../program.ts";
import type { Measuring } from "../workload.ts";

const HOLD = fileURLToPath(new URL("hold.js", import.meta.url));

export interface Held {
  path: string;
  count: number;
  /** Of each answer. */
  readBytes: number;
}

/** Visitors that stay until they are disposed of; resolves once all are there. */
export async function holdOpen(
  { contender, road, directory }: Measuring,
  { path, count, readBytes }: Held,
): Promise<Program> {
  const { host, port, hostname } = contender.entrance;
  const args = [host, port, hostname, path, count, readBytes].map(String);
  const holder = new Program({
    name: "the holder of connections",
    command: [...road.atServer, process.execPath, HOLD, ...args],
    logFile: join(directory, "hold.log"),
  });
  try {
    await holder.said(/^held$/m);
    return holder;
  } catch (error) {
    await holder[Symbol.asyncDispose]();
    throw error;
  }
}

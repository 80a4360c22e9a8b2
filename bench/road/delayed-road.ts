import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Owned } from "../owned.ts";
import { Program } from "../program.ts";
import { NO_DISTANCE, type Address, type Road } from "./road.ts";

const DELAY_LINE = fileURLToPath(new URL("delay-line.js", import.meta.url));

/** Both ends on this machine, delay lines between them. @param delayMs each way */
export function delayedRoad(directory: string, delayMs: number): Road {
  const lines = new Owned();
  const lineTo = async (port: number): Promise<Address> => {
    const line = lines.own(startDelayLine([], ["127.0.0.1", delayMs, "127.0.0.1", port], directory));
    return { host: "127.0.0.1", port: await portOf(line) };
  };
  return {
    ...NO_DISTANCE,
    toServer: lineTo,
    toClient: lineTo,
    [Symbol.asyncDispose]: () => lines[Symbol.asyncDispose](),
  };
}

let started = 0;

/** @param at what stands before its command */
export function startDelayLine(
  at: readonly string[],
  [listenHost, delayMs, targetHost, targetPort]: [string, number, string, number],
  directory: string,
): Program {
  return new Program({
    name: "a delay line",
    command: [
      ...at,
      process.execPath,
      DELAY_LINE,
      listenHost,
      String(delayMs),
      targetHost,
      String(targetPort),
    ],
    logFile: join(directory, `delay-line-${started++}.log`),
  });
}

export async function portOf(line: Program): Promise<number> {
  return Number((await line.said(/listening (\d+)/))[1]);
}

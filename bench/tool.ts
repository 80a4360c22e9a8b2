import { spawn } from "node:child_process";
import { once } from "node:events";

export interface ToolRun {
  code: number | null;
  stdout: string;
  stderr: string;
  ms: number;
}

/** Runs a program to its end; the signal kills it and makes this throw. */
export async function runTool(
  command: readonly string[],
  { signal, env }: { signal?: AbortSignal; env?: NodeJS.ProcessEnv } = {},
): Promise<ToolRun> {
  signal?.throwIfAborted();
  const startedAt = performance.now();
  const child = spawn(command[0]!, command.slice(1), {
    signal,
    killSignal: "SIGKILL",
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr, ms: performance.now() - startedAt };
}

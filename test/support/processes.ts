import { spawn, type ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { LoggedLine } from "./world.ts";

const ROOT = join(import.meta.dirname, "../..");
export const SERVER = join(ROOT, "dist/server/main.js");
export const CLIENT = join(ROOT, "dist/client/main.js");

/** What this machine's environment may say to our programs, and a test means to say itself. */
const NOT_INHERITED = Object.fromEntries(
  [
    "TUNNEL_KEY",
    "TUNNEL_SERVER",
    "STATE_DIRECTORY",
    ...["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
  ].map((name) => [name, ""]),
);

/** A built command as a real process, its JSON log read line by line. */
export interface Program extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly lines: LoggedLine[];
  /** Everything written to standard output and error. */
  readonly output: () => string;
  /** Resolves at the `count`th line, past or future, with this message; rejects if the process ends before. */
  logged(message: string, count?: number): Promise<LoggedLine>;
  /** Resolves once this text stands in the output; rejects if the process ends before. */
  printed(text: string): Promise<void>;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(signal: NodeJS.Signals): void;
  /** The memory that it holds at the moment. */
  residentBytes(): number;
}

/** @param options.through a command that turns itself into the one behind it, such as `nice` */
export function startProgram(
  script: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; through?: string[] } = {},
): Program {
  const [command, ...commandArgs] = [...(options.through ?? []), process.execPath, script, ...args];
  const child = spawn(command!, commandArgs, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...NOT_INHERITED, ...options.env },
    cwd: options.cwd,
  });
  const lines: LoggedLine[] = [];
  const looks = new Set<() => void>();
  let output = "";
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    const whole = (rest + text).split("\n");
    rest = whole.pop()!;
    for (const line of whole) {
      const parsed = asLogged(line);
      if (parsed) lines.push(parsed);
    }
    for (const look of looks) look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  /** Resolves with what `find` gives, as soon as it gives something; rejects if the process ends before. */
  const until = <T>(find: () => T | undefined, what: string): Promise<T> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        looks.delete(look);
        resolve(found);
      };
      looks.add(look);
      look();
      void exited.then(({ code, signal }) =>
        reject(new Error(`the process ended (${code ?? signal}) before ${what}:\n${output}`)),
      );
    });
  running.add(child);
  return {
    child,
    pid: child.pid!,
    lines,
    output: () => output,
    exited,
    logged: (message, count = 1) =>
      until(() => lines.filter((line) => line.message === message)[count - 1], `it logged "${message}"`),
    printed: async (text) => {
      await until(() => output.includes(text) || undefined, `it printed "${text}"`);
    },
    kill: (signal) => void child.kill(signal),
    residentBytes: () =>
      1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid!}/status`, "utf8"))![1]),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    },
  };
}

/** A line of a JSON log; `undefined` for whatever else a process writes. */
function asLogged(line: string): LoggedLine | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as LoggedLine;
  } catch {
    return undefined;
  }
}

const running = new Set<ChildProcess>();
// A test that runs out of time disposes of nothing.
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
});

/** Runs a command to its end. */
export async function runProgram(
  script: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<{ code: number | null; output: string }> {
  const program = startProgram(script, args, options);
  const { code } = await program.exited;
  return { code, output: program.output() };
}

export interface RunningServer extends Program {
  httpPort: number;
  grpcPort: number;
}

/** `tunnel-server` on free ports of 127.0.0.1, or on those given. */
export async function startServerProcess(
  dataDir: string,
  args: string[] = ["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"],
): Promise<RunningServer> {
  const program = startProgram(SERVER, ["--data-dir", dataDir, ...args]);
  const { http, grpc } = await program.logged("listening");
  return Object.assign(program, { httpPort: portOf(http), grpcPort: portOf(grpc) });
}

/** `tunnel-client`, for a server without TLS unless told. */
export function startClientProcess(
  options: { token: string; dataDir: string; tls?: boolean },
  args: string[],
): Program {
  const { token, dataDir, tls = false } = options;
  return startProgram(CLIENT, [
    ...args,
    "--key",
    token,
    "--data-dir",
    dataDir,
    ...(tls ? [] : ["--plaintext"]),
  ]);
}

/** `tunnel-server key create`; returns the token. */
export async function createKeyByCommand(
  dataDir: string,
  grpcPort: number,
  args: string[] = [],
): Promise<string> {
  const { code, output } = await runProgram(SERVER, [
    "key",
    "create",
    "--data-dir",
    dataDir,
    "--json",
    ...(args.includes("--public-address") ? [] : ["--public-address", `127.0.0.1:${grpcPort}`]),
    ...(args.includes("--name") ? args : ["--name", "test", ...args]),
  ]);
  if (code !== 0) throw new Error(`key create failed:\n${output}`);
  return (JSON.parse(output) as { key: string }).key;
}

/**
 * An address of this machine's loopback that nobody else uses: a server that is killed there finds its ports free
 * when it returns.
 */
export function ownLoopbackAddress(): string {
  return `127.${randomInt(1, 255)}.${randomInt(0, 255)}.${randomInt(1, 255)}`;
}

/** Of an address as the server logs it. */
function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}

import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { HeldFigures, InsideFigures } from "./figures.ts";

const PROBE = new URL("probe.js", import.meta.url).href;
const DIST = fileURLToPath(new URL("..", import.meta.url));
const READY_WITHIN_MS = 30_000;
const ANSWER_WITHIN_MS = 20_000;

export type Command = "server/main.js" | "client/main.js";

/** One of the built commands as a real process, with the probe inside. Its log is read, counted and not kept. */
export class Program implements AsyncDisposable {
  readonly name: string;
  readonly ended: Promise<string>;
  /** Lines of the log so far: one for each request, and a few others. */
  logLines = 0;
  /** What it should never say: errors in its log, and anything at all on standard error. */
  readonly complaints: string[] = [];
  readonly #child: ChildProcess;
  readonly #log = new EventEmitter();

  constructor(name: string, command: Command, args: string[], env: NodeJS.ProcessEnv = {}) {
    this.name = name;
    const probed = ["--expose-gc", "--disable-warning=ExperimentalWarning", "--import", PROBE];
    this.#child = spawn(process.execPath, [...probed, DIST + command, ...args], {
      env: { ...process.env, TUNNEL_KEY: "", TUNNEL_SERVER: "", STATE_DIRECTORY: "", ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // Its own process group: Ctrl-C in the terminal reaches the soak alone.
      detached: true,
    });
    this.ended = this.#readToTheEnd();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** @throws if the program ends, or half a minute does, before it logs this message */
  async logged(message: string): Promise<Record<string, unknown>> {
    const giveUp = AbortSignal.timeout(READY_WITHIN_MS);
    const found = once(this.#log, message, { signal: giveUp }) as Promise<[Record<string, unknown>]>;
    const early = this.ended.then((how) => {
      throw new Error(
        `the ${this.name} ended with ${how}: ${this.complaints.join("; ") || "it said nothing"}`,
      );
    });
    const [line] = await Promise.race([found, early]).catch((error: unknown) => {
      throw giveUp.aborted ? new Error(`the ${this.name} did not say "${message}" in time`) : error;
    });
    return line;
  }

  /** What it tells of itself; undefined if it does not answer, as one that is frozen. */
  look(): Promise<InsideFigures | undefined> {
    return this.#ask("look");
  }

  count(): Promise<HeldFigures | undefined> {
    return this.#ask("count");
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  async #ask<Answer>(question: "look" | "count"): Promise<Answer | undefined> {
    if (!this.#child.connected) return undefined;
    this.#child.send(question);
    try {
      const [answer] = (await once(this.#child, "message", {
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      })) as [Answer];
      return answer;
    } catch {
      return undefined;
    }
  }

  async #readToTheEnd(): Promise<string> {
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#readLine(line));
    createInterface({ input: this.#child.stderr! }).on("line", (line) => this.complaints.push(line));
    try {
      const [code, signal] = (await once(this.#child, "close")) as [number | null, NodeJS.Signals | null];
      return signal ?? `exit code ${code}`;
    } catch (error) {
      return (error as Error).message;
    }
  }

  #readLine(line: string): void {
    this.logLines++;
    // Nearly all of them: not worth parsing.
    if (line.endsWith('"message":"request"}')) return;
    const record = JSON.parse(line) as Record<string, unknown>;
    if (record["level"] === "error") this.complaints.push(line);
    this.#log.emit(String(record["message"]), record);
  }
}

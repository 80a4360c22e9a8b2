import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { parseLogLine, readableLines, type LogRecord } from "./log-line.ts";

export interface ChildProgramOptions {
  /** What its lines of output begin with. */
  name: string;
  /** A JavaScript file for this process's own node. */
  file: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  print: (line: string) => void;
  colours?: boolean;
  /** How long the program may finish its work before it is told again, and then killed. */
  patienceMs?: number;
}

// If the demo dies without a word (SIGKILL), the channel to it closes, and the program takes that for a SIGTERM. The
// channel alone must not keep the program alive.
const END_WITH_PARENT = `data:text/javascript,${encodeURIComponent(
  "process.on('disconnect', () => process.kill(process.pid, 'SIGTERM')); process.channel.unref();",
)}`;

const LAST_LINES = 15;

/** One of the demo's programs as a real process, its output printed line by line behind its name. */
export class ChildProgram {
  /** Resolves with how it ended ("exit code 3", "SIGKILL"), once its output is read to the end. */
  readonly ended: Promise<string>;
  readonly #options: ChildProgramOptions;
  readonly #child: ChildProcess;
  readonly #log = new EventEmitter();
  readonly #lastLines: string[] = [];

  constructor(options: ChildProgramOptions) {
    this.#options = options;
    this.#child = spawn(process.execPath, ["--import", END_WITH_PARENT, options.file, ...options.args], {
      env: options.env ?? process.env,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // Its own process group: Ctrl-C in the terminal reaches the demo alone, which then stops its programs in
      // order. A second signal from the terminal would cut their work short.
      detached: true,
    });
    this.ended = this.#readToTheEnd();
  }

  /** @throws if the program ends, or the time or `signal` does, before it logs this message */
  async logged(message: string, withinMs: number, signal: AbortSignal): Promise<LogRecord> {
    signal.throwIfAborted();
    const giveUp = new AbortController();
    const abort = (): void => giveUp.abort();
    const timer = setTimeout(abort, withinMs);
    signal.addEventListener("abort", abort);
    try {
      const found = once(this.#log, `logged ${message}`, { signal: giveUp.signal });
      const [record] = (await Promise.race([found, this.endsUnasked()])) as [LogRecord];
      return record;
    } catch (error) {
      if (giveUp.signal.aborted && !signal.aborted) {
        throw this.failure(`did not log "${message}" within ${withinMs / 1000} s`);
      }
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      giveUp.abort();
    }
  }

  /** @throws when the program ends */
  async endsUnasked(): Promise<never> {
    throw this.failure(`ended with ${await this.ended}`);
  }

  /** An error about this program that carries its last output. */
  failure(what: string): Error {
    const { name } = this.#options;
    const said =
      this.#lastLines.length > 0 ? ["; its last output:", ...this.#lastLines] : ["; it said nothing"];
    return new Error(`the ${name} ${what}${said.join(`\n  ${name} │ `)}`);
  }

  /** SIGTERM, again after a while (which cuts what is still open), then SIGKILL; resolves when it is gone. */
  async stop(): Promise<void> {
    for (const signal of ["SIGTERM", "SIGTERM", "SIGKILL"] as const) {
      if (!this.#child.kill(signal)) break;
      if (await this.#endsWithin(this.#options.patienceMs ?? 3000)) return;
    }
    await this.ended;
  }

  async #endsWithin(ms: number): Promise<boolean> {
    const awake = new AbortController();
    try {
      return await Promise.race([this.ended.then(() => true), sleep(ms, false, { signal: awake.signal })]);
    } finally {
      awake.abort();
    }
  }

  async #readToTheEnd(): Promise<string> {
    this.#readLines(this.#child.stdout!);
    this.#readLines(this.#child.stderr!);
    try {
      const [code, signal] = (await once(this.#child, "close")) as [number | null, NodeJS.Signals | null];
      return signal ?? `exit code ${code}`;
    } catch (error) {
      return `an error: ${(error as Error).message}`;
    }
  }

  #readLines(output: Readable): void {
    createInterface({ input: output }).on("line", (line) => {
      for (const readable of readableLines(line, this.#options.colours ?? false)) {
        this.#lastLines.push(readable);
        if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
        this.#options.print(`${this.#options.name} │ ${readable}`);
      }
      const record = parseLogLine(line);
      if (record) this.#log.emit(`logged ${String(record["message"])}`, record);
    });
  }
}

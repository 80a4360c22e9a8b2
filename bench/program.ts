import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync, truncateSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";
import { families } from "./processes.ts";

const SAYS_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 10;
const ENDS_WITHIN_MS = 2_000;

export interface ProgramOptions {
  name: string;
  /** The program and its arguments. */
  command: readonly string[];
  /** Takes standard output and error, as a service's log does. */
  logFile: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

/** A program that runs until it is disposed of. */
export class Program implements AsyncDisposable {
  readonly name: string;
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  #end: string | undefined;

  constructor({ name, command, logFile, env, cwd }: ProgramOptions) {
    this.name = name;
    this.#logFile = logFile;
    // Appending, so that the file can be emptied under the program.
    const log = openSync(logFile, "a");
    try {
      this.#child = spawn(command[0]!, command.slice(1), {
        env: { ...process.env, ...env },
        cwd,
        stdio: ["ignore", log, log],
        // Its own process group: Ctrl-C in the terminal reaches the bench alone.
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    this.ended = new Promise((resolve) => {
      this.#child.once("error", ({ message }) => resolve(`cannot be run: ${message}`));
      this.#child.once("exit", (code, signal) => resolve(`ended with ${signal ?? `exit code ${code}`}`));
    }).then((how) => (this.#end = String(how)));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** @throws if the program ends, or half a minute does, before its log matches; or if the signal says so */
  async said(pattern: RegExp, signal?: AbortSignal): Promise<RegExpExecArray> {
    const giveUpAt = performance.now() + SAYS_WITHIN_MS;
    for (;;) {
      const found = pattern.exec(readFileSync(this.#logFile, "utf8"));
      if (found) return found;
      const end = this.howItEnded();
      if (end !== undefined) throw new Error(end);
      if (performance.now() > giveUpAt)
        throw new Error(`${this.name} did not say ${String(pattern)} in time: ${this.lastWords()}`);
      await sleep(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  /** How it ended, and what it said last; undefined while it runs. */
  howItEnded(): string | undefined {
    return this.#end === undefined ? undefined : `${this.name} ${this.#end}: ${this.lastWords()}`;
  }

  /** Without the colours that some write into files too. */
  lastWords(): string {
    const log = stripVTControlCharacters(readFileSync(this.#logFile, "utf8")).trim();
    return log === "" ? "it said nothing" : log.split("\n").slice(-3).join("; ");
  }

  /** Access logs of a long run would fill the disk. The last words of one that has ended are kept. */
  emptyLog(): void {
    if (this.#end === undefined) truncateSync(this.#logFile);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.pid === undefined || this.#end !== undefined) return;
    const family = families([this.#child.pid]);
    this.#child.kill("SIGTERM");
    await Promise.race([this.ended, sleep(ENDS_WITHIN_MS, undefined, { ref: false })]);
    // All of them: a server that is killed leaves its children behind.
    const left = families(family);
    for (const pid of left) kill(pid);
    await this.ended;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

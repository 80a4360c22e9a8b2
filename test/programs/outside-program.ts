import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { afterAll } from "vitest";

/** Below the time that a test has, so that it fails with what the program said. */
const WITHIN_MS = 25_000;

const running = new Set<OutsideProgram>();
// A test that runs out of time disposes of nothing.
afterAll(async () => {
  for (const program of running) await program[Symbol.asyncDispose]();
});

/** A program that is not ours, with pipes for what it reads and prints. */
export class OutsideProgram implements AsyncDisposable {
  stdout = "";
  stderr = "";
  readonly #command: readonly string[];
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<number | string>;
  readonly #looks = new Set<() => void>();
  #end: number | string | undefined;

  constructor(command: readonly string[]) {
    this.#command = command;
    // A process group of its own, which can be ended as a whole.
    this.#child = spawn(command[0]!, command.slice(1), { detached: true });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => this.#heard("stdout", text));
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => this.#heard("stderr", text));
    // It may end before it has read everything; its exit code says whether that was right.
    this.#child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", (code, signal) => resolve(code ?? signal!));
    });
    running.add(this);
    void this.#ended.then((end) => {
      running.delete(this);
      this.#end = end;
      for (const look of this.#looks) look();
    });
  }

  /** What it reads. */
  get stdin(): NodeJS.WritableStream {
    return this.#child.stdin;
  }

  /**
   * Waits until this text stands in what it printed.
   *
   * @throws with all that it printed, if it ends before, or has to be killed for its silence
   */
  async printed(text: string): Promise<void> {
    const timer = setTimeout(() => this.#kill(), WITHIN_MS);
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#end === undefined && !this.#has(text)) return;
        this.#looks.delete(look);
        resolve();
      };
      this.#looks.add(look);
      look();
    });
    clearTimeout(timer);
    if (!this.#has(text)) throw this.#failure(`ended before it printed ${JSON.stringify(text)}`);
  }

  /** Waits for its end: its exit code, or the signal that ended it; one that takes too long is killed. */
  async exit(withinMs = WITHIN_MS): Promise<number | string> {
    const timer = setTimeout(() => this.#kill(), withinMs);
    const end = await this.#ended;
    clearTimeout(timer);
    return end;
  }

  /** @throws with all that it printed, if it fails */
  async succeeded(withinMs?: number): Promise<string> {
    if ((await this.exit(withinMs)) !== 0) throw this.#failure("failed");
    return this.stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#kill();
    await this.#ended;
  }

  #has(text: string): boolean {
    return this.stdout.includes(text) || this.stderr.includes(text);
  }

  #heard(where: "stdout" | "stderr", text: string): void {
    this[where] += text;
    for (const look of this.#looks) look();
  }

  #failure(what: string): Error {
    return new Error(`${this.#command[0]} ${what} (${this.#end}):\n${this.stdout}${this.stderr}`);
  }

  #kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#end !== undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
}

/**
 * Runs a program to its end, and gives what it printed.
 *
 * @throws with all that it printed, if it fails
 */
export async function outputOf(
  command: readonly string[],
  { input = "", withinMs }: { input?: string | Buffer; withinMs?: number } = {},
): Promise<string> {
  const program = new OutsideProgram(command);
  program.stdin.end(input);
  return await program.succeeded(withinMs);
}

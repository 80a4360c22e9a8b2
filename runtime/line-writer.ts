import fs from "node:fs";
import { openOutlet, type LineOutlet } from "./line-outlet.ts";

/** Characters that may wait while the file descriptor takes none: about two seconds of a busy server's access log. */
const MAX_PENDING = 4 << 20;
/** A pipe takes so much as a whole or not at all (POSIX: PIPE_BUF), so that whoever else writes to it tears no line. */
const MAX_WHOLE_WRITE = 4096;
const MAX_WRITE = 64 << 10;
/** Writes to a pipe in one turn of the event loop: together what it holds (pipe(7)). */
const WRITES_A_TURN = 16;
/** Where there is no room, it is tried again soon, and less often the longer there is none. */
const MIN_RETRY_BUSY_MS = 1;
const MAX_RETRY_BUSY_MS = 20;
/**
 * Between two writes: each wakes another thread, here or where it is read, which on a machine of two processors costs a seventh of
 * what a request does (measured, one visitor at a time). A line after a pause leaves at once.
 */
const GATHER_MS = 20;
const RETRY_FAILED_MS = 1000;
/** Between two lines about missing ones. */
const MISSING_MS = 1000;
const EXIT_HEAD_START_MS = 50;
/** How long a descriptor that is not ready may hold up the end of the process: for the lines, then for the word on those left out. */
const MAX_EXIT_WAIT_MS = 2000;
const MAX_LAST_WORD_WAIT_MS = 500;

const LINE_FEED = 0x0a;

export interface LineWriterOptions {
  /** The line, with its line feed, that says how many are missing where it stands. */
  missing(lines: number): string;
  /** Told once when writing fails, and not again until it has worked in between. */
  onFailure?(error: NodeJS.ErrnoException): void;
  /** Told at the end of the process, if lines are missing and the descriptor does not take the line that says so. */
  onLost?(lines: number): void;
}

/**
 * Writes lines to a file descriptor without making anybody wait: the lines of a turn of the event loop leave
 * together, and while a write is under way, and for a moment after it, the next ones gather. A descriptor that fails never
 * ends the process: a full disk is tried again every second, a closed pipe never. What finds no room is dropped, and said to be.
 */
export class LineWriter {
  readonly #outlet: LineOutlet;
  readonly #options: LineWriterOptions;
  #pending: string[] = [];
  /** Index of the first line in `#pending` that is not yet in a batch. */
  #next = 0;
  #pendingLength = 0;
  /** What is being written, or waits to be tried again. */
  #batch: Buffer | undefined;
  /** The descriptor has taken a part of a line, whose rest begins the batch. */
  #torn = false;
  #state: "idle" | "scheduled" | "writing" | "waiting" | "closed" = "idle";
  #writtenAt = -Infinity;
  #retryBusyMs = MIN_RETRY_BUSY_MS;
  #failing = false;
  #dropped = 0;
  #saidMissingAt = -Infinity;

  constructor(fd: number, options: LineWriterOptions) {
    this.#outlet = openOutlet(fd);
    this.#options = options;
  }

  /** Lines that are lost, and that no line has told of. */
  get droppedLines(): number {
    return this.#dropped;
  }

  /** @param line with its line feed */
  write(line: string): void {
    if (this.#state === "closed" || this.#pendingLength + line.length > MAX_PENDING) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0 && performance.now() - this.#saidMissingAt >= MISSING_MS) this.#sayMissing();
    this.#push(line);
    if (this.#state === "idle") this.#schedule();
  }

  /** For the end of the process, when no callback runs any more. Never throws. */
  flushSync(): void {
    if (this.#state === "writing") {
      // Node finishes the write that is under way, but does not say when; a moment's start keeps it, on all but the
      // busiest machines, in front of what follows.
      if (this.#pending.length > 0 || this.#dropped > 0) sleep(EXIT_HEAD_START_MS);
      this.#batch = undefined;
    }
    this.#state = "closed";
    this.#writeSync(MAX_EXIT_WAIT_MS);
    this.#dropAll();
    if (this.#dropped === 0) return;
    this.#batch = Buffer.from((this.#torn ? "\n" : "") + this.#options.missing(this.#dropped));
    if (!this.#writeSync(MAX_LAST_WORD_WAIT_MS)) this.#options.onLost?.(this.#dropped);
    this.#batch = undefined;
    this.#dropped = 0;
  }

  #push(line: string): void {
    this.#pending.push(line);
    this.#pendingLength += line.length;
  }

  #sayMissing(): void {
    const lines = this.#dropped;
    this.#dropped = 0;
    this.#saidMissingAt = performance.now();
    this.#push(this.#options.missing(lines));
  }

  #schedule(): void {
    this.#state = "scheduled";
    const send = () => this.#send();
    const waitMs = this.#writtenAt + GATHER_MS - performance.now();
    // Nor does it keep a process alive: at the exit everything is written.
    if (waitMs > 0) setTimeout(send, waitMs).unref();
    else setImmediate(send);
  }

  #send(): void {
    if (this.#state === "closed") return;
    for (let writes = 0; writes < WRITES_A_TURN; writes++) {
      this.#batch ??= this.#nextBatch();
      if (!this.#batch) {
        this.#state = "idle";
        return;
      }
      if (this.#outlet.kind !== "ready pipe") return this.#sendElsewhere(this.#batch);
      try {
        this.#wrote(fs.writeSync(this.#outlet.fd, this.#batch));
      } catch (error) {
        return this.#failed(error as NodeJS.ErrnoException);
      }
    }
    this.#state = "scheduled";
    setImmediate(() => this.#send());
  }

  /** In another thread, which may wait. */
  #sendElsewhere(batch: Buffer): void {
    this.#state = "writing";
    fs.write(this.#outlet.fd, batch, (error, bytes) => {
      if (this.#state === "closed") return;
      if (error) return this.#failed(error);
      this.#wrote(bytes);
      this.#send();
    });
  }

  #wrote(bytes: number): void {
    this.#writtenAt = performance.now();
    this.#retryBusyMs = MIN_RETRY_BUSY_MS;
    this.#advance(bytes);
    if (!this.#batch) this.#failing = false;
  }

  #advance(bytes: number): void {
    const batch = this.#batch!;
    this.#batch = bytes < batch.length ? batch.subarray(bytes) : undefined;
    this.#torn = this.#batch !== undefined && batch[bytes - 1] !== LINE_FEED;
  }

  #failed(error: NodeJS.ErrnoException): void {
    if (error.code === "EAGAIN") {
      this.#tryAgain(this.#retryBusyMs);
      this.#retryBusyMs = Math.min(2 * this.#retryBusyMs, MAX_RETRY_BUSY_MS);
      return;
    }
    if (!this.#failing) {
      this.#failing = true;
      this.#options.onFailure?.(error);
    }
    if (error.code === "EPIPE" || error.code === "EBADF") {
      this.#state = "closed";
      this.#dropAll();
    } else {
      this.#tryAgain(RETRY_FAILED_MS);
    }
  }

  #tryAgain(afterMs: number): void {
    this.#state = "waiting";
    setTimeout(() => this.#send(), afterMs).unref();
  }

  #dropAll(): void {
    const lines = this.#pending.length - this.#next + (this.#batch ? lineFeeds(this.#batch) : 0);
    this.#dropped += lines;
    this.#pending = [];
    this.#next = this.#pendingLength = 0;
    this.#batch = undefined;
  }

  /** What is missing is said behind all that came before it. */
  #nextBatch(): Buffer | undefined {
    if (this.#next === this.#pending.length && this.#dropped > 0) this.#sayMissing();
    return this.#takeBatch();
  }

  /** The next lines that fit in one write; always whole ones. */
  #takeBatch(): Buffer | undefined {
    const from = this.#next;
    const maxBytes = this.#maxWriteBytes();
    let bytes = 0;
    let length = 0;
    while (this.#next < this.#pending.length) {
      const line = this.#pending[this.#next]!;
      bytes += Buffer.byteLength(line);
      if (bytes > maxBytes && this.#next > from) break;
      length += line.length;
      this.#next++;
    }
    if (this.#next === from) return undefined;
    const batch = Buffer.from(this.#pending.slice(from, this.#next).join(""));
    this.#pendingLength -= length;
    // Lines are forgotten by the thousand: shifting the array for each batch would cost more than writing it.
    if (this.#next === this.#pending.length || this.#next >= 1000) {
      this.#pending = this.#pending.slice(this.#next);
      this.#next = 0;
    }
    return batch;
  }

  #maxWriteBytes(): number {
    const { kind } = this.#outlet;
    if (kind === "other") return MAX_WRITE;
    // One write a turn is too little for a busy server: then the risk of a torn line is better than losing many.
    return kind === "slow pipe" && this.#pendingLength > MAX_WRITE ? MAX_WRITE : MAX_WHOLE_WRITE;
  }

  /** @returns whether all has been written that waits; if it may not be tried again, or not for so long, the rest is left */
  #writeSync(maxWaitMs: number): boolean {
    const deadline = performance.now() + maxWaitMs;
    for (this.#batch ??= this.#takeBatch(); this.#batch; this.#batch ??= this.#takeBatch()) {
      try {
        this.#advance(fs.writeSync(this.#outlet.fd, this.#batch));
      } catch (error) {
        const isBusy = (error as NodeJS.ErrnoException).code === "EAGAIN";
        if (!isBusy || performance.now() >= deadline) return false;
        sleep(MIN_RETRY_BUSY_MS);
      }
    }
    return true;
  }
}

function lineFeeds(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

import fs from "node:fs";

/** Characters that may wait while the file descriptor takes none: about two seconds of a busy server's access log. */
const MAX_PENDING = 4 << 20;
/**
 * Bytes in one write. A pipe takes up to 4096 as a whole (POSIX: PIPE_BUF), so that two writes at once, as can happen at
 * the exit, never tear a line.
 */
const MAX_PIPE_WRITE = 4096;
const MAX_FILE_WRITE = 64 << 10;
const RETRY_BUSY_MS = 20;
/**
 * Between two writes: each wakes another thread, which on a machine of two processors costs a seventh of what a request does
 * (measured, one visitor at a time). A line after a pause leaves at once.
 */
const GATHER_MS = 20;
const EXIT_HEAD_START_MS = 50;
const RETRY_FAILED_MS = 1000;
/** How long the end of the process may be held up by a descriptor that is not ready. */
const MAX_EXIT_WAIT_MS = 2000;

export interface LineWriterOptions {
  /** Told once when writing fails, and not again until it has worked in between. */
  onFailure?(error: NodeJS.ErrnoException): void;
  /** Told when writing works again, with the number of lines that were lost. */
  onRecovery?(droppedLines: number): void;
}

/**
 * Writes lines to a file descriptor without making anybody wait: the lines of a turn of the event loop leave
 * together, and while a write is under way, and for a moment after it, the next ones gather. A descriptor that fails never ends the process: a full disk
 * is tried again every second, a closed pipe never, and what finds no room is counted and dropped.
 */
export class LineWriter {
  readonly #fd: number;
  readonly #options: LineWriterOptions;
  readonly #maxWrite: number;
  #pending: string[] = [];
  /** Index of the first line in `#pending` that is not yet in a batch. */
  #next = 0;
  #pendingLength = 0;
  /** What is being written, or waits to be tried again. */
  #batch: Buffer | undefined;
  #batchLines = 0;
  #state: "idle" | "scheduled" | "writing" | "waiting" | "closed" = "idle";
  #writtenAt = -Infinity;
  #failing = false;
  #dropped = 0;

  constructor(fd: number, options: LineWriterOptions = {}) {
    this.#fd = fd;
    this.#options = options;
    this.#maxWrite = fs.fstatSync(fd).isFile() ? MAX_FILE_WRITE : MAX_PIPE_WRITE;
  }

  /** Lines lost since writing last worked. */
  get droppedLines(): number {
    return this.#dropped;
  }

  /** @param line with its line feed */
  write(line: string): void {
    if (this.#state === "closed" || this.#pendingLength + line.length > MAX_PENDING) {
      this.#dropped++;
      return;
    }
    this.#pending.push(line);
    this.#pendingLength += line.length;
    if (this.#state === "idle") {
      this.#state = "scheduled";
      this.#schedule();
    }
  }

  /** For the end of the process, when no callback runs any more. Never throws. */
  flushSync(): void {
    if (this.#state === "closed") return;
    if (this.#state === "writing") {
      // Node finishes the write that is under way, but does not say when; a moment's start keeps it, on all but the
      // busiest machines, in front of what follows.
      if (this.#pending.length > 0) sleep(EXIT_HEAD_START_MS);
      this.#batch = undefined;
    }
    this.#state = "closed";
    let batch = this.#batch ?? this.#takeBatch();
    while (batch && this.#writeSync(batch)) batch = this.#takeBatch();
  }

  #schedule(): void {
    const send = () => this.#send();
    const waitMs = this.#writtenAt + GATHER_MS - performance.now();
    // Nor does it keep a process alive: at the exit everything is written.
    if (waitMs > 0) setTimeout(send, waitMs).unref();
    else setImmediate(send);
  }

  #send(): void {
    if (this.#state === "closed") return;
    if (!this.#batch) {
      this.#batch = this.#takeBatch();
      if (!this.#batch) {
        this.#state = "idle";
        return;
      }
    }
    this.#state = "writing";
    fs.write(this.#fd, this.#batch, (error, bytes) => {
      if (error) this.#failed(error);
      else this.#wrote(bytes);
    });
  }

  #wrote(bytes: number): void {
    if (this.#state === "closed") return;
    this.#writtenAt = performance.now();
    const rest = this.#batch!.subarray(bytes);
    this.#batch = rest.length > 0 ? rest : undefined;
    if (this.#failing && !this.#batch) {
      const dropped = this.#dropped;
      this.#failing = false;
      this.#dropped = 0;
      this.#options.onRecovery?.(dropped);
    }
    this.#send();
  }

  #failed(error: NodeJS.ErrnoException): void {
    if (this.#state === "closed") return;
    if (error.code === "EAGAIN") {
      this.#tryAgain(RETRY_BUSY_MS);
      return;
    }
    if (!this.#failing) {
      this.#failing = true;
      this.#options.onFailure?.(error);
    }
    if (error.code === "EPIPE" || error.code === "EBADF") {
      this.#state = "closed";
      this.#dropped += this.#batchLines + this.#pending.length - this.#next;
      this.#pending = [];
      this.#next = 0;
      this.#batch = undefined;
      return;
    }
    this.#tryAgain(RETRY_FAILED_MS);
  }

  #tryAgain(afterMs: number): void {
    this.#state = "waiting";
    setTimeout(() => this.#send(), afterMs).unref();
  }

  /** The next lines that fit in one write; always whole ones. */
  #takeBatch(): Buffer | undefined {
    const from = this.#next;
    let bytes = 0;
    let length = 0;
    while (this.#next < this.#pending.length) {
      const line = this.#pending[this.#next]!;
      bytes += Buffer.byteLength(line);
      if (bytes > this.#maxWrite && this.#next > from) break;
      length += line.length;
      this.#next++;
    }
    if (this.#next === from) return undefined;
    const batch = Buffer.from(this.#pending.slice(from, this.#next).join(""));
    this.#batchLines = this.#next - from;
    this.#pendingLength -= length;
    // Lines are forgotten by the thousand: shifting the array for each batch would cost more than writing it.
    if (this.#next === this.#pending.length || this.#next >= 1000) {
      this.#pending = this.#pending.slice(this.#next);
      this.#next = 0;
    }
    return batch;
  }

  /** @returns whether all of it was written */
  #writeSync(bytes: Buffer): boolean {
    let waitedMs = 0;
    let offset = 0;
    while (offset < bytes.length) {
      try {
        offset += fs.writeSync(this.#fd, bytes, offset);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || waitedMs >= MAX_EXIT_WAIT_MS) return false;
        sleep(RETRY_BUSY_MS);
        waitedMs += RETRY_BUSY_MS;
      }
    }
    return true;
  }
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

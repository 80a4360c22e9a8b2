import type { ResetCode } from "../../link/messages.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";

const WINDOW_BYTES = 256 * 1024;

/**
 * A link stream without a link: records what is sent, and lets a test play the other end. As strict as a link: it
 * throws when credit is given back twice, and tells nobody anything after an end or a reset.
 */
export class FakeStream implements LinkStream {
  readonly id = 2;
  handler: StreamHandler = NOBODY;

  readonly interims: string[] = [];
  accepted: { head: string; end: boolean } | undefined;
  /** What was accepted is bound to the connection of the visitor. */
  bound = false;
  /** Each write by itself. */
  readonly chunks: Buffer[] = [];
  writtenBytes = 0;
  readonly datagrams: Buffer[] = [];
  /** Datagrams that `send` did not take. */
  dropped = 0;
  ended = false;
  trailers: string | undefined;
  /** How this end reset it. */
  wasReset: { code: ResetCode; detail: string } | undefined;
  /** Data that has not been given back with `consumed`. */
  unreadBytes = 0;
  /** Everything that was called, in order. */
  readonly calls: string[] = [];

  #stalled = false;
  #owesDrained = false;
  #otherEnded = false;
  #failed = false;
  readonly #waiting = new Set<() => void>();

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get over(): boolean {
    return this.#failed || this.wasReset !== undefined || (this.ended && this.#otherEnded);
  }

  // What the code under test calls.

  accept(head: Buffer, end = false, bound = false): void {
    if (this.over || this.accepted) return;
    this.bound = bound;
    this.accepted = { head: head.toString("latin1"), end };
    this.ended = end;
    this.#called("accept");
  }

  interim(head: Buffer): void {
    if (this.over || this.accepted) return;
    this.interims.push(head.toString("latin1"));
    this.#called("interim");
  }

  write(chunk: Buffer): boolean {
    if (this.over || this.ended) return true;
    if (!this.accepted) throw new Error("data before the head");
    this.chunks.push(Buffer.from(chunk));
    this.writtenBytes += chunk.length;
    this.#called("write");
    this.#owesDrained ||= this.#stalled;
    return !this.#stalled;
  }

  send(datagram: Buffer): boolean {
    if (this.over || this.ended) return false;
    if (this.#stalled) this.dropped++;
    else this.datagrams.push(Buffer.from(datagram));
    this.#called("send");
    return !this.#stalled;
  }

  end(trailers?: Buffer): void {
    if (this.over || this.ended) return;
    this.ended = true;
    this.trailers = trailers?.toString("latin1");
    this.#called("end");
  }

  reset(code: ResetCode, detail = ""): void {
    if (this.over) return;
    this.wasReset = { code, detail };
    this.#called(`reset ${code}`);
  }

  consumed(bytes: number): void {
    if (bytes > this.unreadBytes) throw new Error("credit given back for bytes that never came");
    this.unreadBytes -= bytes;
    this.#called("consumed");
  }

  // What a test plays.

  /** Data from the other end; more than a window of it unread is the test's mistake. */
  feed(data: Buffer | string): void {
    if (this.over) return;
    if (this.#otherEnded) throw new Error("data after the end");
    const chunk = Buffer.from(data as string, "latin1");
    this.unreadBytes += chunk.length;
    if (this.unreadBytes > WINDOW_BYTES) throw new Error("more data than credit");
    this.handler.data(chunk);
    this.#wake();
  }

  /** A datagram from the other end. */
  feedDatagram(datagram: Buffer): void {
    if (this.over) return;
    this.unreadBytes += datagram.length;
    this.handler.datagram!(datagram);
    this.#wake();
  }

  /** Feeds any amount, as credit comes; stops when the stream is over. */
  async feedAll(data: Buffer): Promise<void> {
    for (let at = 0; at < data.length && !this.over; at += 65_536) {
      await this.until(() => this.over || this.unreadBytes <= WINDOW_BYTES - 65_536);
      this.feed(data.subarray(at, at + 65_536));
    }
  }

  finish(trailers?: string): void {
    if (this.over) return;
    this.#otherEnded = true;
    this.handler.end(trailers === undefined ? undefined : Buffer.from(trailers, "latin1"));
    this.#called("other end");
  }

  fail(code: StreamFailure = "CANCELLED", detail = "the visitor has gone"): void {
    if (this.over) return;
    this.#failed = true;
    this.handler.reset(code, detail);
    this.#called("other reset");
  }

  /** From now on `write` asks for a pause, and `send` drops. */
  stall(): void {
    this.#stalled = true;
  }

  unstall(): void {
    this.#stalled = false;
    if (!this.#owesDrained || this.over) return;
    this.#owesDrained = false;
    this.handler.drained();
  }

  /** Waits until something that was called or fed makes the condition true. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!condition()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  #called(name: string): void {
    this.calls.push(name);
    this.#wake();
  }

  #wake(): void {
    for (const check of this.#waiting) check();
  }
}

const NOBODY: StreamHandler = {
  accepted: unexpected,
  interim: unexpected,
  data: unexpected,
  end: unexpected,
  reset: unexpected,
  drained: unexpected,
};

function unexpected(): never {
  throw new Error("nobody has set this stream's handler");
}

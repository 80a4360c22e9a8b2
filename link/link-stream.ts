import { chunkHeader, DATAGRAM, END, MAX_CHUNK_BYTES, TRAILERS } from "./chunks.ts";
import { ReceiveWindow, type WindowBudget } from "./credit.ts";
import { type DatagramBudget, DatagramQueue } from "./datagram-queue.ts";
import { TunnelError } from "./errors.ts";
import type { Accept, Kind, Open, ResetCode } from "./messages.ts";
import type { ChunkSource, SendQueue } from "./send-queue.ts";
import { SILENT, type LinkStream, type StreamFailure, type StreamHandler } from "./stream.ts";
import type { Holding, UnreadBudget, UnreadHolder } from "./unread-budget.ts";

/** A writer is asked to pause when this much of its stream waits for its turn or for credit. */
const QUEUED_BYTES = 64 * 1024;
/** The same, while too much waits in the whole process. */
const PRESSED_QUEUED_BYTES = 16 * 1024;
/** What a chunk takes that waits to be sent, beside its bytes; measured for 200,000 chunks of one byte that a socket read: 536. */
const QUEUED_CHUNK_BYTES = 512;
/** What a chunk takes that waits in a socket, beside its bytes; measured: 410 in a plain one, 750 in an HTTP request. */
const WAITING_CHUNK_BYTES = 768;

/** How many times its own size a chunk that waits may keep in memory, without being counted for it. */
const PINNED_TIMES = 4;
const PRESSED_PINNED_TIMES = 1.25;

/** What a stream uses of the link that it belongs to. */
export interface StreamOwner {
  readonly queue: SendQueue;
  readonly windows: WindowBudget;
  readonly unread: UnreadBudget;
  readonly datagrams: DatagramBudget;
  /** The stream is over; its id means nothing any more. */
  forget(stream: MuxStream): void;
  /** Runs a handler's callback, on a link that is over too; what it throws ends the link. */
  guard(callback: () => void): void;
}

/** A stream of a link. The link calls the `receive…` methods with what the other end says. */
export class MuxStream implements LinkStream, ChunkSource, Pick<UnreadHolder, "shed"> {
  readonly id: number;
  handler: StreamHandler;
  sendHolding: Holding | undefined;
  queuedBytes = 0;

  readonly #owner: StreamOwner;
  readonly #window: ReceiveWindow;
  #sending: "open" | "ending" | "ended" = "open";
  #receiving: "head" | "open" | "ended";
  #accepted: boolean;
  #over = false;
  #completeBehindEnd = false;

  #credit: number;
  #queue: Buffer[] | undefined;
  /** How much of its first chunk has been sent, which stays in memory with the rest. */
  #sentOfFirst = 0;
  /** In place of `#queue`, for a stream of kind UDP. */
  readonly #datagrams: DatagramQueue | undefined;
  #trailers: Buffer | undefined;
  #paused = false;
  /** The head that may still be unsent, so that an end right behind it can be folded into it. */
  #head: Open | Accept | undefined;
  #headBatch = -1;

  constructor(options: {
    id: number;
    kind: Kind;
    owner: StreamOwner;
    /** Whether this end opened the stream. */
    opener: boolean;
    /** What it may send at first. */
    credit: number;
    /** What the other end may send at first; left out: what it was told in Hello or Welcome. */
    windowBytes?: number | undefined;
    handler: StreamHandler;
  }) {
    this.id = options.id;
    this.handler = options.handler;
    this.#owner = options.owner;
    this.#credit = options.credit;
    if (options.kind === "UDP") this.#datagrams = new DatagramQueue(options.owner.datagrams);
    this.#window = new ReceiveWindow({
      connection: options.owner.windows,
      process: options.owner.unread,
      windowBytes: options.windowBytes,
      stream: this,
    });
    this.#accepted = options.opener;
    this.#receiving = options.opener ? "head" : "open";
  }

  // What the program does with the stream.

  /** Sends the head that opens the stream; called once, by the link. */
  open(open: Open): void {
    this.#sendHead(open);
    this.#owner.queue.control({ message: "open", open });
    if (open.end) this.#endSending();
  }

  accept(head: Buffer, end = false, bound = false): void {
    if (this.#over || this.#accepted) return;
    this.#accepted = true;
    const accept = { stream: this.id, head, end: false, bound };
    this.#sendHead(accept);
    this.#owner.queue.control({ message: "accept", accept });
    if (end) this.end();
    this.#owner.queue.ready(this, 0);
  }

  interim(head: Buffer): void {
    if (this.#over || this.#accepted) return;
    this.#owner.queue.control({ message: "interim", interim: { stream: this.id, head } });
  }

  write(chunk: Buffer): boolean {
    if (this.#over || this.#sending !== "open") return true;
    const lagging = this.queuedBytes > 0;
    if (chunk.length > 0) {
      if (this.#queue) this.#queue.push(chunk);
      else this.#queue = [chunk];
      this.queuedBytes += chunk.length;
      this.#owner.queue.ready(this, chunk.length);
    }
    const isFull = this.#queuedMemory >= this.#queueLimit;
    const goOn = !isFull && !this.#owner.queue.full;
    // Most of what is written leaves at once, and is not worth counting.
    const leaves = goOn && !lagging && this.#accepted && this.#credit >= this.queuedBytes;
    if (!leaves) this.#countQueued();
    if (goOn || this.#over) return true;
    this.#paused = true;
    if (!isFull) this.#owner.queue.wait(this);
    return false;
  }

  send(datagram: Buffer): boolean {
    if (this.#over || this.#sending !== "open" || !this.#datagrams?.push(datagram)) return false;
    this.#owner.queue.ready(this, 0);
    return true;
  }

  end(trailers?: Buffer): void {
    if (this.#over || this.#sending !== "open") return;
    if (trailers && trailers.length > MAX_CHUNK_BYTES) {
      this.reset("INTERNAL", `a trailer section of ${trailers.length} bytes does not fit a chunk`);
      return;
    }
    const nothingWaits = this.queuedBytes === 0 && !this.#datagrams?.first;
    if (!trailers && nothingWaits && this.#head && this.#headBatch === this.#owner.queue.batch) {
      this.#head.end = true;
      this.#endSending();
      return;
    }
    this.#sending = "ending";
    this.#trailers = trailers;
    this.#owner.queue.ready(this, 0);
  }

  reset(code: ResetCode, detail = ""): void {
    if (this.#over) return this.#window.close();
    // It says that the answer is whole, so it must not overtake it.
    if (code === "COMPLETE" && this.#sending === "ending") {
      this.#completeBehindEnd = true;
      this.handler = SILENT;
      return;
    }
    this.#finish();
    this.#owner.queue.control({ message: "reset", reset: { stream: this.id, code, detail } });
  }

  consumed(bytes: number): void {
    if (this.#over) return this.#consumedBehindEnd(bytes);
    const credit = this.#window.consumed(bytes);
    if (credit > 0) {
      this.#owner.queue.control({ message: "credit", credit: { stream: this.id, bytes: credit } });
    }
  }

  // What the link tells the stream.

  receiveAccept(accept: Accept): void {
    if (this.#receiving !== "head") throw violation(this.id, "an answer that nobody waits for");
    this.#receiving = "open";
    this.handler.accepted(accept.head, accept.bound === true);
    if (accept.end) this.receiveEnd(undefined);
  }

  receiveInterim(head: Buffer): void {
    if (this.#receiving !== "head") throw violation(this.id, "an interim answer behind the final one");
    this.handler.interim(head);
  }

  /** Counts the head of an Open, which is kept to be sent, or sent again. `false`: it was one too many. */
  receiveHead(head: Buffer): boolean {
    this.#window.receivedHead(head.length);
    return !this.#over;
  }

  receiveData(chunk: Buffer): void {
    if (this.#over) return;
    if (this.#receiving !== "open") throw violation(this.id, `data while ${this.#receiving}`);
    if (this.#datagrams) throw violation(this.id, "bytes among datagrams");
    const lagging = this.#window.unreadBytes > 0;
    if (!this.#window.received(chunk.length)) throw violation(this.id, "more data than credit");
    const kept = this.#mayKeep(chunk, lagging) ? chunk : copyOf(chunk);
    this.handler.data(kept);
    this.#countWaiting(kept);
  }

  receiveDatagram(datagram: Buffer): void {
    if (this.#over) return;
    if (this.#receiving !== "open") throw violation(this.id, `a datagram while ${this.#receiving}`);
    if (!this.#datagrams) throw violation(this.id, "a datagram among bytes");
    const lagging = this.#window.unreadBytes > 0;
    if (!this.#window.receivedDatagram(datagram.length))
      throw violation(this.id, "a datagram without credit");
    const kept = this.#mayKeep(datagram, lagging) ? datagram : copyOf(datagram);
    this.handler.datagram?.(kept);
    this.#countWaiting(kept);
  }

  receiveEnd(trailers: Buffer | undefined): void {
    if (this.#over) return;
    if (this.#receiving !== "open") throw violation(this.id, `an end while ${this.#receiving}`);
    this.#receiving = "ended";
    this.#window.end();
    this.handler.end(trailers);
    this.#finishWhenEnded();
  }

  receiveCredit(bytes: number): void {
    if (this.#credit + bytes > Number.MAX_SAFE_INTEGER) throw violation(this.id, "credit without bounds");
    this.#credit += bytes;
    this.#owner.queue.ready(this, 0);
  }

  /** The stream ended early: the other end reset it, or the link broke. */
  fail(code: StreamFailure, detail: string): void {
    if (this.#over) return;
    this.#finish();
    this.handler.reset(code, detail);
  }

  /** What the stream holds is too much for the process. */
  shed(): void {
    const detail = "too much lies unread";
    if (this.#over) {
      this.#window.close();
    } else {
      this.#finish();
      this.#owner.queue.control({
        message: "reset",
        reset: { stream: this.id, code: "OVERLOADED", detail },
      });
    }
    this.#owner.guard(() => this.handler.reset("OVERLOADED", detail));
  }

  // What the send queue asks for.

  get sendable(): boolean {
    // What is written before the answer's head waits for it.
    if (!this.#accepted) return false;
    if (this.queuedBytes > 0 || this.#datagrams?.first) return this.#credit > 0;
    return this.#sending === "ending";
  }

  takeChunk(into: Buffer[]): number {
    this.#head = undefined;
    if (this.#datagrams) return this.#takeDatagrams(this.#datagrams, into);
    const headerAt = into.length;
    into.push(EMPTY);
    const bytes = this.#takePayload(Math.min(MAX_CHUNK_BYTES, this.#credit), into);
    this.#credit -= bytes;
    this.queuedBytes -= bytes;
    // Never more than was counted before, so that nobody is shed by this.
    if (this.sendHolding && this.sendHolding.heldBytes > 0) this.#countQueued();
    const last = this.queuedBytes === 0 && this.#sending === "ending" && !(bytes > 0 && this.#trailers);
    if (last && this.#trailers) {
      into[headerAt] = chunkHeader(this.id, END | TRAILERS, this.#trailers.length);
      into.push(this.#trailers);
    } else {
      into[headerAt] = chunkHeader(this.id, last ? END : 0, bytes);
    }
    if (last) this.#endSending();
    else if (this.#paused && this.#queuedMemory < this.#queueLimit / 2) this.#owner.queue.wait(this);
    return bytes;
  }

  woken(): void {
    if (this.#over || !this.#paused) return;
    this.#paused = false;
    this.#owner.guard(() => this.handler.drained());
  }

  /** Moves up to `limit` bytes of the queue to `into`; small writes share a chunk. */
  #takePayload(limit: number, into: Buffer[]): number {
    const queue = this.#queue;
    if (!queue) return 0;
    let bytes = 0;
    let whole = 0;
    while (whole < queue.length && bytes < limit) {
      const next = queue[whole]!;
      if (next.length <= limit - bytes) {
        into.push(next);
        bytes += next.length;
        whole++;
        this.#sentOfFirst = 0;
      } else {
        into.push(next.subarray(0, limit - bytes));
        queue[whole] = next.subarray(limit - bytes);
        this.#sentOfFirst += limit - bytes;
        bytes = limit;
      }
    }
    if (whole === queue.length) this.#queue = undefined;
    else if (whole > 0) queue.splice(0, whole);
    return bytes;
  }

  /** What waits takes about so much memory. */
  get #queuedMemory(): number {
    return this.#queue ? this.queuedBytes + this.#queue.length * QUEUED_CHUNK_BYTES : 0;
  }

  get #queueLimit(): number {
    return this.sendHolding?.pressed ? PRESSED_QUEUED_BYTES : QUEUED_BYTES;
  }

  #countQueued(): void {
    this.sendHolding?.set(this.#queuedMemory + this.#sentOfFirst);
  }

  #takeDatagrams(queue: DatagramQueue, into: Buffer[]): number {
    let room = MAX_CHUNK_BYTES;
    for (let next = queue.first; next && next.length <= room && this.#credit > 0; next = queue.first) {
      queue.shift();
      into.push(chunkHeader(this.id, DATAGRAM, next.length), next);
      room -= next.length;
      this.#credit -= next.length;
    }
    if (!queue.first && this.#sending === "ending") {
      into.push(chunkHeader(this.id, END, 0));
      this.#endSending();
    }
    return 0;
  }

  #sendHead(head: Open | Accept): void {
    this.#head = head;
    this.#headBatch = this.#owner.queue.batch;
  }

  #endSending(): void {
    this.#sending = "ended";
    if (this.#completeBehindEnd) this.reset("COMPLETE");
    this.#head = undefined;
    this.#finishWhenEnded();
  }

  /**
   * Whether a chunk may be handed on though it keeps its whole batch in memory until it is read. Copying all that might wait
   * costs a quarter of the exchanges per second (measured), so as long as there is room what waits is counted instead.
   */
  #mayKeep(chunk: Buffer, lagging: boolean): boolean {
    if (this.#owner.unread.pressed) return !pins(chunk, PRESSED_PINNED_TIMES);
    return !lagging || !pins(chunk, PINNED_TIMES);
  }

  /** Of what has just been handed on: whether it waits is seen by what has not been given back. */
  #countWaiting(kept: Buffer): void {
    if (this.#window.unreadBytes === 0) return;
    this.#window.waits(WAITING_CHUNK_BYTES + (pins(kept, PINNED_TIMES) ? kept.buffer.byteLength : 0));
  }

  #finishWhenEnded(): void {
    if (this.#sending !== "ended" || this.#receiving !== "ended") return;
    this.#finish(this.handler.readsBehindEnd === true && this.#window.unreadBytes > 0);
  }

  #consumedBehindEnd(bytes: number): void {
    // Closed, if somebody has not waited for it.
    if (this.#window.unreadBytes === 0) return;
    this.#window.consumed(bytes);
    if (this.#window.unreadBytes === 0) this.#window.close();
  }

  #finish(readsOn = false): void {
    if (this.#over) return;
    this.#over = true;
    this.#owner.queue.drop(this);
    this.#queue = undefined;
    this.#datagrams?.clear();
    this.queuedBytes = 0;
    this.#sentOfFirst = 0;
    this.sendHolding?.set(0);
    if (!readsOn) this.#window.close();
    this.#owner.forget(this);
  }
}

const EMPTY = Buffer.alloc(0);

/** Whether a chunk keeps a batch in memory, while it waits to be read, that is so many times as large. */
function pins(chunk: Buffer, times: number): boolean {
  return chunk.length * times < chunk.buffer.byteLength;
}

function copyOf(chunk: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(chunk.length);
  chunk.copy(copy);
  return copy;
}

function violation(stream: number, what: string): TunnelError {
  return new TunnelError("protocol", `stream ${stream}: ${what}`);
}

/**
 * What one end of a link has to send: control messages first, then data, one chunk a stream in turn. All that one
 * callback queues leaves in one batch, as soon as the callback is over; while a few batches are under way the next one
 * grows (measured: 3 times the requests per second of a message each, and 1.2 times those of a batch for each turn of the
 * event loop, since the other end has work sooner).
 */
import type { Carrier } from "./carrier.ts";
import type { Control } from "./messages.ts";

/** A batch is sent early when it has grown to this. */
const BATCH_BYTES = 128 * 1024;
/** Batches handed to the carrier and not yet written. */
const MAX_IN_FLIGHT = 4;
/** Control in one batch; with the data it stays well under gRPC's 4 MiB a message. */
const BATCH_CONTROL_BYTES = 1024 * 1024;
/** Streams are asked to pause while this much data is ready to go. */
const READY_BYTES = 1024 * 1024;
/** What a woken stream is expected to write at once: one read of a socket. */
const WAKE_BYTES = 64 * 1024;
/** An end that lets this much control pile up does not read any more; 1,000 heads of 32 KiB at once are fine. */
const MAX_CONTROL_BYTES = 64 * 1024 * 1024;
/** About what a control message takes in memory beside its head. */
const CONTROL_OVERHEAD_BYTES = 256;

export interface ChunkSource {
  /** Bytes that wait in the source, those without credit too. Not datagrams: nobody is to pause for what may be dropped. */
  readonly queuedBytes: number;
  /** Whether `takeChunk` has something to give. */
  readonly sendable: boolean;
  /**
   * Appends what it sends in its turn, a chunk, or datagrams of no more than one's size, with headers; returns how many of
   * `queuedBytes` it took.
   */
  takeChunk(into: Buffer[]): number;
  /** There is room in the queue again, after `full` was seen. */
  woken(): void;
}

export class SendQueue {
  readonly #carrier: Carrier;
  readonly #onStuck: () => void;
  #control: Control[] = [];
  #controlBytes = 0;
  /** Sources with something sendable, in turn. */
  readonly #ring = new Set<ChunkSource>();
  #readyBytes = 0;
  readonly #waiting = new Set<ChunkSource>();
  #inFlight = 0;
  #scheduled = false;
  #closed = false;
  #onIdle: (() => void) | undefined;
  /** The number of the batch that is being filled. */
  batch = 0;
  /** Batches that have left this process. */
  written = 0;

  /** `onStuck` is told when the other end has stopped reading altogether. */
  constructor(carrier: Carrier, onStuck: () => void) {
    this.#carrier = carrier;
    this.#onStuck = onStuck;
  }

  /** Whether a source that is about to write more should wait for `woken`. */
  get full(): boolean {
    return this.#readyBytes >= READY_BYTES;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  control(message: Control): void {
    if (this.#closed) return;
    this.#control.push(message);
    this.#controlBytes += controlBytes(message);
    if (this.#controlBytes <= MAX_CONTROL_BYTES) {
      this.#schedule();
      return;
    }
    this.close();
    // Not at once: whoever said this does not expect the link to end under its hands.
    setImmediate(this.#onStuck);
  }

  /** The source has become sendable, or has `grownBytes` more queued. */
  ready(source: ChunkSource, grownBytes: number): void {
    if (this.#closed || !source.sendable) return;
    if (this.#ring.has(source)) {
      this.#readyBytes += grownBytes;
    } else {
      this.#ring.add(source);
      this.#readyBytes += source.queuedBytes;
    }
    if (this.#readyBytes >= BATCH_BYTES && this.#inFlight < MAX_IN_FLIGHT) this.#flush();
    else this.#schedule();
  }

  /** Forgets what the source has queued. */
  drop(source: ChunkSource): void {
    if (this.#ring.delete(source)) this.#readyBytes -= source.queuedBytes;
    this.#waiting.delete(source);
    if (this.#waiting.size > 0) this.#schedule();
  }

  /** Asks for `woken` once the queue has room. */
  wait(source: ChunkSource): void {
    this.#waiting.add(source);
  }

  /** Calls back once everything queued has left; nothing is sent from then on. */
  whenIdle(callback: () => void): void {
    this.#onIdle = callback;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#control = [];
    this.#ring.clear();
    this.#waiting.clear();
    this.#readyBytes = 0;
    this.#onIdle = undefined;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // With all places taken nothing can leave, but a writer may have to be woken.
    if (this.#inFlight < MAX_IN_FLIGHT) process.nextTick(this.#turn);
    else setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    if (this.#closed) return;
    this.#flush();
    this.#wake();
    if (this.#onIdle && this.#inFlight === 0 && this.#control.length === 0 && this.#ring.size === 0) {
      const onIdle = this.#onIdle;
      this.close();
      onIdle();
    }
  };

  readonly #onWritten = (): void => {
    this.#inFlight--;
    this.written++;
    // Not flushed here: more may yet be said in this turn.
    if (this.#control.length > 0 || this.#ring.size > 0 || this.#waiting.size > 0 || this.#onIdle)
      this.#schedule();
  };

  #flush(): void {
    while (this.#inFlight < MAX_IN_FLIGHT && (this.#control.length > 0 || this.#ring.size > 0)) {
      const control = this.#takeControl();
      // Data never passes control that was said before it.
      const data = this.#control.length === 0 ? this.#takeData() : [];
      // The last chunk of a stream can be what somebody waited for to close the link.
      if (this.#closed) return;
      this.batch++;
      this.#inFlight++;
      this.#carrier.send({ control, data }, this.#onWritten);
    }
  }

  #takeControl(): Control[] {
    if (this.#controlBytes <= BATCH_CONTROL_BYTES) {
      const all = this.#control;
      this.#control = [];
      this.#controlBytes = 0;
      return all;
    }
    let bytes = 0;
    let count = 0;
    while (count < this.#control.length && bytes < BATCH_CONTROL_BYTES) {
      bytes += controlBytes(this.#control[count]!);
      count++;
    }
    this.#controlBytes -= bytes;
    return this.#control.splice(0, count);
  }

  #takeData(): Buffer[] {
    const data: Buffer[] = [];
    let bytes = 0;
    for (const source of this.#ring) {
      if (bytes >= BATCH_BYTES) break;
      // Deleted and added again, it stands last.
      this.#ring.delete(source);
      const from = data.length;
      this.#readyBytes -= source.takeChunk(data);
      for (let i = from; i < data.length; i++) bytes += data[i]!.length;
      if (source.sendable) this.#ring.add(source);
      else this.#readyBytes -= source.queuedBytes;
    }
    return data;
  }

  /** Wakes as many waiting sources as there is room for; those that turn out to have nothing give way next turn. */
  #wake(): void {
    let room = READY_BYTES - this.#readyBytes;
    for (const source of this.#waiting) {
      if (room <= 0) break;
      room -= WAKE_BYTES;
      this.#waiting.delete(source);
      source.woken();
    }
    if (this.#waiting.size === 0 || this.#inFlight > 0 || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }
}

function controlBytes(control: Control): number {
  switch (control.message) {
    case "open":
      return CONTROL_OVERHEAD_BYTES + control.open.head.length;
    case "accept":
      return CONTROL_OVERHEAD_BYTES + control.accept.head.length;
    case "interim":
      return CONTROL_OVERHEAD_BYTES + control.interim.head.length;
    case "reset":
      return CONTROL_OVERHEAD_BYTES + control.reset.detail.length;
    default:
      return CONTROL_OVERHEAD_BYTES;
  }
}

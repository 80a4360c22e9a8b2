/**
 * Credit: how much the other end may send before what it sent has been read. Each stream has a window; it grows
 * while its reader keeps up, so that distance does not slow it, within a budget that all streams of a
 * connection share, and shrinks while too much lies unread: on its connection, or in the whole process (unread-budget.ts).
 */
import { Holding, type UnreadBudget, type UnreadHolder } from "./unread-budget.ts";

/** What a stream may send before its first credit: a page with its pictures passes without waiting for any. */
export const INITIAL_WINDOW_BYTES = 256 * 1024;
/** As much as an HTTP/2 window has: 80 MB/s at 100 ms round trip (measured: 31 with 4 MiB, 61 with 8). */
export const MAX_WINDOW_BYTES = 16 * 1024 * 1024;
/** What it may be with many streams that have grown: 30 MB/s at 100 ms; more brought nothing over loopback. */
export const CROWDED_WINDOW_BYTES = 4 * 1024 * 1024;
/** What a stream keeps whatever the pressure: most pages pass in a round trip or two, and 160 KB/s at 100 ms. */
export const MIN_WINDOW_BYTES = 16 * 1024;
/** How far the windows of one connection may grow together beyond their initial size. */
const GROWTH_BUDGET_BYTES = 64 * 1024 * 1024;
/** Of that, what is left to those that are not yet as large as in a crowd. */
const GROWTH_RESERVE_BYTES = 16 * 1024 * 1024;
/** With more than this unread on a connection, windows shrink back to their initial size. */
const UNREAD_BUDGET_BYTES = 32 * 1024 * 1024;

/** Shared by the streams of one connection. */
export class WindowBudget {
  growthLeftBytes = GROWTH_BUDGET_BYTES;
  unreadBytes = 0;
}

export class ReceiveWindow {
  readonly #connection: WindowBudget;
  /** What the process's budget counts for this stream. */
  readonly #holding: Holding;
  #windowBytes: number;
  /** What the other end may still send. */
  #creditBytes: number;
  #unreadBytes = 0;
  /** What the unread bytes take in memory beside themselves; goes as they are read, in proportion. */
  #overheadBytes = 0;
  #headBytes = 0;
  /** Consumed, not yet given back. */
  #owedBytes = 0;
  #ended = false;

  constructor(options: {
    connection: WindowBudget;
    process: UnreadBudget;
    /** What the other end has been promised. */
    windowBytes?: number | undefined;
    /** Told to end, and to close its window, when the process has no room for what it holds. */
    stream: Pick<UnreadHolder, "shed">;
  }) {
    this.#connection = options.connection;
    this.#holding = new Holding(options.process, options.stream);
    this.#windowBytes = this.#creditBytes = options.windowBytes ?? INITIAL_WINDOW_BYTES;
  }

  get heldBytes(): number {
    return this.#holding.heldBytes;
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Counts bytes that arrived. `false`: the other end sent more than it had credit for. */
  received(bytes: number): boolean {
    if (bytes > this.#creditBytes) return false;
    this.#take(bytes);
    return true;
  }

  /** Counts a datagram that arrived; it cannot be cut, so some credit is enough for all of it. `false`: there was none. */
  receivedDatagram(bytes: number): boolean {
    if (this.#creditBytes <= 0) return false;
    this.#take(bytes);
    return true;
  }

  /**
   * What was received was not passed on at once: from now on the process counts it, and what it takes in memory beside
   * itself. The stream may be shed before this returns.
   */
  waits(overheadBytes: number): void {
    this.#overheadBytes += overheadBytes;
    this.#hold();
  }

  /** Counts the head that the other end opened the stream with, until `close`. The stream may be shed before this returns. */
  receivedHead(bytes: number): void {
    this.#headBytes = bytes;
    this.#hold();
  }

  /** Counts bytes that were passed on. Returns the credit to send now: 0 until a quarter of the window is owed. */
  consumed(bytes: number): number {
    if (this.heldBytes > 0) this.#release(bytes);
    this.#unreadBytes -= bytes;
    this.#connection.unreadBytes -= bytes;
    this.#owedBytes += bytes;
    if (this.#ended || this.#owedBytes < this.#windowBytes / 4) return 0;
    let grant = this.#owedBytes;
    this.#owedBytes = 0;
    if (this.#holding.pressed) grant -= this.#shrink(grant, MIN_WINDOW_BYTES);
    else if (this.#connection.unreadBytes > UNREAD_BUDGET_BYTES)
      grant -= this.#shrink(grant, INITIAL_WINDOW_BYTES);
    else if (
      this.#connection.growthLeftBytes < GROWTH_RESERVE_BYTES &&
      this.#windowBytes > CROWDED_WINDOW_BYTES
    )
      grant -= this.#shrink(grant, CROWDED_WINDOW_BYTES);
    else if (this.#unreadBytes <= this.#windowBytes / 4) grant += this.#grow();
    this.#creditBytes += grant;
    return grant;
  }

  /** Nothing more arrives: gives back what the window had grown by. What is unread still counts. */
  end(): void {
    this.#ended = true;
    this.#resize(Math.min(this.#windowBytes, INITIAL_WINDOW_BYTES));
  }

  /** Gives back all that the stream holds of the shared budgets. */
  close(): void {
    this.end();
    this.#connection.unreadBytes -= this.#unreadBytes;
    this.#unreadBytes = this.#overheadBytes = this.#headBytes = 0;
    this.#holding.set(0);
  }

  #take(bytes: number): void {
    this.#creditBytes -= bytes;
    this.#unreadBytes += bytes;
    this.#connection.unreadBytes += bytes;
  }

  #hold(): void {
    this.#holding.set(this.#unreadBytes + this.#overheadBytes + this.#headBytes);
  }

  /** Called before `bytes` of what is unread are taken off. */
  #release(bytes: number): void {
    this.#overheadBytes -= Math.ceil((this.#overheadBytes * bytes) / this.#unreadBytes);
    this.#holding.touch();
    // What has just been received, and is passed on at once, was never counted.
    const left = this.#unreadBytes - bytes + this.#overheadBytes + this.#headBytes;
    if (left < this.heldBytes) this.#holding.set(left);
  }

  #grow(): number {
    const grown = Math.min(this.#windowBytes * 2, MAX_WINDOW_BYTES);
    const reserveBytes = grown > CROWDED_WINDOW_BYTES ? GROWTH_RESERVE_BYTES : 0;
    const growth = beyondInitial(grown) - beyondInitial(this.#windowBytes);
    if (growth + reserveBytes > this.#connection.growthLeftBytes) return 0;
    return this.#resize(grown);
  }

  #shrink(atMost: number, floorBytes: number): number {
    const shrinkage = Math.min(atMost, this.#windowBytes - floorBytes);
    return shrinkage > 0 ? -this.#resize(this.#windowBytes - shrinkage) : 0;
  }

  /** Returns by how much the window has grown. */
  #resize(bytes: number): number {
    const growth = bytes - this.#windowBytes;
    this.#connection.growthLeftBytes -= beyondInitial(bytes) - beyondInitial(this.#windowBytes);
    this.#windowBytes = bytes;
    return growth;
  }
}

/** What a window of this size takes of its connection's budget. */
function beyondInitial(windowBytes: number): number {
  return Math.max(0, windowBytes - INITIAL_WINDOW_BYTES);
}

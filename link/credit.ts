/**
 * Credit: how much the other end may send before what it sent has been read. Each stream has a window; it grows
 * while its reader keeps up, so that distance does not slow it, within a budget that all streams of a
 * connection share.
 */

/** What a stream may send before its first credit: a page with its pictures passes without waiting for any. */
export const INITIAL_WINDOW_BYTES = 256 * 1024;
/** Enough for 30 MB/s at 100 ms round trip; more brought nothing over loopback. */
export const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
/** How far the windows of one connection may grow together beyond their initial size. */
const GROWTH_BUDGET_BYTES = 64 * 1024 * 1024;
/** With more than this unread on a connection, windows shrink back to their initial size. */
const UNREAD_BUDGET_BYTES = 32 * 1024 * 1024;

/** Shared by the streams of one connection. */
export class WindowBudget {
  growthLeftBytes = GROWTH_BUDGET_BYTES;
  unreadBytes = 0;
}

export class ReceiveWindow {
  readonly #budget: WindowBudget;
  #windowBytes = INITIAL_WINDOW_BYTES;
  /** What the other end may still send. */
  #creditBytes = INITIAL_WINDOW_BYTES;
  #unreadBytes = 0;
  /** Consumed, not yet given back. */
  #owedBytes = 0;
  #ended = false;

  constructor(budget: WindowBudget) {
    this.#budget = budget;
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Counts bytes that arrived. `false`: the other end sent more than it had credit for. */
  received(bytes: number): boolean {
    if (bytes > this.#creditBytes) return false;
    this.#creditBytes -= bytes;
    this.#unreadBytes += bytes;
    this.#budget.unreadBytes += bytes;
    return true;
  }

  /** Counts bytes that were passed on. Returns the credit to send now: 0 until a quarter of the window is owed. */
  consumed(bytes: number): number {
    this.#unreadBytes -= bytes;
    this.#budget.unreadBytes -= bytes;
    this.#owedBytes += bytes;
    if (this.#ended || this.#owedBytes < this.#windowBytes / 4) return 0;
    let grant = this.#owedBytes;
    this.#owedBytes = 0;
    if (this.#budget.unreadBytes > UNREAD_BUDGET_BYTES) grant -= this.#shrink(grant);
    else if (this.#unreadBytes <= this.#windowBytes / 4) grant += this.#grow();
    this.#creditBytes += grant;
    return grant;
  }

  /** Nothing more arrives: gives back what the window had grown by. What is unread still counts. */
  end(): void {
    this.#ended = true;
    this.#budget.growthLeftBytes += this.#windowBytes - INITIAL_WINDOW_BYTES;
    this.#windowBytes = INITIAL_WINDOW_BYTES;
  }

  /** Gives back all that the stream holds of the shared budget. */
  close(): void {
    this.end();
    this.#budget.unreadBytes -= this.#unreadBytes;
    this.#unreadBytes = 0;
  }

  #grow(): number {
    const growth = Math.min(this.#windowBytes, MAX_WINDOW_BYTES - this.#windowBytes);
    if (growth > this.#budget.growthLeftBytes) return 0;
    this.#budget.growthLeftBytes -= growth;
    this.#windowBytes += growth;
    return growth;
  }

  #shrink(atMost: number): number {
    const shrinkage = Math.min(atMost, this.#windowBytes - INITIAL_WINDOW_BYTES);
    this.#budget.growthLeftBytes += shrinkage;
    this.#windowBytes -= shrinkage;
    return shrinkage;
  }
}

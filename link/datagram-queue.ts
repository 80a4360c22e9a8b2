/** Datagrams that wait for their turn or for credit. What does not fit is dropped: a late datagram is worth less than the next. */
import { MAX_DATAGRAM_BYTES } from "./chunks.ts";

/** As many as a burst of QUIC or of a game has; a second's worth of 3 Mbit/s. */
const MAX_DATAGRAMS = 256;
/** Sixteen of the largest, and a tenth of a second at 10 MB/s: what waits longer delays those behind it in vain. */
const MAX_BYTES = 1024 * 1024;
/** Of all streams of a connection together, so that a flood from thousands of addresses takes no more. */
const BUDGET_BYTES = 32 * 1024 * 1024;
/** What part of what is free one queue may have. */
const SHARE = 1 / 8;
/** What a waiting datagram takes in memory beside its bytes; measured for 200,000 empty ones: 535. */
const OVERHEAD_BYTES = 512;

/** What waits on all streams of one connection. */
export class DatagramBudget {
  freeBytes = BUDGET_BYTES;
}

/** What waits on one stream. */
export class DatagramQueue {
  readonly #budget: DatagramBudget;
  readonly #datagrams: Buffer[] = [];
  #bytes = 0;

  constructor(budget: DatagramBudget) {
    this.#budget = budget;
  }

  get first(): Buffer | undefined {
    return this.#datagrams[0];
  }

  [Symbol.iterator](): Iterator<Buffer> {
    return this.#datagrams[Symbol.iterator]();
  }

  /**
   * `false`: there is no room for it. How long a queue may become depends on what is free for all (the dynamic thresholds of
   * Choudhury and Hahne, 1998): long ones cannot shut out short ones, and together they stay within the budget.
   */
  push(datagram: Buffer): boolean {
    const bytes = datagram.length + OVERHEAD_BYTES;
    if (datagram.length > MAX_DATAGRAM_BYTES || this.#datagrams.length === MAX_DATAGRAMS) return false;
    if (this.#bytes + bytes > Math.min(MAX_BYTES, this.#budget.freeBytes * SHARE)) return false;
    this.#datagrams.push(datagram);
    this.#count(bytes);
    return true;
  }

  shift(): Buffer | undefined {
    const datagram = this.#datagrams.shift();
    if (datagram) this.#count(-datagram.length - OVERHEAD_BYTES);
    return datagram;
  }

  clear(): void {
    this.#datagrams.length = 0;
    this.#count(-this.#bytes);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.freeBytes -= bytes;
  }
}

import { MAX_DATAGRAM_BYTES } from "../../../link/chunks.ts";

/** For how long what nobody uses is saved up: a burst of packets passes, and nobody notices it as one of the tunnel. */
const SAVED_S = 0.1;

/** A bandwidth for what is dropped and not delayed. */
export class TokenBucket {
  readonly #bytesPerSecond: number;
  readonly #savedBytes: number;
  #bytes: number;
  #filledAt = performance.now();

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
    // On a slow tunnel too the largest datagram passes now and then.
    this.#savedBytes = this.#bytes = Math.max(bytesPerSecond * SAVED_S, MAX_DATAGRAM_BYTES);
  }

  /** Whether there is room for so many; if so, they are taken. */
  take(bytes: number): boolean {
    const now = performance.now();
    const earned = ((now - this.#filledAt) / 1_000) * this.#bytesPerSecond;
    this.#bytes = Math.min(this.#savedBytes, this.#bytes + earned);
    this.#filledAt = now;
    if (bytes > this.#bytes) return false;
    this.#bytes -= bytes;
    return true;
  }
}

import { setTimeout as sleep } from "node:timers/promises";

const FIRST_MS = 250;
const LONGEST_MS = 15_000;
/**
 * After an outage of 3 s, one client in 60,000 needs more than 12 s to come back; after 5 s, one in 2,000 (simulated). If waits
 * doubled, it would be one in 230, and one in 45.
 */
const GROWTH = 1.5;
/** Once a server has been there, however shortly. */
const EASED_MS = 1_000;

/**
 * Waits between tries: half as long again each time, and each wait random between nothing and all of it ("full
 * jitter"), so that the clients of a server that returns do not all come at once.
 */
export class Backoff {
  readonly #random: () => number;
  #nextMs = FIRST_MS;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  reset(): void {
    this.#nextMs = FIRST_MS;
  }

  /** After a success that may not last: soon, but not in a tight loop. */
  ease(): void {
    this.#nextMs = Math.min(this.#nextMs, EASED_MS);
  }

  /** The next wait in milliseconds; the one after it may be half as long again. */
  next(): number {
    const waitMs = Math.round(this.#random() * this.#nextMs);
    this.#nextMs = Math.min(LONGEST_MS, this.#nextMs * GROWTH);
    return waitMs;
  }

  /** Waits; ends early, without an error, when the signal is aborted. */
  async wait(waitMs: number, signal: AbortSignal): Promise<void> {
    await sleep(waitMs, undefined, { signal }).catch(() => {});
  }
}

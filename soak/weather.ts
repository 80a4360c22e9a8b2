import { setTimeout as sleep } from "node:timers/promises";

/** How soon after a fault everything must work again: a client tries again after a second or two, and at worst after eight. */
export const RECOVERY_MS = 12_000;

/** Whether a fault is about: what a visitor may see depends on it. */
export class Weather {
  /** Faults so far. What began in calm and ends in calm with the same number has met none. */
  faults = 0;
  #calm = true;

  get calm(): boolean {
    return this.#calm;
  }

  /** A fault, and the time after it in which its traces may show. */
  async storm(fault: () => Promise<void>, signal: AbortSignal): Promise<void> {
    this.faults++;
    this.#calm = false;
    await fault();
    await sleep(RECOVERY_MS, undefined, { signal });
    this.#calm = true;
  }
}

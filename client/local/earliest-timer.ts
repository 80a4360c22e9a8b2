/** One timer for many times: rings at the earliest that it was told, and then forgets all. Keeps no process alive. */
export class EarliestTimer {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;
  #atMs = Infinity;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** @param atMs by `performance.now()` */
  by(atMs: number): void {
    if (atMs >= this.#atMs) return;
    clearTimeout(this.#timer);
    this.#atMs = atMs;
    // It may be past by now, of which Node 24 warns.
    this.#timer = setTimeout(this.#onTime, Math.max(0, Math.ceil(atMs - performance.now())));
    this.#timer.unref();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#atMs = Infinity;
  }

  readonly #onTime = () => {
    this.#atMs = Infinity;
    this.#ring();
  };
}

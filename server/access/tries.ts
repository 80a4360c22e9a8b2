/** A token bucket, told by the one moment at which it will be full again. */
export class Tries {
  readonly #size: number;
  readonly #eachMs: number;
  #fullAt = -Infinity;

  /** So many tries at once, and then one each `eachMs`. */
  constructor(size: number, eachMs: number) {
    this.#size = size;
    this.#eachMs = eachMs;
  }

  /** Until there is a try to use; 0 if there is one. */
  waitMs(now: number): number {
    return Math.max(0, this.#fullAt - (this.#size - 1) * this.#eachMs - now);
  }

  use(now: number): void {
    this.#fullAt = Math.max(this.#fullAt, now) + this.#eachMs;
  }
}

/** Lets so many pass in one turn of the event loop, first come, first served. Whoever comes later waits for a later turn. */
export class Turnstile {
  readonly #perTurn: number;
  readonly #waiting: (() => void)[] = [];
  #left: number;
  #turning = false;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
    this.#left = perTurn;
  }

  /** Undefined: pass at once. */
  pass(): Promise<void> | undefined {
    this.#turn();
    if (this.#left === 0) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#left--;
    return undefined;
  }

  #turn(): void {
    if (this.#turning) return;
    this.#turning = true;
    setImmediate(() => {
      this.#turning = false;
      const next = this.#waiting.splice(0, this.#perTurn);
      this.#left = this.#perTurn - next.length;
      if (next.length > 0) this.#turn();
      for (const pass of next) pass();
    });
  }
}

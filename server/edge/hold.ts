import type { Route } from "../routing/route.ts";

/** A visitor that waits for its tunnel's client, which has just been lost, to come back. */
export class Hold {
  readonly #timer: NodeJS.Timeout;
  readonly #stopWaiting: () => void;

  /** Calls `back` or `tooLong`, once, and neither after `end`. */
  constructor(options: {
    whenBack: NonNullable<Route["whenBack"]>;
    ms: number;
    back: () => void;
    tooLong: () => void;
  }) {
    this.#stopWaiting = options.whenBack(() => {
      this.end();
      options.back();
    });
    this.#timer = setTimeout(() => {
      this.end();
      options.tooLong();
    }, options.ms);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#stopWaiting();
  }
}

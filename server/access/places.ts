import { Tally } from "../../runtime/tally.ts";

/** A bounded number of places: so many for each network, and so many in all. */
export class Places {
  readonly #taken = new Tally();
  readonly #perNetwork: number;
  readonly #inAll: number;

  constructor(perNetwork: number, inAll = Infinity) {
    this.#perNetwork = perNetwork;
    this.#inAll = inAll;
  }

  /** Takes a place; returns how to leave it, which may be called more than once. Undefined: none is free. */
  take(network: string): (() => void) | undefined {
    const taken = this.#taken;
    if (taken.total >= this.#inAll || taken.of(network) >= this.#perNetwork) return undefined;
    taken.add(network);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      taken.remove(network);
    };
  }
}

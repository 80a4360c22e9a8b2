/** A map of a bounded size: for each new entry beyond it, the one that was set longest ago goes. */
export class RecentMap<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  /** The one that was set longest ago first. */
  [Symbol.iterator](): Iterator<[K, V]> {
    return this.#entries.entries();
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): void {
    // A Map keeps the order in which keys were added.
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#size) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }
}

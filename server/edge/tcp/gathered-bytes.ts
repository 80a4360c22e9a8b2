const NOTHING = Buffer.alloc(0);

/** Bytes that come in pieces, in one buffer: each is copied a bounded number of times, however small the pieces are. */
export class GatheredBytes {
  #buffer = NOTHING;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What they take in memory: up to twice as much as they are. */
  get heldBytes(): number {
    return this.#buffer.length;
  }

  /** All so far; shows the same until more is added. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  add(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      // Outside of node's pool, of which a small one would keep a whole block.
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#buffer.length));
      this.bytes.copy(larger);
      this.#buffer = larger;
    }
    piece.copy(this.#buffer, this.#length);
    this.#length = length;
  }
}

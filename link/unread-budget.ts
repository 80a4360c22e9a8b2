/**
 * What lies unread in this process: what arrived on the streams of all links together, and whoever it is for has not taken yet.
 * Credit alone does not bound it, since every stream is given some unasked, and there may be many streams. On the server a second
 * one counts what visitors have sent, and no stream has taken yet.
 *
 * - Relaxed: streams get the window that suits their pace.
 * - Pressed, above half of the limit: new streams start with a small window, and others shrink to that as they are
 *   read (credit.ts). What was promised before may still come. Visitors are read no further than a quarter as far ahead
 *   (link-stream.ts).
 * - Exhausted, above the limit: streams and visitors are ended until there is room again, those first that hold much and have not
 *   been read for long. Never a link: its other streams may well be read.
 */

/** For a server of 1 GiB that serves other things too; 8,192 stalled visitors of the small window fit in its upper half. */
export const DEFAULT_UNREAD_LIMIT_BYTES = 256 * 1024 * 1024;

/** In how many steps the budget tells for how long a stream has not been read. */
const TICKS = 64;

/** What one stream holds. */
export interface UnreadHolder {
  readonly heldBytes: number;
  /** The budget's tick when something of it was last read, or when it began to wait. */
  readonly readTick: number;
  /** Ends the stream, and gives back all that it holds. */
  shed(): void;
}

/** Shared by all in a process that hold what others are to read. */
export class UnreadBudget {
  /** What all of them hold. */
  heldBytes = 0;
  /** Goes up with each 1/64 of the limit that came to wait: no clock is read for it, and it stays a small integer. */
  tick = 0;

  readonly #limitBytes: number;
  readonly #tickBytes: number;
  #untilTickBytes: number;
  readonly #pressedBytes: number;
  /** Making room takes a look at every stream, so it makes enough for many arrivals. */
  readonly #relievedBytes: number;
  readonly #holders = new Set<UnreadHolder>();
  readonly #onRelieved: ((shed: number) => void) | undefined;
  #relieving = false;

  /** @param onRelieved told whenever some had to be shed, and how many */
  constructor(limitBytes = DEFAULT_UNREAD_LIMIT_BYTES, onRelieved?: (shed: number) => void) {
    this.#onRelieved = onRelieved;
    this.#limitBytes = limitBytes;
    this.#tickBytes = this.#untilTickBytes = limitBytes / TICKS;
    this.#pressedBytes = limitBytes / 2;
    this.#relievedBytes = limitBytes - limitBytes / 8;
  }

  get pressed(): boolean {
    return this.heldBytes > this.#pressedBytes;
  }

  join(holder: UnreadHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: UnreadHolder): void {
    this.#holders.delete(holder);
  }

  /** Counts what a holder has taken on. It may be shed before this returns. */
  add(bytes: number): void {
    this.heldBytes += bytes;
    this.#untilTickBytes -= bytes;
    if (this.#untilTickBytes < 0) {
      this.#untilTickBytes = this.#tickBytes;
      this.tick++;
    }
    if (this.heldBytes > this.#limitBytes) this.#relieve();
  }

  giveBack(bytes: number): void {
    this.heldBytes -= bytes;
  }

  #relieve(): void {
    // What is shed may have things to say that are counted too.
    if (this.#relieving) return;
    this.#relieving = true;
    let shed = 0;
    try {
      const weighed = Array.from(this.#holders, (holder) => ({ holder, weight: this.#weight(holder) }));
      weighed.sort((a, b) => b.weight - a.weight);
      for (const { holder } of weighed) {
        if (this.heldBytes <= this.#relievedBytes) break;
        if (holder.heldBytes === 0) continue;
        holder.shed();
        shed++;
      }
    } finally {
      this.#relieving = false;
    }
    if (shed > 0) this.#onRelieved?.(shed);
  }

  /**
   * Who reads is spared even when a burst lies before it, since little arrives between two of its reads. After as much as the
   * whole limit it does not matter any more for how long nothing was read, only how much there is.
   */
  #weight({ heldBytes, readTick }: UnreadHolder): number {
    return heldBytes * Math.min(1 + this.tick - readTick, TICKS);
  }
}

/** What one party holds of a budget. */
export class Holding implements UnreadHolder {
  heldBytes = 0;
  readTick = 0;
  readonly #budget: UnreadBudget;
  readonly #party: Pick<UnreadHolder, "shed">;

  constructor(budget: UnreadBudget, party: Pick<UnreadHolder, "shed">) {
    this.#budget = budget;
    this.#party = party;
  }

  get pressed(): boolean {
    return this.#budget.pressed;
  }

  /** Says how much is held now. If it is more than before, the party may be shed before this returns. */
  set(bytes: number): void {
    const more = bytes - this.heldBytes;
    if (more === 0) return;
    if (this.heldBytes === 0) {
      this.readTick = this.#budget.tick;
      this.#budget.join(this);
    }
    this.heldBytes = bytes;
    if (more > 0) return this.#budget.add(more);
    this.touch();
    this.#budget.giveBack(-more);
    if (bytes === 0) this.#budget.leave(this);
  }

  /** Some of it has just been read. */
  touch(): void {
    this.readTick = this.#budget.tick;
  }

  shed(): void {
    this.#party.shed();
  }
}

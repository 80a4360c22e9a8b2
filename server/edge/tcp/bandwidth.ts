/**
 * What one turn pays for: as much as one read of a socket or one chunk of the link brings. With 16 KiB connections come to the end
 * of their chunks together, and go on together: ten with chunks of 64 KiB at 1 MB/s moved from 0.7 to 1.3 MB a second (measured).
 */
const TURN_BYTES = 64 * 1024;
/** For how long what nobody uses is saved up: enough for pauses of the event loop, too little to be noticed as a burst. */
const SAVED_MS = 50;
/** On a slow tunnel too a small page passes at once. */
const MIN_SAVED_BYTES = 16 * 1024;

/** One connection's part of a bandwidth. */
export interface Share {
  /** Told when all is paid after a `spend` that returned false. */
  onReady: () => void;
  /** Told of bytes for which `spend` returned false, as they are paid: of all of them in the end, before `onReady`. */
  onPaid: (bytes: number) => void;
  /**
   * Pays for bytes that have been read or passed on. `true`: they are paid; go on. `false`: they will be, so stop until `onReady`.
   * More may be spent all the same, and is owed too.
   */
  spend(bytes: number): boolean;
  /**
   * The connection is over: nothing is told any more, and nothing to be spent. What it owed is paid all the same, as if all who left
   * were one connection more.
   */
  leave(): void;
}

interface Account extends Share {
  owedBytes: number;
  isWaiting: boolean;
  /** What it pays for when its turn comes. */
  turnBytes: number;
  /** On the scale of `Bandwidth.#progress`: when its last turn would be over, or that for which it waits. */
  due: number;
}

/**
 * A limit in bytes per second that the connections of a tunnel share: bytes pass at once and are paid for afterwards, and who has
 * not paid does not go on. So it works alike in both directions:
 *
 * - From a visitor: a chunk is passed on and spent; at `false` the socket pauses until `onReady`.
 * - To a visitor: a chunk from the link is written and spent; at `true` it is `consumed` at once, otherwise as `onPaid` tells.
 *
 * Over a long time the rate is exact: within any span of time no more passes than the rate allows, what was saved up (50 ms'
 * worth, or 16 KiB if that is more), and one chunk for each connection. So in a second of 1 MB/s a connection with chunks of
 * 64 KiB gets at most 112 %, with chunks of 16 KiB 107 %; ten connections that begin in it get up to nine chunks more, and from
 * then on pass them one after the other. To a visitor a "chunk" is all that the link may bring before anything is consumed.
 *
 * Those who wait take turns by weighted fair queueing (Demers, Keshav and Shenker, SIGCOMM 1989), all with the same weight: the next
 * one is who would be done first if all of them were paid for bit by bit and alike. So all who want more than their share get
 * the same, however large their chunks are, and who wants less than that comes before them.
 */
export class Bandwidth {
  readonly #bytesPerMs: number;
  readonly #savedBytes: number;
  /** What can be paid for now. */
  #earnedBytes: number;
  #earnedAtMs = performance.now();
  /** How much has been paid for each of those who were waiting. */
  #progress = 0;
  /** By `due`; the first to come stands at the end. */
  readonly #waiting: Account[] = [];
  /** Owed by those who left. */
  #leftBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer is due. */
  #wakeAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
    this.#savedBytes = Math.max(MIN_SAVED_BYTES, SAVED_MS * this.#bytesPerMs);
    this.#earnedBytes = this.#savedBytes;
  }

  join(): Share {
    const account: Account = {
      onReady: nothing,
      onPaid: nothing,
      spend: (bytes) => this.#spend(account, bytes),
      leave: () => this.#leave(account),
      owedBytes: 0,
      isWaiting: false,
      turnBytes: 0,
      due: this.#progress,
    };
    return account;
  }

  #spend(account: Account, bytes: number): boolean {
    account.owedBytes += bytes;
    if (account.isWaiting) return false;
    this.#earn();
    const due = this.#dueOf(account, account.owedBytes);
    const isFirst = due < (this.#waiting.at(-1)?.due ?? Infinity);
    if (isFirst && account.owedBytes <= this.#earnedBytes) {
      account.due = due;
      this.#take(account, account.owedBytes, this.#waiting.length + 1);
      return true;
    }
    this.#wait(account);
    this.#schedule();
    return false;
  }

  #leave(account: Account): void {
    account.onReady = account.onPaid = nothing;
    if (!account.isWaiting) return;
    account.isWaiting = false;
    this.#waiting.splice(this.#waiting.indexOf(account), 1);
    this.#leftBytes += account.owedBytes;
    account.owedBytes = 0;
    this.#schedule();
  }

  #earn(): void {
    const nowMs = performance.now();
    this.#earnedBytes += (nowMs - this.#earnedAtMs) * this.#bytesPerMs;
    this.#earnedAtMs = nowMs;
    const first = this.#waiting.at(-1);
    if (!first) this.#payForThoseWhoLeft(Math.max(0, this.#earnedBytes));
    // On top of what is about to be paid, so that a timer may come late.
    this.#earnedBytes = Math.min(this.#earnedBytes, this.#savedBytes + (first?.turnBytes ?? 0));
  }

  #payForThoseWhoLeft(atMostBytes: number): void {
    const bytes = Math.min(atMostBytes, this.#leftBytes);
    this.#leftBytes -= bytes;
    this.#earnedBytes -= bytes;
  }

  /** Who wanted less than the others got is one turn ahead of them, and no more, however long that was. */
  #dueOf(account: Account, bytes: number): number {
    return Math.max(account.due, this.#progress - TURN_BYTES) + bytes;
  }

  #wait(account: Account): void {
    account.isWaiting = true;
    account.turnBytes = Math.min(account.owedBytes, TURN_BYTES);
    account.due = this.#dueOf(account, account.turnBytes);
    let [low, high] = [0, this.#waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#waiting[middle]!.due > account.due) low = middle + 1;
      else high = middle;
    }
    this.#waiting.splice(low, 0, account);
  }

  #take(account: Account, bytes: number, sharers: number): void {
    account.owedBytes -= bytes;
    this.#earnedBytes -= bytes;
    this.#progress += bytes / sharers;
    this.#payForThoseWhoLeft(bytes / sharers);
  }

  /** Pays for the turn of the one who is first, if enough was earned. */
  #pay(account: Account): boolean {
    const { turnBytes } = account;
    if (turnBytes > this.#earnedBytes) return false;
    this.#take(account, turnBytes, this.#waiting.length);
    this.#waiting.pop();
    account.isWaiting = false;
    if (account.owedBytes > 0) this.#wait(account);
    account.onPaid(turnBytes);
    // Told of it, it may have spent more.
    if (!account.isWaiting) account.onReady();
    return true;
  }

  readonly #wake = (): void => {
    this.#timer = undefined;
    this.#earn();
    for (let first = this.#waiting.at(-1); first && this.#pay(first);) first = this.#waiting.at(-1);
    this.#schedule();
  };

  /** One timer, for the one who is first, and none while nobody waits. */
  #schedule(): void {
    const first = this.#waiting.at(-1);
    if (!first) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      return;
    }
    const missingBytes = first.turnBytes - this.#earnedBytes;
    const wakeAtMs = this.#earnedAtMs + missingBytes / this.#bytesPerMs;
    // Never put off: among many small spends it would not come at all.
    if (this.#timer && this.#wakeAtMs <= wakeAtMs) return;
    clearTimeout(this.#timer);
    this.#wakeAtMs = wakeAtMs;
    // On a busy machine it may be past, of which Node 24 warns.
    this.#timer = setTimeout(this.#wake, Math.max(0, Math.ceil(wakeAtMs - performance.now())));
  }
}

function nothing(): void {}

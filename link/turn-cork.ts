import type { Socket } from "node:net";

/** What has gathered by then leaves before the turn ends. */
const MAX_HELD_BYTES = 512 * 1024;

/**
 * Lets what is written to a socket in one turn of the event loop leave in one write. A link hands bytes on in slices of 16 KiB
 * at most, and a system call for each would cost a good part of the speed.
 */
export class TurnCork {
  readonly #socket: Socket;
  #corked = false;
  #heldBytes = 0;
  #scheduled = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** To be called ahead of each write, with its length. */
  hold(bytes: number): void {
    if (this.#heldBytes + bytes > MAX_HELD_BYTES) this.release();
    if (!this.#corked) this.#socket.cork();
    this.#corked = true;
    this.#heldBytes += bytes;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(TurnCork.#turnOver, this);
  }

  /** Lets it leave now. */
  release(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#heldBytes = 0;
    this.#socket.uncork();
  }

  static readonly #turnOver = (cork: TurnCork): void => {
    cork.#scheduled = false;
    cork.release();
  };
}

import type { Socket } from "node:net";

/** How often an edge has its probes look: one clock for all of them. */
export const LOOK_MS = 1_000;
/** At every second look a socket is written to: first when it has been paused for one to two seconds, then every two. */
const LOOKS = 2;

const NOTHING = Buffer.alloc(0);

/**
 * Finds out whether a visitor has reset a connection that nobody reads: without a reader the system tells of no reset, but a
 * write fails, an empty one too, which sends nothing. What the visitor has sent before is lost then, as with any reset. Of a
 * visitor's mere end behind unread bytes there is nothing to be found out.
 */
export class ResetProbe {
  readonly #socket: Socket;
  /** How many looks in a row have found it paused. */
  #looks = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** To be called every `LOOK_MS`. A reset becomes the socket's "error". */
  look(): void {
    const { writable, writableLength } = this.#socket;
    // What waits to be written finds out by itself.
    if (!this.#socket.isPaused() || !writable || writableLength > 0) this.#looks = 0;
    else if (++this.#looks % LOOKS === 0) this.#socket.write(NOTHING);
  }
}

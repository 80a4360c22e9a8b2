import type { ResetCode } from "./messages.ts";
import type { Holding } from "./unread-budget.ts";

/** Why a stream ended early: the other end's code, or `LINK_LOST` when its connection broke. */
export type StreamFailure = ResetCode | "LINK_LOST";

/**
 * One visitor's bytes through a connection: a plain object, since the path of every request runs through it.
 * Every method may be called in any state; after the end or a reset they do nothing.
 */
export interface LinkStream {
  readonly id: number;
  /** Who is told what happens; may be replaced at any time. */
  handler: StreamHandler;
  /** Where what is written and waits to be sent is counted, as far as it takes memory; nowhere if left out. */
  sendHolding?: Holding | undefined;

  /**
   * Answers an open with a head; `end` says that no body follows. `bound`: this end keeps something for the visitor's connection,
   * and wants to hear of its end. For the end that did not open the stream.
   */
  accept(head: Buffer, end?: boolean, bound?: boolean): void;
  /** Sends a 1xx head. */
  interim(head: Buffer): void;
  /** Queues bytes. `false`: stop until the handler's `drained()`; the bytes are taken all the same. */
  write(chunk: Buffer): boolean;
  /**
   * Of kind UDP, instead of `write`: queues a datagram, which arrives whole or not at all. `false`: it was dropped, since too much
   * waits for its turn or for credit (datagram-queue.ts), or since it is larger than any of UDP.
   */
  send(datagram: Buffer): boolean;
  /** Ends this direction behind everything written, with a trailer section if there is one. */
  end(trailers?: Buffer): void;
  /**
   * Ends both directions at once, drops what is queued, and silences the handler. Only `COMPLETE` behind `end` waits until
   * everything written has left, since it says that the answer is whole.
   */
  reset(code: ResetCode, detail?: string): void;
  /** Gives credit back for bytes of `data` or `datagram` that have been passed on; until then they count as unread. */
  consumed(bytes: number): void;
}

/** Callbacks of a stream; each runs at once, in the order of events, and none after `reset`. */
export interface StreamHandler {
  /**
   * Bytes that still wait when both directions have ended go on counting as unread: the handler gives them back with
   * `consumed`, or calls `reset` once nobody will read them. It may be told `reset` until then. Left out: they count no more.
   */
  readonly readsBehindEnd?: true;
  /**
   * The other end's answer head; only for the end that opened the stream, once, before any data. `bound`: the other end wants to
   * hear of the end of the visitor's connection.
   */
  accepted(head: Buffer, bound: boolean): void;
  /** A 1xx head; only before `accepted`. */
  interim(head: Buffer): void;
  /** Bytes; owed back with `consumed`. The buffer is the handler's to keep. */
  data(chunk: Buffer): void;
  /** Of kind UDP, instead of `data`: a datagram, empty ones too; its bytes are owed back, and the handler's to keep. */
  datagram?(datagram: Buffer): void;
  /** The other end's direction is over; trailers are field lines as on the wire. */
  end(trailers: Buffer | undefined): void;
  /** The stream failed; nothing follows. */
  reset(code: StreamFailure, detail: string): void;
  /** Writing may go on after a `write` that returned false. */
  drained(): void;
}

/** Hears of everything and does nothing. */
export const SILENT: StreamHandler = {
  accepted() {},
  interim() {},
  data() {},
  end() {},
  reset() {},
  drained() {},
};

import type { Socket } from "node:net";
import { resetSocket } from "../../../link/reset-socket.ts";
import type { Descriptor } from "../../../runtime/descriptor-budget.ts";
import { ResetProbe } from "../reset-probe.ts";
import type { Peer } from "./forwarding.ts";
import { EXTENSIONS_TOO_LARGE, FLOOD, type Refusal } from "./refusals.ts";
import { VisitorOutput } from "./visitor-output.ts";

/**
 * What frames a body: node's parser bounds the extensions of each chunk, but neither those of all chunks nor the zeros before a
 * size. A chunk of one octet takes six.
 */
const FRAMING_RATIO = 16;
/** And what has come of a body, and waits to be read. */
const FRAMING_BYTES = 1024 * 1024;

/** How many clients hear of the end of one connection; further ones find it out by themselves. */
const MAX_TOLD = 16;

/** Numbers the connections of visitors: never 0, and each once until four billion have come. All edges share one. */
export class ConnectionNumbers {
  #last = 0;

  next(): number {
    this.#last = (this.#last % 0xffff_ffff) + 1;
    return this.#last;
  }
}

/** A request on a connection, from its head to the end of its answer. */
export interface Turn {
  /** All requests before this one are answered. */
  begin(): void;
  /** Whether the request has arrived whole, so that the next one begins where it should. */
  readonly received: boolean;
  /** Octets of the request's body that have been read. */
  readonly bodyBytes: number;
  /** Whether the whole answer has been handed to the socket. */
  readonly answered: boolean;
  /** The socket takes bytes again. */
  writable(): void;
  /** What follows of the request cannot be read. */
  broken(refusal: Refusal): void;
  /** Nobody is there any more. @param failure why, if the visitor was cut off */
  visitorLeft(failure?: string): void;
}

/** Who has the connections of visitors. */
export interface ConnectionOwner {
  /** The visitor sends without end what is no request, or no body of one. */
  flooded(connection: VisitorConnection, refusal: Refusal): void;
  closed(connection: VisitorConnection): void;
}

export interface ConnectionLimits {
  /** How many bytes may arrive that are no part of a request: a head's limit and some more. */
  strayBytes: number;
  /** How long a visitor may take to read the last answer, and how much of what it sends meanwhile is read. */
  lingerMs: number;
  lingerBytes: number;
}

/**
 * A visitor's connection: one request has its turn at a time, since only safe ones might be served beside one another
 * (RFC 9112 section 9.3.2), and the end of the connection comes behind the last answer.
 */
export class VisitorConnection {
  readonly socket: Socket;
  readonly output: VisitorOutput;
  /** The other end: a visitor, or a proxy in front. */
  readonly peer: Peer;
  /** Its address and port, for logs. */
  readonly visitor: string;
  /** The other end is believed when it says who asks. */
  readonly trusted: boolean;
  /** It can be spared while no request has its turn. */
  readonly descriptor: Descriptor;
  /** What clients know it by. */
  readonly number: number;
  readonly #limits: ConnectionLimits;
  readonly #owner: ConnectionOwner;
  readonly #probe: ResetProbe;
  #active: Turn | undefined;
  #waiting: Turn[] = [];
  /** No further request gets a turn; those that wait still do. */
  #inputOver = false;
  /** Nor do those that wait. */
  #closing = false;
  #stopping = false;
  #strayBytes = 0;
  /** What has come since the active request began, its body and all that frames it. */
  #requestBytes = 0;
  /** Reading is held back while requests wait for their turn. */
  #held = false;
  #discardTimer: NodeJS.Timeout | undefined;
  #discardedBytes = 0;
  /** Who hears of the connection's end. */
  #told: Set<(number: number) => void> | undefined;
  /** What had moved when that was last looked at, and when that had last changed. */
  #movedBytes = 0;
  #movedAt = 0;

  constructor(options: {
    socket: Socket;
    peer: Peer;
    trusted: boolean;
    descriptor: Descriptor;
    limits: ConnectionLimits;
    owner: ConnectionOwner;
    numbers: ConnectionNumbers;
    /** Whoever has abandoned the socket: it is the same connection of a visitor. */
    before?: VisitorConnection | undefined;
  }) {
    const { socket, peer, before } = options;
    this.socket = socket;
    this.output = new VisitorOutput(socket);
    this.peer = peer;
    this.trusted = options.trusted;
    this.descriptor = options.descriptor;
    const { address } = peer;
    this.visitor = `${address.includes(":") ? `[${address}]` : address}:${socket.remotePort ?? 0}`;
    this.number = before?.number ?? options.numbers.next();
    if (before) this.#told = before.#told;
    this.#limits = options.limits;
    this.#owner = options.owner;
    this.#probe = new ResetProbe(socket);
    socket.on("error", ignore);
    socket.on("data", this.#onData);
    socket.on("drain", this.#onDrain);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
    this.descriptor.spare(this.#giveWay);
  }

  /** Has somebody told of the connection's end, once. */
  tellAtEnd(tell: (number: number) => void): void {
    this.#told ??= new Set();
    if (this.#told.size < MAX_TOLD) this.#told.add(tell);
  }

  /** Queues a request's turn; dropped when the connection is about to end. */
  take(turn: Turn): void {
    this.#strayBytes = 0;
    if (this.#closing || this.#inputOver) return;
    if (this.#active) {
      this.#waiting.push(turn);
      this.#held = true;
      this.socket.pause();
    } else {
      this.#active = turn;
      this.#requestBytes = 0;
      this.descriptor.needed();
      turn.begin();
    }
  }

  /** The turn is over: its answer is sent, and its request read to the end. */
  over(turn: Turn): void {
    if (this.#active !== turn) return;
    this.#active = undefined;
    this.#stopDiscarding();
    if (this.#closing || this.#stopping) {
      this.#destroySoon();
      return;
    }
    const next = this.#waiting.shift();
    if (!next) return this.descriptor.spare(this.#giveWay);
    this.#readOn();
    this.#active = next;
    this.#requestBytes = 0;
    next.begin();
  }

  /**
   * What comes next is no request. Answered in its turn, either by the request that it belongs to or by `answer`.
   */
  refuse(refusal: Refusal, answer: Turn): void {
    const last = this.#waiting.at(-1) ?? this.#active;
    if (!last || last.received) this.take(answer);
    else if (!this.#closing && !this.#inputOver) last.broken(refusal);
    this.#inputOver = true;
  }

  /** Reads and drops what the visitor still sends of its request, within bounds. */
  discard(): void {
    if (this.#discardTimer || this.socket.destroyed) return;
    this.#discardTimer = setTimeout(() => this.socket.destroy(), this.#limits.lingerMs);
  }

  /** Enough has been dropped; the visitor has the rest of its time to read the answer. */
  get discardedEnough(): boolean {
    return this.#discardedBytes > this.#limits.lingerBytes;
  }

  /** Ends the connection behind what has been written, and gives the visitor time to read it. */
  linger(): void {
    this.#refuseFurther();
    this.#readOn();
    this.output.flush();
    this.socket.end();
    this.discard();
  }

  /**
   * Ends the connection where it stands, visibly.
   *
   * @param reset by a TCP reset: where the end of the connection would look like the end of the answer
   */
  cut(reset: boolean): void {
    // What came before the end that should not be is the visitor's.
    this.output.flush();
    if (reset) resetSocket(this.socket);
    else this.socket.destroy();
  }

  /**
   * Cuts the connection off if nothing has moved for so long although the visitor has something to send or to read.
   *
   * @param now to be called with, every now and then
   */
  cutIfStalled(now: number, ms: number): void {
    const { bytesRead, bytesWritten, writableLength } = this.socket;
    const moved = bytesRead + bytesWritten - writableLength;
    // Nothing is read while requests wait for their turn: then nobody knows whether the visitor is still there.
    const owing = writableLength > 0 || this.#held || this.#active?.received === false;
    if (!owing || moved !== this.#movedBytes) {
      this.#movedBytes = moved;
      this.#movedAt = now;
    } else if (now - this.#movedAt >= ms) {
      this.#active?.visitorLeft("STALLED");
      this.cut(true);
    }
  }

  /** Looks whether the visitor is still there; to be called every `LOOK_MS`. */
  look(): void {
    this.#probe.look();
  }

  /** Ends the connection at once, since the server stops. */
  cutOff(): void {
    const cutsAnswer = this.#active?.answered === false;
    this.#active?.visitorLeft("SERVER_STOPPED");
    this.cut(cutsAnswer);
  }

  /** Closes an idle connection at once, and any other behind its answer. */
  stop(): void {
    this.#stopping = true;
    if (!this.#active && this.#strayBytes === 0) this.#destroySoon();
  }

  /** Leaves the socket to somebody else. The active turn still hears of its end. */
  release(): void {
    this.#refuseFurther();
    this.socket.off("data", this.#onData);
    this.socket.off("drain", this.#onDrain);
    this.socket.off("end", this.#onEnd);
    this.socket.setTimeout(0);
  }

  /** Leaves the socket to somebody else altogether. */
  abandon(): void {
    this.release();
    this.socket.off("close", this.#onClose);
    this.socket.off("error", ignore);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#discardTimer) {
      this.#discardedBytes += chunk.length;
      if (this.discardedEnough) this.socket.pause();
    } else if (this.#active?.received !== false) {
      this.#strayBytes += chunk.length;
      if (this.#strayBytes > this.#limits.strayBytes) this.#owner.flooded(this, FLOOD);
    } else {
      this.#requestBytes += chunk.length;
      const { bodyBytes } = this.#active;
      if (this.#requestBytes - bodyBytes * FRAMING_RATIO > FRAMING_BYTES)
        this.#owner.flooded(this, EXTENSIONS_TOO_LARGE);
    }
  };

  readonly #giveWay = (): void => void this.socket.destroy();

  readonly #onDrain = (): void => {
    this.#active?.writable();
    this.#readOn();
  };

  readonly #onEnd = (): void => {
    this.#refuseFurther();
    const turn = this.#active;
    if (turn && !turn.answered) {
      turn.visitorLeft();
      this.socket.destroy();
      return;
    }
    if (turn?.received === false) turn.visitorLeft();
    this.socket.end();
  };

  readonly #onClose = (): void => {
    this.#refuseFurther();
    this.#stopDiscarding();
    const turn = this.#active;
    this.#active = undefined;
    turn?.visitorLeft();
    this.descriptor.release();
    for (const tell of this.#told ?? []) tell(this.number);
    this.#owner.closed(this);
  };

  /**
   * Reads on if nothing waits. Not while the socket needs to drain, since then node may have paused it for its own
   * reasons, and asserts that nobody resumes it; it does so itself on `drain`.
   */
  #readOn(): void {
    if (!this.#held || this.#waiting.length > 0) return;
    if (this.socket.writableNeedDrain || this.socket.writableEnded) return;
    this.#held = false;
    this.socket.resume();
  }

  /**
   * The last answer is out. Ended at once, the connection would be reset under an unfinished upload, and the reset could
   * overtake the answer (RFC 9112 section 9.6).
   */
  endBehindAnswer(): void {
    this.#refuseFurther();
    if (this.#active?.received === false) this.socket.end();
    else this.#destroySoon();
  }

  #destroySoon(): void {
    this.#refuseFurther();
    this.socket.destroySoon();
  }

  #refuseFurther(): void {
    this.#closing = true;
    this.#waiting = [];
  }

  #stopDiscarding(): void {
    clearTimeout(this.#discardTimer);
    this.#discardTimer = undefined;
    this.#discardedBytes = 0;
  }
}

function ignore(): void {}

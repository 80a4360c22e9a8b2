import type { Socket } from "node:net";
import { resetSocket } from "./reset-socket.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "./stream.ts";
import { TurnCork } from "./turn-cork.ts";

export interface JoinOptions {
  /** Bytes that were read from the socket before. */
  early?: Buffer;
  /** How it ended, once: undefined when both directions ended by themselves. */
  closed?: (failure: { code: StreamFailure; detail: string } | undefined) => void;
  /** What bytes have to pass, each way. */
  tolls?: { fromSocket: Toll; toSocket: Toll } | undefined;
}

/** Slows bytes down: they go on at once, and are paid for before more may follow. */
export interface Toll {
  /** Told when all is paid after a `spend` that returned false. */
  onReady: () => void;
  /** Told of bytes for which `spend` returned false, as they are paid. */
  onPaid: (bytes: number) => void;
  /** Whether they are paid at once. */
  spend(bytes: number): boolean;
}

/**
 * Joins a stream and a socket: bytes both ways, each at the pace of its reader, half-closes as half-closes, abrupt
 * ends abrupt. Takes over the stream's handler. The socket, which may be paused, must have been made with `allowHalfOpen`, and nobody else
 * may read or write it any more; it may still be connecting.
 */
export function joinSocket(stream: LinkStream, socket: Socket, options: JoinOptions = {}): void {
  const join = new Join(stream, socket, options);
  stream.handler = join;
  if (options.early && options.early.length > 0) join.pass(options.early);
  join.readOn();
}

const NOTHING = Buffer.alloc(0);

class Join implements StreamHandler {
  readonly readsBehindEnd = true;

  readonly #stream: LinkStream;
  readonly #socket: Socket;
  readonly #cork: TurnCork;
  readonly #closed: JoinOptions["closed"];
  readonly #tolls: JoinOptions["tolls"];
  /** What keeps bytes from being read from the socket. */
  #full = false;
  #unpaid = false;
  /** Bytes written to the socket, and not yet given back to the stream. */
  #owedBytes = 0;
  /** Bytes that the socket has let go, and that are not paid for. */
  #unpaidBytes = 0;
  /** The socket's end has been read, or might have been. */
  #socketEnded = false;
  /** And the stream was told. */
  #passedEnd = false;
  #streamEnded = false;
  #over = false;

  constructor(stream: LinkStream, socket: Socket, { closed, tolls }: JoinOptions) {
    this.#stream = stream;
    this.#socket = socket;
    this.#cork = new TurnCork(socket);
    this.#closed = closed;
    this.#tolls = tolls;
    if (tolls) {
      tolls.fromSocket.onReady = () => {
        this.#unpaid = false;
        this.readOn();
      };
      tolls.toSocket.onPaid = (bytes) => {
        if (this.#unpaidBytes === 0) return;
        this.#unpaidBytes -= bytes;
        stream.consumed(bytes);
      };
    }
    socket.on("data", (chunk: Buffer) => this.pass(chunk));
    socket.on("drain", () => this.#settle());
    // Behind the stream's end there is no "drain" any more.
    socket.once("finish", () => this.#settle());
    socket.once("end", () => this.#readEnd());
    socket.on("error", (error: NodeJS.ErrnoException) => this.#lost(error.code ?? error.message));
    socket.once("close", () => this.#socketClosed());
  }

  /** Bytes from the socket. */
  pass(chunk: Buffer): void {
    if (this.#over) return;
    if (!this.#stream.write(chunk)) this.#full = true;
    if (this.#tolls?.fromSocket.spend(chunk.length) === false) this.#unpaid = true;
    if (this.#full || this.#unpaid) this.#socket.pause();
  }

  readOn(): void {
    if (!this.#full && !this.#unpaid) this.#socket.resume();
  }

  // The stream's side.

  accepted(): void {
    // For whoever joins a stream that they opened: the answer is for them to await.
  }

  interim(): void {
    // As `accepted`.
  }

  data(chunk: Buffer): void {
    this.#owedBytes += chunk.length;
    this.#cork.hold(chunk.length);
    if (this.#socket.write(chunk)) this.#settle();
  }

  end(): void {
    this.#streamEnded = true;
    if (this.#socketEnded) this.#passEnd();
    // An end ahead of the connection is forgotten by node:net when it goes on to the next address of a name.
    if (this.#socket.connecting) this.#socket.once("connect", () => this.#socket.end());
    else this.#socket.end();
    this.#finishWhenEnded();
  }

  reset(code: StreamFailure, detail: string): void {
    resetSocket(this.#socket);
    this.#finish({ code, detail });
  }

  drained(): void {
    this.#full = false;
    this.readOn();
  }

  // The socket's side.

  #settle(): void {
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    if (bytes === 0) return;
    if (this.#tolls?.toSocket.spend(bytes) === false) this.#unpaidBytes += bytes;
    else this.#stream.consumed(bytes);
  }

  /**
   * Of a reset that comes right behind bytes libuv says that it is an end (POLLHUP in uv__stream_io): the stream would wait on
   * for somebody who is gone. To write nothing tells the two apart; behind this turn, since a reset drops what has not left.
   */
  #readEnd(): void {
    this.#socketEnded = true;
    // A UNIX socket cannot be written to either when its other end has closed it.
    const isTcp = this.#socket.localAddress !== undefined;
    if (this.#streamEnded || !isTcp) return this.#passEnd();
    setImmediate(() => {
      if (this.#over || this.#passedEnd) return;
      // What is still to be written will find out.
      if (this.#socket.writableLength > 0) this.#passEnd();
      else this.#socket.write(NOTHING, (error) => !error && this.#passEnd());
    });
  }

  #passEnd(): void {
    if (this.#over || this.#passedEnd) return;
    this.#passedEnd = true;
    this.#stream.end();
    this.#finishWhenEnded();
  }

  #socketClosed(): void {
    if (!this.#passedEnd || !this.#streamEnded) this.#lost("closed");
    // Whatever is left of both directions' bytes, nobody will read it, nor pay for it.
    const bytes = this.#owedBytes + this.#unpaidBytes;
    this.#owedBytes = this.#unpaidBytes = 0;
    if (bytes > 0) this.#stream.consumed(bytes);
  }

  #lost(detail: string): void {
    if (this.#over) return;
    this.#stream.reset("CONNECTION_LOST", detail);
    this.#finish({ code: "CONNECTION_LOST", detail });
  }

  #finishWhenEnded(): void {
    if (this.#passedEnd && this.#streamEnded) this.#finish(undefined);
  }

  #finish(failure: { code: StreamFailure; detail: string } | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#closed?.(failure);
  }
}

import type { Carrier } from "./carrier.ts";
import { ChunkReader, DATAGRAM, END, TRAILERS } from "./chunks.ts";
import { MIN_WINDOW_BYTES, WindowBudget } from "./credit.ts";
import { DatagramBudget } from "./datagram-queue.ts";
import { TunnelError } from "./errors.ts";
import { MuxStream, type StreamOwner } from "./link-stream.ts";
import type { Control, Open, ResetCode, SessionMessage } from "./messages.ts";
import { SendQueue } from "./send-queue.ts";
import { StreamIds } from "./stream-ids.ts";
import { SILENT, type LinkStream, type StreamHandler } from "./stream.ts";
import { UnreadBudget } from "./unread-budget.ts";

/** Streams that the other end may hold open on one connection: twice the 8,000 that one machine's visitors may well hold. */
const MAX_PEER_STREAMS = 16_384;
/** Of a request id, and of an address with its port. */
const MAX_TEXT = 128;
/** Heads up to this are not counted one by one: nearly all are, and the stream that they open takes more by itself. */
const SMALL_HEAD_BYTES = 4 * 1024;
/** What an end that does not read gets to take the last messages, before the carrier is cut. */
const END_TIMEOUT_MS = 5_000;

/** What an Open says; the link adds the stream's id and credit. */
export type OpenRequest = Omit<Open, "stream" | "credit">;

export interface LinkOptions {
  carrier: Carrier;
  side: "server" | "client";
  handler: LinkHandler;
  /** Shared by all links of the process; without it the link has one to itself. */
  budget?: UnreadBudget;
  /** Streams that the other end may hold open; those beyond are reset. */
  maxPeerStreams?: number;
}

export interface LinkHandler {
  /** The other end opened a stream: set its handler before returning. */
  opened(stream: LinkStream, open: Open): void;
  /** Something was said about the session. */
  message(message: SessionMessage): void;
  /** The link is over, whoever ended it, and all its streams with it. No error: a clean end. */
  closed(error?: TunnelError): void;
}

/**
 * Streams and session messages over one carrier; both ends run the same. A breach of the contract by the other
 * end, found here or thrown as TunnelError by a handler, ends the link and nothing else.
 */
export class Link {
  /** What a new stream may send at first: the other end says it in Hello or Welcome. */
  peerStreamCredit = 0;
  /** Batches received; with `written` it tells whether anything moves. */
  received = 0;

  readonly #carrier: Carrier;
  readonly #handler: LinkHandler;
  readonly #queue: SendQueue;
  readonly #owner: StreamOwner;
  readonly #streams = new Map<number, MuxStream>();
  readonly #ids: StreamIds;
  readonly #unread: UnreadBudget;
  readonly #maxPeerStreams: number;
  #peerStreams = 0;
  #pongs = new Map<number, () => void>();
  #pingId = 0;
  #state: "open" | "ending" | "closed" = "open";
  #endTimer: NodeJS.Timeout | undefined;
  #onNoStreams: (() => void) | undefined;

  constructor(options: LinkOptions) {
    this.#carrier = options.carrier;
    this.#handler = options.handler;
    this.#unread = options.budget ?? new UnreadBudget();
    this.#maxPeerStreams = options.maxPeerStreams ?? MAX_PEER_STREAMS;
    this.#ids = new StreamIds(options.side);
    this.#queue = new SendQueue(options.carrier, () =>
      this.close(new TunnelError("overloaded", "the other end does not read what it is sent")),
    );
    this.#owner = {
      queue: this.#queue,
      windows: new WindowBudget(),
      unread: this.#unread,
      datagrams: new DatagramBudget(),
      forget: (stream) => this.#forget(stream),
      guard: (callback) => this.#contain(callback),
    };
    const chunks = new ChunkReader((id, flags, payload) => this.#receiveChunk(id, flags, payload));
    options.carrier.receive({
      control: (messages) => this.#guard(() => messages.forEach((message) => this.#receiveControl(message))),
      data: (slice) => this.#guard(() => chunks.push(slice)),
      batchEnd: () => {
        this.received++;
        this.#guard(() => chunks.finish());
      },
      closed: (error) => this.#close(error),
    });
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Whether batches are under way, and how many have left. */
  get sending(): { inFlight: number; written: number } {
    return { inFlight: this.#queue.inFlight, written: this.#queue.written };
  }

  get closed(): boolean {
    return this.#state === "closed";
  }

  /** Opens a stream; on a link that is over, the handler is told so in the next turn. */
  open(request: OpenRequest, handler: StreamHandler): LinkStream {
    const id = this.#ids.take((id) => this.#streams.has(id));
    const credit = this.#unread.pressed ? MIN_WINDOW_BYTES : undefined;
    const stream = new MuxStream({
      id,
      kind: request.kind,
      owner: this.#state === "open" ? this.#owner : { ...this.#owner, queue: closedQueue(this.#carrier) },
      opener: true,
      credit: this.peerStreamCredit,
      windowBytes: credit,
      handler,
    });
    if (this.#state !== "open") {
      setImmediate(() => stream.fail("LINK_LOST", "the connection to the client is closed"));
      return stream;
    }
    this.#streams.set(id, stream);
    const { tunnel, kind, requestId, visitor, head, end, portOffset, visitorConnection } = request;
    stream.open({
      stream: id,
      tunnel,
      kind,
      requestId,
      visitor,
      head,
      end,
      credit,
      portOffset,
      visitorConnection,
    });
    return stream;
  }

  /** Says something about the session. */
  say(message: SessionMessage): void {
    this.#queue.control(message);
  }

  /** Sends a probe; `onPong` is called when the other end's answer comes, if it does. */
  ping(onPong: () => void): void {
    const id = (this.#pingId = (this.#pingId + 1) >>> 0);
    this.#pongs.set(id, onPong);
    this.#queue.control({ message: "ping", ping: { id } });
  }

  /** Calls back, once, when no stream is open: now or later. */
  whenNoStreams(callback: () => void): void {
    if (this.#streams.size === 0) callback();
    else this.#onNoStreams = callback;
  }

  /** Ends the link once everything said has left, or else in so long, for the reason given; streams that are still open fail. */
  end(withinMs = END_TIMEOUT_MS, reason?: TunnelError): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#endTimer = setTimeout(() => this.close(reason), withinMs);
    this.#queue.whenIdle(() => this.#carrier.end());
  }

  /** Ends the link at once. */
  close(error?: TunnelError): void {
    if (this.#state === "closed") return;
    try {
      this.#close(error);
    } finally {
      this.#carrier.abort();
    }
  }

  #close(error?: TunnelError): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#endTimer);
    this.#queue.close();
    this.#pongs.clear();
    const detail = error?.message ?? "the connection was closed";
    let reason = error;
    for (const stream of this.#streams.values()) {
      // One handler's mistake must not keep the others from being told.
      try {
        stream.fail("LINK_LOST", detail);
      } catch (cause) {
        reason ??= internalError(cause);
      }
    }
    this.#handler.closed(reason);
  }

  /** Runs what the other end set off, in handlers too; nothing that it sends may hurt more than this link. */
  #guard(receive: () => void): void {
    if (this.#state !== "closed") this.#contain(receive);
  }

  #contain(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.close(error instanceof TunnelError ? error : internalError(error));
    }
  }

  #receiveControl(control: Control): void {
    if (this.#state === "closed") return;
    switch (control.message) {
      case "open":
        return this.#receiveOpen(control.open);
      case "accept":
        return this.#stream(control.accept.stream)?.receiveAccept(control.accept);
      case "interim":
        return this.#stream(control.interim.stream)?.receiveInterim(control.interim.head);
      case "credit":
        return this.#stream(control.credit.stream)?.receiveCredit(control.credit.bytes);
      case "reset":
        return this.#stream(control.reset.stream)?.fail(knownCode(control.reset.code), control.reset.detail);
      case "ping":
        return this.#queue.control({ message: "pong", pong: control.ping });
      case "pong":
        return this.#receivePong(control.pong.id);
      case "hello":
      case "welcome":
      case "refused":
      case "tunnels":
      case "drain":
      case "tunnelStates":
      case "visitorLeft":
        return this.#handler.message(control);
      default:
        throw new TunnelError("protocol", "a control message without content");
    }
  }

  #receiveOpen(open: Open): void {
    const id = open.stream;
    // They are kept as long as the stream is, and count against no budget.
    if (open.requestId.length > MAX_TEXT || open.visitor.length > MAX_TEXT) {
      throw new TunnelError("protocol", "an Open with a request id or visitor that is none");
    }
    if (this.#streams.has(id) || !this.#ids.takePeer(id)) {
      throw new TunnelError("protocol", `a stream opened with id ${id}, which is not the other end's to use`);
    }
    const stream = new MuxStream({
      id,
      kind: open.kind,
      owner: this.#owner,
      opener: false,
      credit: open.credit || this.peerStreamCredit,
      handler: SILENT,
    });
    this.#streams.set(id, stream);
    this.#peerStreams++;
    if (this.#peerStreams > this.#maxPeerStreams) {
      stream.reset("OVERLOADED", `more than ${this.#maxPeerStreams} streams on one connection`);
      return;
    }
    if (open.head.length > SMALL_HEAD_BYTES && !stream.receiveHead(open.head)) return;
    this.#handler.opened(stream, open);
    if (open.end) stream.receiveEnd(undefined);
  }

  #receiveChunk(id: number, flags: number, payload: Buffer): void {
    const stream = this.#stream(id);
    if (!stream) return;
    if ((flags & TRAILERS) !== 0) return stream.receiveEnd(payload);
    if (flags === DATAGRAM) return stream.receiveDatagram(payload);
    if (payload.length > 0) stream.receiveData(payload);
    if ((flags & END) !== 0) stream.receiveEnd(undefined);
  }

  #receivePong(id: number): void {
    this.#pongs.get(id)?.();
    this.#pongs.delete(id);
  }

  /** The stream with this id; undefined for one that is over. @throws TunnelError for one that never was */
  #stream(id: number): MuxStream | undefined {
    const stream = this.#streams.get(id);
    if (!stream && !this.#ids.wasOpened(id)) {
      throw new TunnelError("protocol", `stream ${id} was never opened`);
    }
    return stream;
  }

  #forget(stream: MuxStream): void {
    if (!this.#streams.delete(stream.id)) return;
    if (!this.#ids.isOwn(stream.id)) this.#peerStreams--;
    if (this.#streams.size > 0 || !this.#onNoStreams) return;
    const callback = this.#onNoStreams;
    this.#onNoStreams = undefined;
    callback();
  }
}

/** For streams opened too late: takes what they say, and sends nothing. */
function closedQueue(carrier: Carrier): SendQueue {
  const queue = new SendQueue(carrier, () => {});
  queue.close();
  return queue;
}

/** A code that this version does not know arrives as its number. */
function knownCode(code: ResetCode | number): ResetCode {
  return typeof code === "number" ? "INTERNAL" : code;
}

function internalError(cause: unknown): TunnelError {
  return new TunnelError("internal", "an error in this program", { cause });
}

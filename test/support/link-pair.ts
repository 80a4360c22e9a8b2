import type { TunnelError } from "../../link/errors.ts";
import { Link, type LinkHandler, type LinkOptions, type OpenRequest } from "../../link/link.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import type { Open, SessionMessage } from "../../link/messages.ts";
import type { LinkStream } from "../../link/stream.ts";
import { type MemoryCarrier, type MemoryCarrierOptions, memoryCarriers } from "./memory-carrier.ts";
import { RecordingHandler, type RecordingOptions } from "./recording-handler.ts";

/** What an end of a link is told of its limits. */
export type LinkLimits = Pick<LinkOptions, "budget" | "maxPeerStreams">;

/** One end of a link with what it was told. */
export class LinkEnd implements LinkHandler {
  readonly link: Link;
  readonly carrier: MemoryCarrier;
  readonly messages: SessionMessage[] = [];
  /** Streams that the other end opened. */
  readonly arrivals: { stream: LinkStream; open: Open; handler: RecordingHandler }[] = [];
  /** Set when the link is over; `error` is undefined for a clean end. */
  over: { error: TunnelError | undefined } | undefined;
  /** Takes a stream that the other end opened, instead of a recording handler. */
  onOpened: ((stream: LinkStream, open: Open) => void) | undefined;

  readonly #recording: RecordingOptions;
  #waiting: { done: () => boolean; resolve: () => void }[] = [];

  constructor(
    carrier: MemoryCarrier,
    side: "server" | "client",
    { recording = {}, limits = {} }: LinkEndOptions = {},
  ) {
    this.carrier = carrier;
    this.#recording = recording;
    this.link = new Link({ carrier, side, handler: this, ...limits });
    this.link.peerStreamCredit = INITIAL_WINDOW_BYTES;
  }

  opened(stream: LinkStream, open: Open): void {
    if (this.onOpened) {
      this.onOpened(stream, open);
    } else {
      const handler = RecordingHandler.on(stream, this.#recording);
      this.arrivals.push({ stream, open, handler });
    }
    this.#look();
  }

  message(message: SessionMessage): void {
    this.messages.push(message);
    this.#look();
  }

  closed(error?: TunnelError): void {
    this.over = { error };
    this.#look();
  }

  /** Opens a stream with a recording handler. */
  open(
    request: Partial<OpenRequest> = {},
    recording: RecordingOptions = {},
  ): { stream: LinkStream; handler: RecordingHandler } {
    const handler = new RecordingHandler(recording);
    const stream = this.link.open(openRequest(request), handler);
    handler.stream = stream;
    return { stream, handler };
  }

  /** The stream that the other end opened as its number `index`. */
  async arrival(index = 0): Promise<{ stream: LinkStream; open: Open; handler: RecordingHandler }> {
    await this.until(() => this.arrivals.length > index);
    return this.arrivals[index]!;
  }

  /** Resolves as soon as the condition holds; it is looked at when a stream or message arrives, or the link ends. */
  until(done: () => boolean): Promise<void> {
    if (done()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ done, resolve }));
  }

  #look(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) {
      if (waiter.done()) waiter.resolve();
      else this.#waiting.push(waiter);
    }
  }
}

export interface LinkEndOptions {
  recording?: RecordingOptions;
  limits?: LinkLimits;
}

/** Two links over one memory pair, each with the other's stream credit. */
export function linkPair(options: MemoryCarrierOptions & LinkEndOptions = {}): {
  server: LinkEnd;
  client: LinkEnd;
} {
  const [left, right] = memoryCarriers(options);
  return {
    server: new LinkEnd(left, "server", options),
    client: new LinkEnd(right, "client", options),
  };
}

/** A stream from the server to the client, opened and answered, with both ends of it. */
export async function openStream(
  pair: { server: LinkEnd; client: LinkEnd },
  recording: { near?: RecordingOptions } = {},
): Promise<Exchange> {
  const { stream: near, handler: nearHandler } = pair.server.open({}, recording.near);
  await pair.client.until(() => pair.client.arrivals.some(({ stream }) => stream.id === near.id));
  const arrival = pair.client.arrivals.find(({ stream }) => stream.id === near.id)!;
  arrival.stream.accept(Buffer.from("yes"));
  await nearHandler.until((handler) => handler.events.length > 0);
  return { near, nearHandler, far: arrival.stream, farHandler: arrival.handler };
}

export interface Exchange {
  near: LinkStream;
  nearHandler: RecordingHandler;
  far: LinkStream;
  farHandler: RecordingHandler;
}

export function openRequest(request: Partial<OpenRequest> = {}): OpenRequest {
  return {
    tunnel: 1,
    kind: "HTTP",
    requestId: "r",
    visitor: "203.0.113.7:4711",
    head: Buffer.from("head"),
    end: false,
    ...request,
  };
}

/** Lets a ping go there and back, so that control said before it has arrived; data may still be on its way. */
export function roundTrip(end: LinkEnd): Promise<void> {
  return new Promise((resolve) => end.link.ping(resolve));
}

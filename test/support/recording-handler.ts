import { createHash, type Hash } from "node:crypto";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";

export interface RecordingOptions {
  /** Whether bytes are given back as consumed when they arrive. */
  consume?: boolean;
  /** Whether bytes are kept, beside being counted. */
  keep?: boolean;
  /** Whether bytes are hashed. */
  hash?: boolean;
}

/** Notes what a stream says, in order, and lets tests wait for it. */
export class RecordingHandler implements StreamHandler {
  /** "accepted HEAD", "interim HEAD", "data", "datagram", "end", "end TRAILERS", "reset CODE", "drained"; data and datagrams once in a row. */
  readonly events: string[] = [];
  /** Of data, or datagrams. */
  readonly chunks: Buffer[] = [];
  receivedBytes = 0;
  drains = 0;
  ended = false;
  failure: StreamFailure | undefined;
  detail = "";
  /** Runs behind each event, for tests that act from inside a callback. */
  onEvent: ((event: string) => void) | undefined;

  stream: LinkStream | undefined;
  readonly #options: Required<RecordingOptions>;
  readonly #hash: Hash | undefined;
  #waiting: { done: () => boolean; resolve: () => void }[] = [];

  constructor(options: RecordingOptions = {}) {
    this.#options = { consume: true, keep: true, hash: false, ...options };
    if (this.#options.hash) this.#hash = createHash("sha256");
  }

  /** Sets itself as the stream's handler. */
  static on(stream: LinkStream, options: RecordingOptions = {}): RecordingHandler {
    const handler = new RecordingHandler(options);
    stream.handler = handler;
    handler.stream = stream;
    return handler;
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.body.toString("latin1");
  }

  /** With `hash`; to be read once, at the end. */
  sha256(): string {
    if (!this.#hash) throw new Error("this handler does not hash");
    return this.#hash.digest("hex");
  }

  /** Resolves as soon as the condition holds; it is looked at behind every event. */
  until(done: (handler: this) => boolean): Promise<void> {
    if (done(this)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ done: () => done(this), resolve }));
  }

  accepted(head: Buffer): void {
    this.#note(`accepted ${head.toString("latin1")}`);
  }

  interim(head: Buffer): void {
    this.#note(`interim ${head.toString("latin1")}`);
  }

  data(chunk: Buffer): void {
    this.#take(chunk, "data");
  }

  datagram(datagram: Buffer): void {
    this.#take(datagram, "datagram");
  }

  #take(chunk: Buffer, event: string): void {
    this.receivedBytes += chunk.length;
    this.#hash?.update(chunk);
    if (this.#options.keep) this.chunks.push(chunk);
    if (this.#options.consume) this.stream?.consumed(chunk.length);
    this.#note(event);
  }

  end(trailers: Buffer | undefined): void {
    this.ended = true;
    this.#note(trailers ? `end ${trailers.toString("latin1")}` : "end");
  }

  reset(code: StreamFailure, detail: string): void {
    this.failure = code;
    this.detail = detail;
    this.#note(`reset ${code}`);
  }

  drained(): void {
    this.drains++;
    this.#note("drained");
  }

  #note(event: string): void {
    const again = (event === "data" || event === "datagram") && this.events.at(-1) === event;
    if (!again) this.events.push(event);
    this.onEvent?.(event);
    if (this.#waiting.length === 0) return;
    const still = [];
    for (const waiter of this.#waiting) {
      if (waiter.done()) waiter.resolve();
      else still.push(waiter);
    }
    this.#waiting = still;
  }
}

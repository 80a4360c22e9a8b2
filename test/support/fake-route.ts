import { TunnelError } from "../../link/errors.ts";
import { parseRequestHead, type RequestHead } from "../../link/http-head.ts";
import type { ResetCode } from "../../link/messages.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";
import type { Route, RouteRequest, TunnelLimits } from "../../server/routing/route.ts";

/** A tunnel whose client is played by the test. */
export class FakeRoute implements Route {
  readonly tunnel = "web";
  readonly key = "home";
  hostHeader: string | undefined;
  scheme: Route["scheme"];
  timeoutMs: number | undefined;
  limits: TunnelLimits | undefined;
  /** Every stream that was opened, in order. */
  readonly opened: FakeVisit[] = [];
  /** Plays the client's part at once, or in part. */
  onOpen: ((visit: FakeVisit) => void) | undefined;
  /** The visitors' connections whose end the client has been told of. */
  readonly left: number[] = [];
  readonly visitorLeft = (visitorConnection: number): void => void this.left.push(visitorConnection);
  #taken = 0;
  #waiting: (() => void)[] = [];

  open: Route["open"] = (request, handler) => {
    const visit = new FakeVisit(request, handler);
    this.opened.push(visit);
    // A link tells nothing before it has returned the stream.
    setImmediate(() => this.onOpen?.(visit));
    for (const wake of this.#waiting.splice(0)) wake();
    return visit;
  };

  /** The next stream that is opened, or has been and nobody asked for yet. */
  async next(): Promise<FakeVisit> {
    while (this.opened.length <= this.#taken) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return this.opened[this.#taken++]!;
  }
}

/** What an edge sees as a stream: records what is sent, and lets a test answer. As strict as a link. */
export class FakeVisit implements LinkStream {
  readonly id = 2;
  handler: StreamHandler;
  readonly request: RouteRequest;
  readonly chunks: Buffer[] = [];
  /** Octets of all chunks, also of those not kept. */
  writtenBytes = 0;
  readonly datagrams: Buffer[] = [];
  /** Datagrams that `send` did not take. */
  dropped = 0;
  keep = true;
  ended = false;
  trailers: string | undefined;
  /** What the edge threw at an answer that no honest client sends. */
  breach: TunnelError | undefined;
  wasReset: { code: ResetCode; detail: string } | undefined;
  /** Data given to the edge that it has not given back with `consumed`. */
  unreadBytes = 0;
  consumedBytes = 0;
  #stalled = false;
  #owesDrained = false;
  #answerEnded = false;
  #failed = false;
  readonly #waiting = new Set<() => void>();

  constructor(request: RouteRequest, handler: StreamHandler) {
    this.request = request;
    this.handler = handler;
    this.ended = request.end;
  }

  get head(): RequestHead {
    return parseRequestHead(this.request.head);
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  /** Whether the answer was given to its end. */
  get answered(): boolean {
    return this.#answerEnded;
  }

  get over(): boolean {
    return this.#failed || this.wasReset !== undefined || (this.ended && this.#answerEnded);
  }

  /** Values of a field of the request. */
  values(name: string): string[] {
    const { fields } = this.head;
    return fields.filter((_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === name.toLowerCase());
  }

  // What the edge calls.

  accept(): void {
    throw new Error("an edge accepts nothing");
  }

  interim(): void {
    throw new Error("an edge has no interim answers");
  }

  write(chunk: Buffer): boolean {
    if (this.over) return true;
    if (this.ended) throw new Error("a write behind the end");
    if (this.keep) this.chunks.push(Buffer.from(chunk));
    this.writtenBytes += chunk.length;
    this.#called();
    this.#owesDrained ||= this.#stalled;
    return !this.#stalled;
  }

  send(datagram: Buffer): boolean {
    if (this.over) return false;
    if (this.#stalled) this.dropped++;
    else this.datagrams.push(Buffer.from(datagram));
    this.#called();
    return !this.#stalled;
  }

  end(trailers?: Buffer): void {
    if (this.over) return;
    if (this.ended) throw new Error("a second end");
    this.ended = true;
    this.trailers = trailers?.toString("latin1");
    this.#called();
  }

  reset(code: ResetCode, detail = ""): void {
    if (this.over) return;
    this.wasReset = { code, detail };
    this.#called();
  }

  consumed(bytes: number): void {
    if (bytes > this.unreadBytes) throw new Error("credit given back for bytes that never came");
    this.unreadBytes -= bytes;
    this.consumedBytes += bytes;
    this.#called();
  }

  // What a test plays.

  /** The answer's head: status line and field lines, each ended by CRLF, without the blank line. */
  accepted(head: string, bound = false): this {
    if (!this.over) this.#guard(() => this.handler.accepted(Buffer.from(head, "latin1"), bound));
    return this;
  }

  interimAnswer(head: string): this {
    if (!this.over) this.#guard(() => this.handler.interim(Buffer.from(head, "latin1")));
    return this;
  }

  /** As a link does: a breach of the contract, thrown by the handler, ends it and all its streams. */
  #guard(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      this.breach = error;
      this.fail("LINK_LOST", error.message);
    }
  }

  data(bytes: string | Buffer): this {
    if (this.over) return this;
    if (this.#answerEnded) throw new Error("data after the end");
    const chunk = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    this.unreadBytes += chunk.length;
    this.handler.data(chunk);
    return this;
  }

  datagram(bytes: string | Buffer): this {
    if (this.over) return this;
    const datagram = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    this.unreadBytes += datagram.length;
    this.handler.datagram!(datagram);
    return this;
  }

  finish(trailers?: string): this {
    if (this.over) return this;
    this.#answerEnded = true;
    this.handler.end(trailers === undefined ? undefined : Buffer.from(trailers, "latin1"));
    this.#called();
    return this;
  }

  fail(code: StreamFailure, detail = ""): void {
    if (this.over) return;
    this.#failed = true;
    this.handler.reset(code, detail);
    this.#called();
  }

  /** A whole answer with a length. */
  respond(status: number, body: string | Buffer = "", fields = ""): this {
    const length = typeof body === "string" ? Buffer.byteLength(body, "latin1") : body.length;
    this.accepted(`HTTP/1.1 ${status} Reason\r\nContent-Length: ${length}\r\n${fields}`);
    if (length > 0) this.data(body);
    return this.finish();
  }

  /** From now on `write` asks for a pause, and `send` drops. */
  stall(): void {
    this.#stalled = true;
  }

  unstall(): void {
    this.#stalled = false;
    if (!this.#owesDrained || this.over) return;
    this.#owesDrained = false;
    this.handler.drained();
  }

  /** Waits until something that the edge called makes the condition true. */
  until(condition: (visit: this) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!condition(this)) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  #called(): void {
    for (const check of this.#waiting) check();
  }
}

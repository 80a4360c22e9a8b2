/** Replays a visitor's HTTP request against a local service, and sends the answer back as it comes. */
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { encodeFields, parseFields, type RawFields } from "../../link/http-head.ts";
import { joinSocket } from "../../link/join-socket.ts";
import type { Open, ResetCode } from "../../link/messages.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";
import { formatTarget } from "../../link/target.ts";
import { type AnswerHead, MAX_HEAD_BYTES, type ReceivedHead, readAnswerHead } from "./answer-head.ts";
import { dialFailure } from "./dial-failure.ts";
import { type LocalRequest, readLocalRequest, startRequest } from "./local-request.ts";
import { idleTime, type LocalService } from "./local-service.ts";
import type { ServiceSocket } from "./service-socket.ts";

/** Interim answers cost no credit, so a service gets no more of them. */
const MAX_INTERIM = 100;

/** How an exchange ended. */
export interface HttpOutcome {
  /** As in the request; empty if it was none. */
  method: string;
  target: string;
  /** Of the answer, if one had begun. */
  status?: number;
  /** Why it ended early, if it did. */
  failure?: StreamFailure;
  /** For this client's log. */
  detail?: string;
}

export interface HttpOptions {
  service: LocalService;
  /** Called once: at the answer's end, when the protocol is switched, or at the failure. */
  finished: (outcome: HttpOutcome) => void;
}

/** Serves a stream that another end opened. Sets its handler before it returns. */
export function serveHttp(stream: LinkStream, open: Open, { service, finished }: HttpOptions): void {
  let request: LocalRequest;
  try {
    request = readLocalRequest(open);
  } catch (error) {
    const detail = `the server sent a request that cannot be replayed: ${(error as Error).message}`;
    stream.reset("INTERNAL", detail);
    finished({ method: "", target: "", failure: "INTERNAL", detail });
    return;
  }
  const exchange = new HttpExchange(stream, request, { service, finished });
  stream.handler = exchange;
  exchange.start();
}

class HttpExchange implements StreamHandler {
  readonly #stream: LinkStream;
  readonly #request: LocalRequest;
  readonly #service: LocalService;
  readonly #finished: HttpOptions["finished"];

  /** `answered`: the answer has been passed on whole, and the visitor still sends. */
  #phase: "waiting" | "answering" | "answered" | "over" = "waiting";
  /** The attempt under way; an earlier one means nothing any more. */
  #outgoing!: ClientRequest;
  #socket: ServiceSocket | undefined;
  /** What the socket had read before this request. */
  #bytesReadBefore = 0;
  #incoming: IncomingMessage | undefined;
  #status: number | undefined;
  #interims = 0;

  /** What is missing of a body of known length. */
  #bodyLeft: number;
  #visitorEnded = false;
  /** Behind the body of a request to upgrade: for the other protocol, if there will be one. */
  #early: Buffer[] = [];

  constructor(stream: LinkStream, request: LocalRequest, { service, finished }: HttpOptions) {
    this.#stream = stream;
    this.#request = request;
    this.#service = service;
    this.#finished = finished;
    this.#bodyLeft = request.body === "chunked" ? Infinity : request.body;
  }

  start(): void {
    const { upgrade, repeatable } = this.#request;
    const { joining, reusing, fresh } = this.#service;
    this.#send(upgrade ? joining : repeatable ? reusing : fresh);
  }

  #send(agent: LocalService["fresh"]): void {
    const outgoing = startRequest(this.#request, agent);
    this.#outgoing = outgoing;
    outgoing.once("socket", (socket) => {
      this.#socket = socket as ServiceSocket;
      this.#bytesReadBefore = socket.bytesRead;
    });
    outgoing.on("information", (head: ReceivedHead) => this.#passInterim(head));
    outgoing.once("upgrade", (head, socket, early) => this.#switch(head, socket, early));
    outgoing.once("response", (incoming) => this.#answer(incoming));
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      if (outgoing === this.#outgoing) this.#requestFailed(error);
    });
    outgoing.once("close", () => {
      if (outgoing === this.#outgoing) this.#requestClosed();
    });
    if (this.#bodyLeft === 0) outgoing.end();
    else outgoing.flushHeaders();
  }

  // What the visitor sends.

  data(chunk: Buffer): void {
    if (this.#phase === "over") {
      this.#stream.consumed(chunk.length);
      return;
    }
    const body = chunk.length <= this.#bodyLeft ? chunk : chunk.subarray(0, this.#bodyLeft);
    if (body.length > 0) this.#sendBody(body);
    if (body.length === chunk.length) return;
    if (this.#request.upgrade) this.#holdEarly(chunk.subarray(body.length));
    else this.#fail("INTERNAL", "the server sent more of a body than its Content-Length");
  }

  end(trailers: Buffer | undefined): void {
    this.#visitorEnded = true;
    if (this.#phase === "over") return;
    if (this.#request.body === "chunked") this.#endChunked(trailers);
    else if (this.#bodyLeft > 0) this.#fail("INTERNAL", "the server ended a body before its Content-Length");
    if (this.#phase === "answered") this.#phase = "over";
  }

  reset(code: StreamFailure, detail: string): void {
    const failed = this.#phase === "waiting" || this.#phase === "answering";
    this.#phase = "over";
    this.#outgoing.destroy();
    if (failed) this.#report({ failure: code, detail });
  }

  drained(): void {
    this.#incoming?.resume();
  }

  accepted(): void {
    // Only for the end that opened the stream.
  }

  interim(): void {
    // Only for the end that opened the stream.
  }

  #sendBody(chunk: Buffer): void {
    this.#bodyLeft -= chunk.length;
    // Credit goes back when the kernel has taken the bytes. Not by "drain": node:http gives none behind an early answer.
    this.#outgoing.write(chunk, () => this.#stream.consumed(chunk.length));
    if (this.#bodyLeft > 0) return;
    this.#outgoing.end();
    if (this.#phase === "answered") this.#settle();
  }

  #endChunked(trailers: Buffer | undefined): void {
    try {
      if (trailers) this.#outgoing.addTrailers(pairs(parseFields(trailers)));
    } catch {
      this.#fail("INTERNAL", "the server sent trailers that are none");
      return;
    }
    this.#outgoing.end();
  }

  /** Held without giving credit back, so that there is a bound; dropped if the service does not switch. */
  #holdEarly(chunk: Buffer): void {
    if (this.#phase === "waiting") this.#early.push(chunk);
    else this.#stream.consumed(chunk.length);
  }

  // What the service sends.

  #passInterim(received: ReceivedHead): void {
    if (this.#phase !== "waiting") return;
    const head = readAnswerHead(received, this.#request.method);
    if (typeof head === "string") this.#badAnswer(head);
    else if (++this.#interims > MAX_INTERIM) this.#badAnswer(`more than ${MAX_INTERIM} interim answers`);
    else this.#stream.interim(head.bytes);
  }

  #answer(incoming: IncomingMessage): void {
    if (this.#phase !== "waiting") return;
    const head = readAnswerHead(incoming, this.#request.method);
    // A 101 that switches comes by "upgrade".
    if (typeof head === "string" || head.status < 200) {
      this.#badAnswer(typeof head === "string" ? head : `status ${head.status} that switches nothing`);
      return;
    }
    this.#phase = "answering";
    this.#status = head.status;
    this.#incoming = incoming;
    if (this.#socket) this.#socket.idleMs = idleTime(head.keepAlive);
    this.#stream.accept(head.bytes, head.bodiless);
    this.#dropEarly();
    incoming.on("data", (chunk: Buffer) => {
      if (this.#phase === "answering" && !this.#stream.write(chunk)) incoming.pause();
    });
    incoming.once("end", () => this.#answerEnded(incoming, head));
    incoming.on("error", (error) => this.#answerCut(error.message));
    incoming.once("close", () => this.#answerCut("closed"));
  }

  #answerEnded(incoming: IncomingMessage, head: AnswerHead): void {
    if (this.#phase !== "answering") return;
    if (!incoming.complete || (head.closeDelimited && this.#socket?.writeFailed)) {
      this.#answerCut("closed");
      return;
    }
    const trailers = incoming.rawTrailers.length > 0 ? encodeFields(incoming.rawTrailers) : undefined;
    if (trailers && trailers.length > MAX_HEAD_BYTES) {
      this.#badAnswer("a trailer section that is too long");
      return;
    }
    if (!head.bodiless) this.#stream.end(trailers);
    this.#phase = "answered";
    this.#report({});
    this.#settle();
  }

  /** The answer is whole. An upload goes on for as long as the service takes it. */
  #settle(): void {
    const unwanted = this.#bodyLeft === 0 ? this.#request.upgrade : this.#outgoing.destroyed;
    if (!this.#visitorEnded && !unwanted) return;
    this.#phase = "over";
    if (!this.#visitorEnded) this.#stream.reset("COMPLETE");
  }

  #answerCut(detail: string): void {
    if (this.#phase === "answering") {
      this.#fail("CONNECTION_LOST", `${this.#name} broke off its answer: ${detail}`);
    }
  }

  #switch(received: IncomingMessage, socket: Socket, early: Buffer): void {
    if (this.#phase !== "waiting") {
      socket.destroy();
      return;
    }
    const head = readAnswerHead(received, this.#request.method);
    if (typeof head === "string" || !this.#request.upgrade) {
      socket.destroy();
      this.#badAnswer(typeof head === "string" ? head : "a switch of protocols that nobody asked for");
      return;
    }
    this.#phase = "over";
    this.#status = head.status;
    this.#stream.accept(head.bytes);
    this.#report({});
    joinSocket(this.#stream, socket, { early });
    for (const chunk of this.#early) this.#stream.handler.data(chunk);
    this.#early = [];
    if (this.#visitorEnded) this.#stream.handler.end(undefined);
  }

  #dropEarly(): void {
    for (const chunk of this.#early) this.#stream.consumed(chunk.length);
    this.#early = [];
  }

  // How it fails.

  /** An error of the request or of its connection, at any time. */
  #requestFailed(error: NodeJS.ErrnoException): void {
    if (this.#phase === "answering") {
      // Behind the whole answer errors are no matter. Said here and not by the answer's own events, since node:http takes
      // even a reset for the end of a body without a length.
      if (this.#incoming?.complete) return;
      if (isParseError(error)) this.#badAnswer(error.message);
      else this.#answerCut(error.code ?? error.message);
      return;
    }
    if (this.#phase !== "waiting") return;
    const silent = !this.#socket || this.#socket.bytesRead === this.#bytesReadBefore;
    if (silent && this.#request.repeatable && this.#outgoing.reusedSocket) {
      this.#send(this.#service.fresh);
      return;
    }
    const unreached = dialFailure(error, this.#service.target);
    if (unreached) this.#fail(unreached.code, unreached.detail, unreached.publicDetail);
    else if (isTlsRecord(error)) this.#badAnswer(`it speaks TLS; its target is https://${this.#name}`);
    else if (isParseError(error)) this.#badAnswer(error.message);
    else if (silent) this.#fail("CONNECTION_LOST", this.#closedWithoutAnswer());
    else this.#badAnswer("the connection was closed within the head");
  }

  /** The request is done with its connection, one way or the other. */
  #requestClosed(): void {
    if (this.#phase === "waiting") this.#fail("CONNECTION_LOST", `${this.#name} closed the connection`);
    else if (this.#phase === "answered") this.#settle();
  }

  /** Many a TLS server meets plain HTTP with silence. */
  #closedWithoutAnswer(): string {
    const { target } = this.#service;
    const mayBeTls = "host" in target && !target.tls && !this.#outgoing.reusedSocket;
    const hint = mayBeTls ? `; if it speaks TLS, its target is https://${this.#name}` : "";
    return `${this.#name} closed the connection without an answer${hint}`;
  }

  #badAnswer(what: string): void {
    this.#fail("BAD_RESPONSE", `${this.#name} sent an answer that breaks HTTP: ${what}`);
  }

  #fail(code: ResetCode, detail: string, publicDetail = detail): void {
    this.#phase = "over";
    this.#outgoing.destroy();
    this.#stream.reset(code, publicDetail);
    this.#report({ failure: code, detail });
  }

  #report(outcome: Pick<HttpOutcome, "failure" | "detail">): void {
    const { method, target } = this.#request;
    this.#finished({ method, target, ...(this.#status && { status: this.#status }), ...outcome });
  }

  get #name(): string {
    return formatTarget(this.#service.target);
  }
}

function isParseError(error: NodeJS.ErrnoException): boolean {
  return error.code?.startsWith("HPE_") ?? false;
}

/** Whether the bytes that are no HTTP are an alert of TLS (RFC 8446 section 5.1). */
function isTlsRecord(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): boolean {
  return error.rawPacket?.[0] === 0x15 && error.rawPacket[1] === 0x03;
}

function pairs(fields: RawFields): [string, string][] {
  const result: [string, string][] = [];
  for (let i = 0; i < fields.length; i += 2) result.push([fields[i]!, fields[i + 1]!]);
  return result;
}

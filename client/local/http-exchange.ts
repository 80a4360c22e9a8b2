/** Replays a visitor's HTTP request against a local service, and sends the answer back as it comes. */
import { joinSocket } from "../../link/join-socket.ts";
import type { Open } from "../../link/messages.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";
import { formatTarget } from "../../link/target.ts";
import type { AnswerHead } from "./answer-head.ts";
import { type LocalRequest, readLocalRequest } from "./local-request.ts";
import { idleTime, type LocalService } from "./local-service.ts";
import { brokenAnswer, type Failure, noAnswer, saidToBoth } from "./no-answer.ts";
import { RequestWriter } from "./request-writer.ts";
import type { ConnectionUser, ServiceConnection } from "./service-connection.ts";

/** Interim answers cost no credit, so a service gets no more of them. */
const MAX_INTERIM = 100;

/** Those beyond are none that HTTP defines; they pass everywhere, but older servers end the link for them. */
const MAX_NARROW_STATUS = 599;

/** How an exchange ended. */
export interface HttpOutcome {
  /** As in the request; empty if it was none. */
  method: string;
  target: string;
  /** Of the answer, if one had begun. */
  status?: number | undefined;
  /** Why it ended early, if it did. */
  failure?: StreamFailure | undefined;
  /** For this client's log. */
  detail?: string | undefined;
}

export interface HttpOptions {
  service: LocalService;
  /** Whether the other end takes statuses from 600 to 999. */
  wideStatuses?: boolean | undefined;
  /** Called once: at the answer's end, when the protocol is switched, or at the failure. */
  finished: (outcome: HttpOutcome) => void;
}

/** Serves a stream that another end opened. Sets its handler before it returns. */
export function serveHttp(stream: LinkStream, open: Open, options: HttpOptions): void {
  let request: LocalRequest;
  try {
    request = readLocalRequest(open);
  } catch (error) {
    const detail = `the server sent a request that cannot be replayed: ${(error as Error).message}`;
    stream.reset("INTERNAL", detail);
    options.finished({ method: "", target: "", failure: "INTERNAL", detail });
    return;
  }
  const exchange = new HttpExchange(stream, request, options);
  stream.handler = exchange;
  exchange.start();
}

class HttpExchange implements StreamHandler, ConnectionUser {
  readonly #stream: LinkStream;
  readonly #request: LocalRequest;
  readonly #service: LocalService;
  readonly #wideStatuses: boolean;
  readonly #finished: HttpOptions["finished"];
  readonly #writer: RequestWriter;

  /** `answered`: the answer has been passed on whole, and the visitor still sends. */
  #phase: "waiting" | "answering" | "answered" | "over" = "waiting";
  /** Until it is given back. */
  #connection: ServiceConnection | undefined;
  /** Nothing follows the request on its connection. */
  #last = false;
  #head: AnswerHead | undefined;
  #interims = 0;

  #visitorEnded = false;
  /** Behind the body of a request to upgrade: for the other protocol, if there will be one. */
  #early: Buffer[] = [];

  constructor(
    stream: LinkStream,
    request: LocalRequest,
    { service, wideStatuses = true, finished }: HttpOptions,
  ) {
    this.#stream = stream;
    this.#request = request;
    this.#service = service;
    this.#wideStatuses = wideStatuses;
    this.#finished = finished;
    this.#writer = new RequestWriter(request, stream);
  }

  start(): void {
    this.#send(this.#service.connectionFor(this.#request));
  }

  #send(connection: ServiceConnection): void {
    const { method, signsIn, visitor, body, repeatable } = this.#request;
    this.#connection = connection;
    if (signsIn) connection.signedIn = true;
    connection.begin(this, method);
    // Nobody knows whether the service reads the body, and what it leaves would be taken for the next request.
    this.#last = connection.signedIn ? visitor === 0 : body !== 0;
    this.#writer.begin(connection.socket, this.#last);
    // What is not sent again need not be kept; its answer may take long.
    if (!connection.reused || !repeatable) this.#request.head = "";
  }

  // What the visitor sends.

  data(chunk: Buffer): void {
    if (this.#phase === "over") {
      this.#stream.consumed(chunk.length);
      return;
    }
    const behind = this.#writer.write(chunk);
    if (!behind) this.#settle();
    else if (this.#request.upgrade) this.#holdEarly(behind);
    else this.#fail(saidToBoth("INTERNAL", "the server sent more of a body than its Content-Length"));
  }

  end(trailers: Buffer | undefined): void {
    this.#visitorEnded = true;
    if (this.#phase === "over") return;
    try {
      this.#writer.end(trailers);
    } catch {
      this.#fail(saidToBoth("INTERNAL", "the server sent trailers that are none"));
      return;
    }
    if (this.#writer.done) this.#settle();
    else this.#fail(saidToBoth("INTERNAL", "the server ended a body before its Content-Length"));
  }

  reset(code: StreamFailure, detail: string): void {
    const isNews = this.#phase === "waiting" || this.#phase === "answering";
    this.#phase = "over";
    this.#drop();
    if (isNews) this.#report({ failure: code, detail });
  }

  drained(): void {
    this.#connection?.resume();
  }

  accepted(): void {
    // Only for the end that opened the stream.
  }

  interim(): void {
    // As `accepted`.
  }

  /** Held without giving credit back, so that there is a bound; dropped if the service does not switch. */
  #holdEarly(chunk: Buffer): void {
    if (this.#phase === "waiting") this.#early.push(chunk);
    else this.#stream.consumed(chunk.length);
  }

  // What the service sends.

  interimAnswer(head: AnswerHead): void {
    if (head.signsIn) this.#connection!.signedIn = true;
    if (++this.#interims > MAX_INTERIM) this.broken(`more than ${MAX_INTERIM} interim answers`);
    else this.#stream.interim(head.bytes);
  }

  answer(head: AnswerHead): void {
    if (head.switches && !this.#request.upgrade) {
      this.broken("a switch of protocols that nobody asked for");
      return;
    }
    if (head.status > MAX_NARROW_STATUS && !this.#wideStatuses) {
      this.broken(`the status ${head.status}, which this tunnel-server does not take; update it`);
      return;
    }
    this.#head = head;
    this.#phase = "answering";
    this.#stream.accept(head.bytes, head.body === 0 && !head.switches, this.#bind(head));
    if (head.switches) return;
    for (const chunk of this.#early) this.#stream.consumed(chunk.length);
    this.#early = [];
  }

  /** Keeps a connection that is signed in for its visitor. @returns whether it is kept */
  #bind({ signsIn, persistent, switches }: AnswerHead): boolean {
    const connection = this.#connection!;
    const { visitor } = this.#request;
    if (signsIn) connection.signedIn = true;
    const isKept = connection.signedIn && visitor !== 0 && persistent && !switches && !this.#last;
    return isKept && this.#service.bind(connection, visitor);
  }

  body(bytes: Buffer): void {
    if (!this.#stream.write(bytes)) this.#connection?.pause();
  }

  answered(trailers: Buffer | undefined): void {
    if (this.#head?.body !== 0) this.#stream.end(trailers);
    this.#phase = "answered";
    this.#report({});
    // The service may still end an upload.
    this.#connection?.resume();
    this.#settle();
  }

  switched(early: Buffer): void {
    const socket = this.#connection!.detach();
    this.#connection = undefined;
    this.#phase = "over";
    this.#report({});
    joinSocket(this.#stream, socket, { early });
    for (const chunk of this.#early) this.#stream.handler.data(chunk);
    if (this.#visitorEnded) this.#stream.handler.end(undefined);
  }

  /** The answer is whole. An upload goes on for as long as the service takes it. */
  #settle(): void {
    if (this.#phase !== "answered") return;
    const { done } = this.#writer;
    const { persistent } = this.#head!;
    if (!done && persistent && this.#connection) return;
    if (this.#connection) this.#release(this.#connection);
    this.#connection = undefined;
    // Else the visitor's end is on its way.
    if (!this.#visitorEnded && done && !this.#request.upgrade) return;
    this.#phase = "over";
    if (!this.#visitorEnded) this.#stream.reset("COMPLETE");
  }

  #release(connection: ServiceConnection): void {
    const { persistent, keepAlive } = this.#head!;
    const isBound = connection.boundTo !== 0;
    const mayServeOthers = !connection.signedIn && !this.#request.upgrade;
    const isReusable = this.#writer.done && persistent && !this.#last && (isBound || mayServeOthers);
    connection.release(isReusable ? idleTime(keepAlive, isBound) : 0);
  }

  // How it fails.

  broken(fault: string, bytes?: Buffer): void {
    const isFirst = this.#phase === "waiting";
    this.#fail(brokenAnswer(this.#service.target, fault, isFirst ? bytes : undefined));
  }

  lost(error?: NodeJS.ErrnoException): void {
    const { target } = this.#service;
    const connection = this.#connection!;
    this.#drop();
    if (this.#phase === "answered") this.#settle();
    else if (this.#phase === "answering") {
      const what = `${formatTarget(target)} broke off its answer: ${error?.code ?? "closed"}`;
      this.#fail(saidToBoth("CONNECTION_LOST", what));
    } else if (connection.silent && connection.reused && this.#request.repeatable) {
      this.#send(this.#service.fresh(this.#request));
    } else this.#fail(noAnswer(target, error, connection));
  }

  #fail({ code, detail, publicDetail }: Failure): void {
    const isNews = this.#phase !== "answered";
    this.#phase = "over";
    this.#drop();
    this.#stream.reset(code, publicDetail);
    if (isNews) this.#report({ failure: code, detail });
  }

  #drop(): void {
    this.#connection?.destroy();
    this.#connection = undefined;
  }

  #report(outcome: Pick<HttpOutcome, "failure" | "detail">): void {
    const { method, target } = this.#request;
    const { failure, detail } = outcome;
    this.#finished({ method, target, status: this.#head?.status, failure, detail });
  }
}

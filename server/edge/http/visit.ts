import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { TunnelError } from "../../../link/errors.ts";
import {
  encodeFields,
  encodeRequestHead,
  parseResponseHead,
  type ResponseHead,
} from "../../../link/http-head.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../../link/stream.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Route } from "../../routing/route.ts";
import { logAccess } from "./access-log.ts";
import { Answer, type AnswerOwner } from "./answer.ts";
import { errorAnswer } from "./error-page.ts";
import { requestFields, requestTrailers, saysProxied, type Peer } from "./forwarding.ts";
import { Passage, type PassageContext, type Traveller } from "./passage.ts";
import {
  BODY_TOO_LARGE,
  malformedRequest,
  NO_ANSWER,
  OFFLINE,
  refusalFor,
  TOO_MANY_REQUESTS,
  type Refusal,
} from "./refusals.ts";
import type { RequestFacts } from "./request-check.ts";
import { newRequestId } from "../request-id.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";
import { Upload } from "./upload.ts";
import type { Turn, VisitorConnection } from "./visitor-connection.ts";

/** What every visit uses of the edge. */
export interface VisitContext extends PassageContext {
  readonly log: Pick<Log, "info">;
  readonly proxies: TrustedProxies;
  /** Of a request's body. */
  readonly bodyBytes: number;
  /** How long the head of the answer may take after the last sign of life. */
  readonly timeoutMs: number;
  /** How long a connection may be idle; visitors are told. */
  readonly idleSeconds: number;
  /** No connection is kept for another request. */
  readonly stopping: boolean;
}

/** As node's http reads it. */
const AWAITS_CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i;

/** A request that asks to leave HTTP behind. */
export interface UpgradeOffer {
  protocols: readonly string[];
  /**
   * The local service has said 101: the connection is no HTTP any more, and the stream not the visit's.
   *
   * @returns whether the visitor had asked for it
   */
  switched(head: ResponseHead, stream: LinkStream): boolean;
  /** The answer is an ordinary one, and sent; the connection ends behind it. */
  refused(): void;
}

/** One visitor's request, and the stream that carries it. */
export class Visit implements StreamHandler, Turn, Traveller, AnswerOwner {
  readonly readsBehindEnd = true;
  readonly requestId = newRequestId();
  readonly #context: VisitContext;
  readonly #connection: VisitorConnection;
  readonly #request: IncomingMessage;
  /** Who asks, also where a proxy in front stands between. */
  readonly #peer: Peer;
  readonly #visitor: string;
  readonly #response: ServerResponse | undefined;
  readonly #body: Readable;
  readonly #facts: RequestFacts | undefined;
  readonly #upgrade: UpgradeOffer | undefined;
  readonly #answer: Answer;
  readonly #startedAt = performance.now();

  #begun = false;
  /** Why the edge answers by itself, known before the visit's turn. */
  #refusal: Refusal | undefined;
  #passage: Passage | undefined;
  /** Tells the client that has the stream of the end of the visitor's connection. */
  #visitorLeft: Route["visitorLeft"];
  #stream: LinkStream | undefined;
  /** Absent for a request without a body. */
  #upload: Upload | undefined;
  /** Where the next request would begin is not certain. */
  #unreadable = false;
  /** Bytes of the stream that wait in the visitor's socket. */
  #owed = 0;
  /** The stream that has ended, while bytes of it still wait in the visitor's socket. */
  #unread: LinkStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: string | undefined;
  #detail: string | undefined;
  #switched = false;
  #logged = false;

  constructor(options: {
    context: VisitContext;
    connection: VisitorConnection;
    request: IncomingMessage;
    /** What node would answer with; left out where the connection is not node's any more. */
    response?: ServerResponse;
    /** What the check of its head gave. */
    checked: RequestFacts | Refusal;
    upgrade?: UpgradeOffer;
    /** Where the body is read; the request itself if left out. */
    body?: Readable | undefined;
  }) {
    this.#context = options.context;
    this.#connection = options.connection;
    this.#request = options.request;
    this.#response = options.response;
    this.#body = options.body ?? options.request;
    const { peer, visitor, trusted } = options.connection;
    this.#peer = trusted ? options.context.proxies.visitorBehind(peer, options.request.rawHeaders) : peer;
    this.#visitor = trusted ? this.#peer.address : visitor;
    this.#upgrade = options.upgrade;
    if ("sentence" in options.checked) this.#refusal = options.checked;
    else this.#facts = options.checked;
    const { method, headers, httpVersion } = options.request;
    this.#answer = new Answer({
      output: options.connection.output,
      toHead: method === "HEAD",
      http10: httpVersion !== "1.1",
      keepAlive: options.response?.shouldKeepAlive === true,
      awaitsContinue: headers.expect !== undefined && AWAITS_CONTINUE.test(headers.expect),
      idleSeconds: options.context.idleSeconds,
      owner: this,
    });
  }

  // What the connection says.

  get received(): boolean {
    if (this.#unreadable) return false;
    return this.#begun ? this.#uploaded : this.#request.complete;
  }

  get bodyBytes(): number {
    return this.#upload?.bytes ?? 0;
  }

  get answered(): boolean {
    return this.#answer.state === "whole" || this.#answer.state === "sent";
  }

  begin(): void {
    this.#begun = true;
    if (this.#refusal) return this.refuse(this.#refusal);
    // There is the one or the other.
    const facts = this.#facts!;
    if (facts.bodyLength !== 0) this.#upload = this.#readBody();
    if (facts.bodyLength > this.#context.bodyBytes) return this.refuse(BODY_TOO_LARGE);
    this.#pass(facts);
  }

  writable(): void {
    const owed = this.#owed;
    this.#owed = 0;
    if (owed > 0) (this.#stream ?? this.#unread)?.consumed(owed);
  }

  broken(refusal: Refusal): void {
    if (this.#unreadable) return;
    this.#unreadable = true;
    this.#refusal = refusal;
    if (!this.#begun) return;
    this.#stream?.reset("CANCELLED", "the rest of the request cannot be read");
    this.#stream = undefined;
    if (!this.answered) this.refuse(refusal);
    else if (this.#answer.state === "sent") this.#connection.linger();
  }

  visitorLeft(failure = "VISITOR_LEFT"): void {
    if (!this.#switched) {
      this.#stream?.reset("CANCELLED", "the visitor left");
      this.#stream = undefined;
      if (this.#answer.state !== "sent") this.#failure ??= failure;
    }
    this.#unread?.reset("CANCELLED", "the visitor left");
    this.#finish();
  }

  // What the stream says. Bytes that are no head at all end the client's link: `parseResponseHead` throws.

  accepted(head: Buffer, bound: boolean): void {
    this.#stopTimer();
    if (bound && this.#visitorLeft) this.#connection.tellAtEnd(this.#visitorLeft);
    const parsed = parseResponseHead(head);
    if (parsed.status === 101 && this.#upgrade) {
      this.#switched = this.#upgrade.switched(parsed, this.#stream!);
      if (!this.#switched) this.#violation("it switches to a protocol that nobody asked for");
      return;
    }
    if (this.#context.stopping) this.#answer.keepAlive = false;
    if (parsed.status < 200 || !this.#answer.begin(parsed)) this.#violation("a head that is no answer");
  }

  interim(head: Buffer): void {
    const parsed = parseResponseHead(head);
    if (parsed.status >= 200 || parsed.status === 101) {
      this.#violation("an interim head that is none");
      return;
    }
    this.#timer?.refresh();
    // A visitor who does not read gets no heap of them.
    if (!this.#connection.socket.writableNeedDrain) this.#answer.interim(parsed);
  }

  data(chunk: Buffer): void {
    if (!this.#answer.fits(chunk.length)) return this.#violation("more body than the head says");
    if (this.#answer.write(chunk)) this.#stream?.consumed(chunk.length);
    else this.#owed += chunk.length;
  }

  end(trailers: Buffer | undefined): void {
    if (!this.#answer.end(trailers)) return this.#violation("less body than the head says, or bad trailers");
    if (this.#upgrade) this.#endRefusedUpgrade();
    else if (this.#uploaded) this.#leaveStream();
  }

  reset(code: StreamFailure, detail: string): void {
    // Both ends have said all, and this visitor does not read it: only its connection can make room.
    if (this.#unread && code === "OVERLOADED") return this.#connection.cut(this.#answer.endsByClose);
    this.#stream = undefined;
    // An end that was still on its way says nothing that the length has not said.
    if (this.#answer.full) this.#answer.end(undefined);
    if (this.answered) {
      // Whatever became of the rest of the request: its answer is whole.
      this.#dropBody();
      this.#leaveWhenDone();
    } else {
      this.#fail(refusalFor(code), detail);
    }
  }

  drained(): void {
    this.#timer?.refresh();
    this.#upload?.resume();
  }

  // What the passage says.

  wayFree(route: Route, open: NonNullable<Route["open"]>): void {
    this.#upload?.resume();
    const facts = this.#facts!;
    const fields = requestFields(this.#request.rawHeaders, facts, {
      peer: this.#peer,
      hostHeader: route.hostHeader,
      scheme: route.scheme,
      upgrade: this.#upgrade?.protocols ?? [],
    });
    const head = encodeRequestHead({ method: this.#request.method!, target: facts.target, fields });
    const end = facts.bodyLength === 0 && !this.#upgrade;
    const visitorConnection = this.#isShared ? 0 : this.#connection.number;
    this.#visitorLeft = route.visitorLeft;
    this.#timer = setTimeout(timedOut, route.timeoutMs ?? this.#context.timeoutMs, this);
    try {
      const stream = open(
        { requestId: this.requestId, visitor: this.#visitor, head, end, visitorConnection },
        this,
      );
      if (!this.#failure) this.#stream = stream;
    } catch (error) {
      const full = error instanceof TunnelError && error.code === "overloaded";
      this.#fail(
        full ? TOO_MANY_REQUESTS.client : OFFLINE,
        error instanceof Error ? error.message : String(error),
      );
    }
  }

  held(): void {
    this.#upload?.pause();
  }

  /** Answers with a page, or cuts an answer that has begun. */
  refuse(refusal: Refusal): void {
    this.#stopTimer();
    this.#passage?.giveUp();
    this.#failure ??= refusal.code;
    if (refusal.close) this.#unreadable = true;
    if (this.#answer.state !== "none") {
      this.#connection.cut(this.#answer.endsByClose);
      return;
    }
    if (!this.received || this.#context.stopping) this.#answer.keepAlive = false;
    const { accept } = this.#request.headers;
    this.#answer.page(errorAnswer(refusal, this.requestId, accept));
    this.#dropBody();
  }

  // What the answer says.

  answerSent(): void {
    // Node gives the connection to the next request.
    this.#response?.emit("finish");
    if (!this.#answer.keepAlive && !this.#upgrade) this.#connection.endBehindAnswer();
    this.writable();
    this.#unread = undefined;
    this.#upgrade?.refused();
    if (this.#upload?.state === "dropped") this.#connection.discard();
    if (!this.#unreadable && !this.#upgrade) return this.#leaveWhenDone();
    this.#connection.linger();
    this.#finish();
  }

  #pass(facts: RequestFacts): void {
    this.#passage = new Passage({
      context: this.#context,
      hostname: facts.hostname,
      network: this.#peer.network,
      traveller: this,
    });
    this.#passage.start();
  }

  /** A proxy may bring the requests of many visitors by one connection. */
  get #isShared(): boolean {
    return this.#connection.trusted || saysProxied(this.#request.headers);
  }

  get #uploaded(): boolean {
    return this.#upload === undefined || this.#upload.state === "done";
  }

  #readBody(): Upload {
    return new Upload({
      body: this.#body,
      take: (chunk) => {
        this.#timer?.refresh();
        if (this.#upload!.bytes > this.#context.bodyBytes) this.#bodyTooLarge();
        return this.#stream?.write(chunk) !== false;
      },
      droppedEnough: () => this.#connection.discardedEnough,
      ended: () => this.#bodyEnded(),
    });
  }

  #bodyEnded(): void {
    const { rawTrailers } = this.#request;
    if (this.#unreadable) return;
    this.#answer.bodyHasCome();
    const trailers = rawTrailers.length > 0 ? requestTrailers(rawTrailers) : [];
    if (!trailers) {
      this.broken(malformedRequest("The request's trailers hold a field that belongs in its head."));
      return;
    }
    this.#timer?.refresh();
    if (!this.#upgrade) this.#stream?.end(trailers.length > 0 ? encodeFields(trailers) : undefined);
    if (this.answered) this.#leaveStream();
    this.#leaveWhenDone();
  }

  /** An upgrade's stream stays open behind the request, for what would follow a 101; and nothing does. */
  #endRefusedUpgrade(): void {
    if (this.#uploaded) this.#stream?.end();
    else this.#stream?.reset("CANCELLED", "the upgrade was refused before its body had come");
    this.#stream = undefined;
    this.#upload?.drop();
  }

  /** Whatever follows of the request is read, within bounds once the answer is out, and dropped. */
  #dropBody(): void {
    this.#upload?.drop();
    if (!this.#uploaded && this.#answer.state === "sent") this.#connection.discard();
  }

  #bodyTooLarge(): void {
    this.#stream?.reset("CANCELLED", "the request's body is larger than the server takes");
    this.#stream = undefined;
    if (!this.answered) this.refuse(BODY_TOO_LARGE);
  }

  timeOut(): void {
    this.#stream?.reset("TIMEOUT", "no answer in time");
    this.#stream = undefined;
    this.#fail(NO_ANSWER);
  }

  /** The other end broke the contract. */
  #violation(detail: string): void {
    this.#stream?.reset("INTERNAL", detail);
    this.#stream = undefined;
    this.#fail(refusalFor("BAD_RESPONSE"), detail);
  }

  #fail(refusal: Refusal, detail?: string): void {
    this.#detail ??= detail;
    if (this.#answer.state === "none") return this.refuse(refusal);
    this.#failure ??= refusal.code;
    this.#connection.cut(this.#answer.endsByClose);
  }

  /** Nothing more comes; what waits in the socket is still owed. */
  #leaveStream(): void {
    if (this.#owed > 0) this.#unread = this.#stream;
    this.#stream = undefined;
  }

  #leaveWhenDone(): void {
    if (this.#answer.state !== "sent" || !this.received || this.#stream) return;
    this.#finish();
    this.#connection.over(this);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #finish(): void {
    this.#stopTimer();
    if (this.#logged) return;
    this.#logged = true;
    this.#passage?.end();
    const { socket } = this.#connection;
    logAccess(this.#context.log, {
      requestId: this.requestId,
      visitor: this.#visitor,
      method: this.#request.method,
      host: this.#facts?.hostname ?? this.#request.headers.host,
      target: this.#request.url,
      status: this.#switched ? 101 : this.#answer.status,
      bytesIn: this.#switched ? socket.bytesRead : (this.#upload?.bytes ?? 0),
      bytesOut: this.#switched ? socket.bytesWritten : this.#answer.bytes,
      startedAt: this.#startedAt,
      tunnel: this.#passage?.route?.tunnel,
      key: this.#passage?.route?.key,
      failure: this.#failure,
      detail: this.#detail,
    });
  }
}

function timedOut(visit: Visit): void {
  visit.timeOut();
}

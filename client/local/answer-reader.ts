import { type AnswerHead, readAnswerHead } from "./answer-head.ts";
import { ChunkedBody } from "./chunked-body.ts";
import { HeadSection } from "./head-section.ts";

/** Who is told of an answer as it comes; each call before the next byte is looked at. */
export interface AnswerSink {
  /** A 1xx head that switches nothing. */
  interimAnswer(head: AnswerHead): void;
  /** The head; only interim ones come before it. */
  answer(head: AnswerHead): void;
  /** Some of the body: a part of what was pushed, not copied. */
  body(bytes: Buffer): void;
}

/** Reads one answer from a connection, as RFC 9112 lets a client; what can be read in two ways is broken. */
export class AnswerReader {
  /** `whole`: what follows its last byte is nobody's. `switched`: it is another protocol's. */
  state: "reading" | "whole" | "switched" | "broken" | "stopped" = "reading";
  /** Whether any byte of an answer, interim ones too, has come. */
  begun = false;
  /** What is wrong with it once it is broken. */
  fault = "";
  /** Once it is whole. */
  trailers: Buffer | undefined;

  readonly #method: string;
  readonly #sink: AnswerSink;
  /** Of the head that has begun to come. */
  #section: HeadSection | undefined;
  #chunks: ChunkedBody | undefined;
  /** What is missing of the body; `undefined` before it. */
  #bodyLeft: number | undefined;

  constructor(method: string, sink: AnswerSink) {
    this.#method = method;
    this.#sink = sink;
  }

  /** @returns how many of the bytes are the answer's */
  push(chunk: Buffer): number {
    let at = 0;
    if (chunk.length > 0) this.begun = true;
    while (at < chunk.length && this.state === "reading") {
      if (this.#chunks) at = this.#pushChunks(chunk, at, this.#chunks);
      else if (this.#bodyLeft !== undefined) at = this.#pushBody(chunk, at, this.#bodyLeft);
      else at = this.#pushHead(chunk, at);
    }
    return at;
  }

  /** The service has ended the connection. `true`: and with it the answer. */
  end(): boolean {
    if (this.state !== "reading" || this.#bodyLeft !== Infinity) return false;
    this.state = "whole";
    return true;
  }

  /** Nothing more is wanted. */
  stop(): void {
    this.state = "stopped";
  }

  #pushHead(chunk: Buffer, from: number): number {
    this.#section ??= new HeadSection(START);
    const to = this.#section.push(chunk, from);
    if (typeof to === "string") return this.#break(to, from);
    const { lines } = this.#section;
    if (!lines) return to;
    this.#section = undefined;
    const head = readAnswerHead(lines, this.#method);
    if (typeof head === "string") return this.#break(head, from);
    if (head.status >= 200 || head.switches) {
      this.#beginBody(head);
      this.#sink.answer(head);
    } else {
      this.#sink.interimAnswer(head);
    }
    return to;
  }

  #beginBody({ body, switches }: AnswerHead): void {
    if (switches) this.state = "switched";
    else if (body === 0) this.state = "whole";
    else if (body === "chunked") this.#chunks = new ChunkedBody();
    else this.#bodyLeft = body === "until the end" ? Infinity : body;
  }

  #pushBody(chunk: Buffer, from: number, left: number): number {
    const to = Math.min(chunk.length, from + left);
    this.#bodyLeft = left - (to - from);
    if (this.#bodyLeft === 0) this.state = "whole";
    this.#sink.body(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to));
    return to;
  }

  #pushChunks(chunk: Buffer, from: number, chunks: ChunkedBody): number {
    const to = chunks.push(chunk, from, this.#sink);
    if (typeof to === "string") return this.#break(to, from);
    if (chunks.ended && this.state === "reading") {
      this.state = "whole";
      this.trailers = chunks.trailers;
    }
    return to;
  }

  #break(what: string, at: number): number {
    this.state = "broken";
    this.fault = what;
    return at;
  }
}

const START = "HTTP/1.";

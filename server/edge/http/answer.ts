import { fieldLines, parseFields, type RawFields, type ResponseHead } from "../../../link/http-head.ts";
import type { ErrorAnswer } from "./error-page.ts";
import { answerFields, interimFields, trailerFields } from "./forwarding.ts";
import type { VisitorOutput } from "./visitor-output.ts";

export interface AnswerOptions {
  output: VisitorOutput;
  /** No body is sent, whatever the head says. */
  toHead: boolean;
  /** The visitor speaks HTTP/1.0: no chunks, no 1xx. */
  http10: boolean;
  /** Whether the connection can be kept, as far as the request goes. */
  keepAlive: boolean;
  /** The request waits for a 100 before its body: without one nobody knows whether a body follows. */
  awaitsContinue: boolean;
  /** How long a kept connection may be idle; the visitor is told. */
  idleSeconds: number;
  owner: AnswerOwner;
}

/** Whose answer it is. */
export interface AnswerOwner {
  /** All of it is with the system. */
  answerSent(): void;
}

/**
 * One answer on its way to a visitor. Each method that returns a boolean says whether what it was given can go on
 * to the visitor without breaking HTTP; after a `false` the connection must be cut.
 *
 * It writes the head as text, and not by node's `ServerResponse`: that takes longer, refuses or garbles some heads
 * (Content-Disposition behind Content-Length), and loses 1xx.
 */
export class Answer {
  /** `none` → `begun` (the head is out) → `whole` (all is with the socket) → `sent` (all is with the system). */
  state: "none" | "begun" | "whole" | "sent" = "none";
  status: number | undefined;
  /** Octets of the body. */
  bytes = 0;
  /** Whether the connection is kept for another request; settled with the head. */
  keepAlive: boolean;
  readonly #output: VisitorOutput;
  readonly #owner: AnswerOwner;
  readonly #toHead: boolean;
  readonly #http10: boolean;
  readonly #idleSeconds: number;
  #awaitsContinue: boolean;
  #contentLength: number | undefined;
  #chunked = false;

  constructor(options: AnswerOptions) {
    this.#output = options.output;
    this.#owner = options.owner;
    this.#toHead = options.toHead;
    this.#http10 = options.http10;
    this.#idleSeconds = options.idleSeconds;
    this.keepAlive = options.keepAlive;
    this.#awaitsContinue = options.awaitsContinue;
  }

  /** Whether the visitor can tell the end of this answer only by the end of the connection. */
  get endsByClose(): boolean {
    return this.state === "begun" && !this.#chunked && this.#contentLength === undefined;
  }

  /** A 1xx ahead of the answer. */
  interim({ status, reason, fields }: ResponseHead): void {
    // HTTP/1.0 has none.
    if (this.#http10) return;
    this.#output.text(`${headText(status, reason, interimFields(fields))}\r\n`);
    this.#output.flush();
    if (status === 100) this.#awaitsContinue = false;
  }

  /** The request's body has come whole, be it that nobody asked for it to go on: the next request begins where it should. */
  bodyHasCome(): void {
    this.#awaitsContinue = false;
  }

  begin(head: ResponseHead): boolean {
    const http10 = this.#http10;
    const bodyless = this.#toHead || head.status === 204 || head.status === 304;
    const answer = answerFields(head, !http10 && !bodyless);
    if (!answer) return false;
    const { fields, contentLength } = answer;
    this.#contentLength = bodyless ? 0 : contentLength;
    this.#chunked = this.#contentLength === undefined && !http10;
    // Of HTTP/1.0 a body without a length ends with the connection, and so it does for many a visitor without a body.
    if (http10 && contentLength === undefined) this.keepAlive = false;
    this.#writeHead(head.status, head.reason, fields);
    return true;
  }

  /** Whether all octets are there that the head promised. */
  get full(): boolean {
    return this.state === "begun" && this.bytes === this.#contentLength;
  }

  /** Whether so many more octets fit the answer. */
  fits(bytes: number): boolean {
    return (
      this.state === "begun" &&
      (this.#contentLength === undefined || this.bytes + bytes <= this.#contentLength)
    );
  }

  /** `false`: the socket has enough for now; the bytes are taken all the same. */
  write(chunk: Buffer): boolean {
    if (chunk.length === 0) return true;
    this.bytes += chunk.length;
    return this.#chunked ? this.#output.chunk(chunk) : this.#output.bytes(chunk);
  }

  end(trailers: Buffer | undefined): boolean {
    if (this.state !== "begun") return false;
    if (this.#contentLength !== undefined && this.bytes !== this.#contentLength) return false;
    if (this.#chunked) {
      const last = trailers ? lastFields(trailers) : "";
      if (last === undefined) return false;
      this.#output.text(`0\r\n${last}\r\n`);
    }
    this.#finish();
    return true;
  }

  /** An answer of our own. */
  page({ status, reason, fields, body }: ErrorAnswer): void {
    this.#contentLength = body.length;
    this.#writeHead(status, reason, [...fields, "Date", new Date().toUTCString()]);
    if (!this.#toHead) {
      this.bytes = body.length;
      this.#output.bytes(body);
    }
    this.#finish();
  }

  #writeHead(status: number, reason: string, fields: RawFields): void {
    if (this.#awaitsContinue) this.keepAlive = false;
    let text = headText(status, reason, fields);
    if (this.keepAlive) {
      text += `Connection: keep-alive\r\nKeep-Alive: timeout=${this.#idleSeconds}\r\n`;
    } else {
      text += "Connection: close\r\n";
    }
    if (this.#chunked) text += "Transfer-Encoding: chunked\r\n";
    this.#output.text(`${text}\r\n`);
    this.state = "begun";
    this.status = status;
  }

  #finish(): void {
    this.state = "whole";
    this.#output.flush(() => {
      this.state = "sent";
      this.#owner.answerSent();
    });
  }
}

function headText(status: number, reason: string, fields: RawFields): string {
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(fields)}`;
}

/** Undefined if they are none that may go on. */
function lastFields(bytes: Buffer): string | undefined {
  let fields: RawFields | undefined;
  try {
    fields = trailerFields(parseFields(bytes));
  } catch {
    return undefined;
  }
  return fields && fieldLines(fields);
}

import type { ServerResponse } from "node:http";
import { parseFields, type RawFields, type ResponseHead } from "../../../link/http-head.ts";
import { contentDispositionAsNodeTakesIt } from "./content-disposition.ts";
import type { ErrorAnswer } from "./error-page.ts";
import { answerFields, trailerFields } from "./forwarding.ts";

/**
 * One answer on its way to a visitor. Each method that returns a boolean says whether what it was given can go on
 * to the visitor without breaking HTTP; after a `false` the connection must be cut.
 */
export class Answer {
  /** `none` → `begun` (the head is out) → `whole` (all is with the socket) → `sent` (all is with the system). */
  state: "none" | "begun" | "whole" | "sent" = "none";
  status: number | undefined;
  /** Octets of the body. */
  bytes = 0;
  readonly #response: ServerResponse;
  readonly #http10: boolean;
  readonly #bodyless: boolean;
  readonly #onSent: () => void;
  #contentLength: number | undefined;
  #chunked = false;

  constructor(options: { response: ServerResponse; http10: boolean; onSent: () => void }) {
    this.#response = options.response;
    this.#http10 = options.http10;
    this.#bodyless = options.response.req.method === "HEAD";
    this.#onSent = options.onSent;
    // Node would send chunks to an HTTP/1.0 visitor who says `TE: chunked`.
    if (options.http10) options.response.useChunkedEncodingByDefault = false;
  }

  /** Whether the visitor can tell the end of this answer only by the end of the connection. */
  get endsByClose(): boolean {
    return this.state === "begun" && !this.#chunked && this.#contentLength === undefined;
  }

  begin(head: ResponseHead): boolean {
    const bodyless = this.#bodyless || head.status === 204 || head.status === 304;
    const answer = answerFields(head, !this.#http10 && !bodyless);
    if (!answer) return false;
    this.#contentLength = bodyless ? 0 : answer.contentLength;
    this.#chunked = this.#contentLength === undefined && !this.#http10;
    this.#response.sendDate = false;
    if (!this.#writeHead(head.status, head.reason, answer.fields)) return false;
    // The head does not wait for the body; what follows in this turn leaves in one packet with it, since node corks the
    // socket. `flushHeaders` would encode it as UTF-8.
    if (!bodyless) this.#response.write("", "latin1");
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
    this.bytes += chunk.length;
    return this.#response.write(chunk);
  }

  end(trailers: Buffer | undefined): boolean {
    if (this.state !== "begun") return false;
    if (this.#contentLength !== undefined && this.bytes !== this.#contentLength) return false;
    if (trailers && this.#chunked && !this.#addTrailers(trailers)) return false;
    this.state = "whole";
    this.#response.end();
    return true;
  }

  /** An answer of our own. */
  page(answer: ErrorAnswer): boolean {
    this.#response.sendDate = true;
    if (!this.#writeHead(answer.status, answer.reason, answer.fields)) return false;
    this.#contentLength = answer.body.length;
    this.bytes = this.#bodyless ? 0 : answer.body.length;
    this.state = "whole";
    this.#response.end(answer.body);
    return true;
  }

  #writeHead(status: number, reason: string, fields: RawFields): boolean {
    try {
      this.#response.writeHead(status, reason, contentDispositionAsNodeTakesIt(fields));
    } catch {
      return false;
    }
    this.state = "begun";
    this.status = status;
    this.#response.once("finish", () => {
      this.state = "sent";
      this.#onSent();
    });
    return true;
  }

  #addTrailers(bytes: Buffer): boolean {
    try {
      const trailers = trailerFields(parseFields(bytes));
      if (!trailers) return false;
      const pairs: [string, string][] = [];
      for (let i = 0; i + 1 < trailers.length; i += 2) pairs.push([trailers[i]!, trailers[i + 1]!]);
      this.#response.addTrailers(pairs);
      return true;
    } catch {
      return false;
    }
  }
}

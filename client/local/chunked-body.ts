import { encodeFields } from "../../link/http-head.ts";
import { HeadSection, MAX_SECTION_BYTES, SECTION_TOO_LARGE } from "./head-section.ts";
import { readFields } from "./received-fields.ts";

/** 2^53 has 14 digits; as many zeros as anybody writes before them. */
const MAX_SIZE_DIGITS = 16;
/** Extensions are not passed on, and nobody has a use for many. */
const MAX_EXTENSION_BYTES = 4 * 1024;
/** RFC 9112 section 7.1.1, in ASCII and without white space. */
const EXTENSIONS =
  /^(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t !#-[\]-~]|\\[\t -~])*"))?)+$/;
/** What would frame the message behind its end (RFC 9110 section 6.5.1). */
const FRAMING = /^(?:content-length|transfer-encoding)$/i;

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;

/** A body in chunks, as it comes (RFC 9112 section 7.1). Its framing is taken in one spelling only: it says where the answer ends. */
export class ChunkedBody {
  ended = false;
  /** As `encodeFields` makes them, once it has ended, if there are any. */
  trailers: Buffer | undefined;
  readonly #section = new HeadSection("");
  /** What comes next; a size with its extensions up to CR. */
  #next: "size" | "extensions" | "LF of size" | "data" | "CR of data" | "LF of data" | "trailers" = "size";
  /** Of the chunk, then what is missing of it. */
  #size = 0;
  #digits = 0;
  #extensions = "";

  /**
   * Passes on the bytes of the body.
   * @returns up to where in the chunk the body goes, or what is wrong with it
   */
  push(chunk: Buffer, from: number, sink: { body(bytes: Buffer): void }): number | string {
    let at = from;
    while (at < chunk.length && !this.ended) {
      if (this.#next === "data") {
        const end = Math.min(chunk.length, at + this.#size);
        this.#size -= end - at;
        if (this.#size === 0) this.#next = "CR of data";
        sink.body(chunk.subarray(at, end));
        at = end;
      } else if (this.#next === "trailers") {
        const end = this.#section.push(chunk, at);
        const wrong = typeof end === "string" ? end : this.#readTrailers();
        if (wrong !== undefined) return `its trailers: ${wrong}`;
        at = end as number;
      } else {
        const wrong = this.#pushFraming(chunk[at++]!);
        if (wrong !== undefined) return wrong;
      }
    }
    return at;
  }

  /** @returns what is wrong with the byte */
  #pushFraming(byte: number): string | undefined {
    switch (this.#next) {
      case "size":
        return this.#pushSize(byte);
      case "extensions":
        return this.#pushExtension(byte);
      case "LF of size":
        this.#next = this.#size > 0 ? "data" : "trailers";
        return byte === LF ? undefined : "a chunk size that does not end with CRLF";
      case "CR of data":
        this.#next = "LF of data";
        return byte === CR ? undefined : "a chunk that does not end where its size says";
      default:
        this.#next = "size";
        this.#digits = 0;
        return byte === LF ? undefined : "a chunk that does not end with CRLF";
    }
  }

  #pushSize(byte: number): string | undefined {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#size = this.#digits === 0 ? digit : this.#size * 16 + digit;
      const fits = ++this.#digits <= MAX_SIZE_DIGITS && Number.isSafeInteger(this.#size);
      return fits ? undefined : "a chunk size that is too large";
    }
    if (this.#digits === 0 || (byte !== CR && byte !== SEMICOLON)) return "a chunk size that is none";
    this.#next = byte === CR ? "LF of size" : "extensions";
    this.#extensions = ";";
    return undefined;
  }

  #pushExtension(byte: number): string | undefined {
    if (byte !== CR) {
      this.#extensions += String.fromCharCode(byte);
      // Not at its end only, which may never come.
      const fits = byte !== LF && this.#extensions.length <= MAX_EXTENSION_BYTES;
      return fits ? undefined : "a chunk extension without end";
    }
    this.#next = "LF of size";
    return EXTENSIONS.test(this.#extensions) ? undefined : "a malformed chunk extension";
  }

  #readTrailers(): string | undefined {
    const { lines } = this.#section;
    if (!lines) return undefined;
    this.ended = true;
    if (lines.length === 0) return undefined;
    const received = readFields(lines.toString("latin1"), 0);
    if (typeof received === "string") return received;
    const { fields } = received;
    if (fields.some((name, i) => i % 2 === 0 && FRAMING.test(name))) return "a length or a coding";
    this.trailers = encodeFields(fields);
    return this.trailers.length > MAX_SECTION_BYTES ? SECTION_TOO_LARGE : undefined;
  }
}

/** @returns -1 if it is none */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

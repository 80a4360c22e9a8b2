/** The most that a head, or a trailer section, may have. */
export const MAX_SECTION_BYTES = 64 * 1024;
/** What is said of more. */
export const SECTION_TOO_LARGE = `headers over ${MAX_SECTION_BYTES / 1024} KiB`;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DEL = 0x7f;

/** Where a byte leaves the section. */
const LINE_START = 0;
const WITHIN_LINE = 1;
const LINE_CR = 2;
const LAST_CR = 3;
const ENDED = 4;
const BROKEN = 5;

/** The next state by state and byte, where every line ends with CRLF. */
const CRLF_ONLY = new Uint8Array(ENDED << 8).fill(BROKEN);
for (let byte = 0; byte < 256; byte++) {
  if (byte !== TAB && (byte < SPACE || byte === DEL)) continue;
  CRLF_ONLY[(WITHIN_LINE << 8) | byte] = WITHIN_LINE;
  if (byte !== TAB && byte !== SPACE) CRLF_ONLY[(LINE_START << 8) | byte] = WITHIN_LINE;
}
CRLF_ONLY[(LINE_START << 8) | CR] = LAST_CR;
CRLF_ONLY[(WITHIN_LINE << 8) | CR] = LINE_CR;
CRLF_ONLY[(LINE_CR << 8) | LF] = LINE_START;
CRLF_ONLY[(LAST_CR << 8) | LF] = ENDED;

/** The same where a line may also end with LF alone. */
const CRLF_OR_LF = CRLF_ONLY.slice();
CRLF_OR_LF[(LINE_START << 8) | LF] = ENDED;
CRLF_OR_LF[(WITHIN_LINE << 8) | LF] = LINE_START;

/**
 * A head, or a trailer section, as it comes: lines up to an empty one (RFC 9112 section 2.1). In a head LF alone ends a line
 * too (section 2.2), since old devices write no other; in trailers, which end a body, only CRLF does. What cannot
 * become one is found at once and not at its end, which may never come: control characters, CR by
 * itself, folded lines (section 5.2), too many bytes.
 */
export class HeadSection {
  /** With their line ends, once all have come; may lie within the chunk that ended it. */
  lines: Buffer | undefined;
  readonly #start: string;
  readonly #next: Uint8Array;
  #state = LINE_START;
  /** What came before the chunk that ends it. */
  #kept: Buffer = EMPTY;
  #keptBytes = 0;

  /** @param start what a head must begin with; empty for trailers */
  constructor(start: string) {
    this.#start = start;
    this.#next = start === "" ? CRLF_ONLY : CRLF_OR_LF;
  }

  /** @returns up to where in the chunk the section goes, or what is wrong with it */
  push(chunk: Buffer, from: number): number | string {
    if (this.#keptBytes < this.#start.length && !this.#startsWell(chunk, from))
      return `it does not begin with ${this.#start}`;
    const limit = Math.min(chunk.length, from + MAX_SECTION_BYTES - this.#keptBytes);
    const next = this.#next;
    let state = this.#state;
    let at = from;
    while (at < limit && state < ENDED) state = next[(state << 8) | chunk[at++]!]!;
    this.#state = state;
    if (state === BROKEN)
      return "a control character, a folded line, or a line that does not end as it should";
    if (state === ENDED && this.#keptBytes === 0) this.lines = withoutLastLine(chunk.subarray(from, at));
    else this.#keep(chunk, from, at);
    return at < chunk.length && state !== ENDED ? SECTION_TOO_LARGE : at;
  }

  #startsWell(chunk: Buffer, from: number): boolean {
    const end = Math.min(this.#start.length, this.#keptBytes + chunk.length - from);
    for (let i = this.#keptBytes; i < end; i++) {
      if (chunk[from + i - this.#keptBytes] !== this.#start.charCodeAt(i)) return false;
    }
    return true;
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const bytes = this.#keptBytes + to - from;
    if (bytes > this.#kept.length) {
      // Room for twice as much, so that what comes byte by byte is not copied for each; on its own, since it may stay for long.
      const larger = Buffer.allocUnsafeSlow(Math.max(1024, 2 * bytes));
      this.#kept.copy(larger, 0, 0, this.#keptBytes);
      this.#kept = larger;
    }
    chunk.copy(this.#kept, this.#keptBytes, from, to);
    this.#keptBytes = bytes;
    if (this.#state === ENDED) this.lines = withoutLastLine(this.#kept.subarray(0, bytes));
  }
}

/** The last line is empty. */
function withoutLastLine(section: Buffer): Buffer {
  return section.subarray(0, section.length - (section.at(-2) === CR ? 2 : 1));
}

const EMPTY = Buffer.alloc(0);

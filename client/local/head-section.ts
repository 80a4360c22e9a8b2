/** The most that a head, or a trailer section, may have. */
export const MAX_SECTION_BYTES = 64 * 1024;

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

/** The next state by state and byte. */
const NEXT = new Uint8Array(ENDED << 8).fill(BROKEN);
for (let byte = 0; byte < 256; byte++) {
  if (byte !== TAB && (byte < SPACE || byte === DEL)) continue;
  NEXT[(WITHIN_LINE << 8) | byte] = WITHIN_LINE;
  if (byte !== TAB && byte !== SPACE) NEXT[(LINE_START << 8) | byte] = WITHIN_LINE;
}
NEXT[(LINE_START << 8) | CR] = LAST_CR;
NEXT[(WITHIN_LINE << 8) | CR] = LINE_CR;
NEXT[(LINE_CR << 8) | LF] = LINE_START;
NEXT[(LAST_CR << 8) | LF] = ENDED;

/**
 * A head, or a trailer section, as it comes: lines, each ended by CRLF, up to an empty one (RFC 9112 section 2.1). What cannot
 * become one is found at once and not at its end, which may never come: control characters, CR and LF by
 * themselves (section 2.2), folded lines (section 5.2), too many bytes.
 */
export class HeadSection {
  /** With their line ends, once all have come; may lie within the chunk that ended it. */
  lines: Buffer | undefined;
  readonly #start: string;
  #state = LINE_START;
  /** What came before the chunk that ends it. */
  #kept: Buffer = EMPTY;
  #keptBytes = 0;

  /** @param start what it must begin with */
  constructor(start: string) {
    this.#start = start;
  }

  /** @returns up to where in the chunk the section goes, or what is wrong with it */
  push(chunk: Buffer, from: number): number | string {
    if (this.#keptBytes < this.#start.length && !this.#startsWell(chunk, from))
      return `it does not begin with ${this.#start}`;
    const limit = Math.min(chunk.length, from + MAX_SECTION_BYTES - this.#keptBytes);
    let state = this.#state;
    let at = from;
    while (at < limit && state < ENDED) state = NEXT[(state << 8) | chunk[at++]!]!;
    this.#state = state;
    if (state === BROKEN) return `a control character, or a line that is folded or does not end with CRLF`;
    if (state === ENDED && this.#keptBytes === 0) this.lines = chunk.subarray(from, at - 2);
    else this.#keep(chunk, from, at);
    return at < chunk.length && state !== ENDED ? `more than ${MAX_SECTION_BYTES} bytes of fields` : at;
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
    if (this.#state === ENDED) this.lines = this.#kept.subarray(0, bytes - 2);
  }
}

const EMPTY = Buffer.alloc(0);

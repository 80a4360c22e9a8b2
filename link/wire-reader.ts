/** Reads protobuf's wire format: https://protobuf.dev/programming-guides/encoding/ */
import { TunnelError } from "./errors.ts";

/** What follows a tag: the forms that the contract uses. */
export const NUMBER = 0;
export const BYTES = 2;

/** Of a number of 32 bits, as all in the contract. */
const MAX_NUMBER_BYTES = 5;

/** Goes through the fields of a message: `next`, then what it holds, by its form. Every method throws TunnelError `protocol`. */
export class WireReader {
  /** The field at hand. */
  field = 0;
  form = 0;
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  /** Goes to the next field; false at the end. */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    const tag = this.#number();
    this.field = tag >>> 3;
    this.form = tag & 7;
    if (this.field === 0) throw malformed("a field 0");
    return true;
  }

  number(): number {
    this.#expect(NUMBER);
    return this.#number();
  }

  /** Without a copy. */
  bytes(): Buffer {
    const end = this.#lengthEnd();
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  text(): string {
    const end = this.#lengthEnd();
    const text = this.#bytes.toString("utf8", this.#at, end);
    this.#at = end;
    return text;
  }

  message(): WireReader {
    const end = this.#lengthEnd();
    const message = new WireReader(this.#bytes, this.#at, end);
    this.#at = end;
    return message;
  }

  /** Passes over a field that a later version has added. */
  skip(): void {
    switch (this.form) {
      case NUMBER:
        this.#skipNumber();
        return;
      case 1:
        this.#at += 8;
        break;
      case BYTES:
        this.#at = this.#lengthEnd();
        return;
      case 5:
        this.#at += 4;
        break;
      default:
        throw malformed("a field of a form that is not in use");
    }
    if (this.#at > this.#end) throw malformed("a field beyond its message");
  }

  /** Of 64 bits, perhaps. */
  #skipNumber(): void {
    while (this.#at < this.#end) if (this.#bytes[this.#at++]! < 0x80) return;
    throw malformed("a number that does not end");
  }

  #expect(form: number): void {
    if (this.form !== form) throw malformed(`field ${this.field} in another form`);
  }

  #lengthEnd(): number {
    this.#expect(BYTES);
    const length = this.#number();
    const end = this.#at + length;
    if (end > this.#end) throw malformed("a field beyond its message");
    return end;
  }

  #number(): number {
    let value = 0;
    for (let shift = 0; shift < 7 * MAX_NUMBER_BYTES && this.#at < this.#end; shift += 7) {
      const byte = this.#bytes[this.#at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw malformed("a number that does not end");
  }
}

export function malformed(what: string, cause?: unknown): TunnelError {
  return new TunnelError("protocol", `a batch that no sender spells so: ${what}`, { cause });
}

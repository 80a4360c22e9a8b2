/**
 * Writes protobuf's wire format from the end to the beginning, so that a length is known when it has to be written. What has
 * been written last stands first.
 */
import { BYTES, NUMBER } from "./wire-reader.ts";

const FIRST_BYTES = 64 * 1024;
/** A buffer that had to become larger is not kept. */
const MAX_KEPT_BYTES = 1024 * 1024;

export class WireWriter {
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = FIRST_BYTES;

  /** How much has been written. */
  get length(): number {
    return this.#buffer.length - this.#at;
  }

  /** Takes out all that has been written, and begins anew. */
  take(): Buffer {
    const written = Buffer.allocUnsafe(this.length);
    written.set(this.#buffer.subarray(this.#at));
    if (this.#buffer.length > MAX_KEPT_BYTES) this.#buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#at = this.#buffer.length;
    return written;
  }

  raw(bytes: Uint8Array): void {
    const at = this.#claim(bytes.length);
    this.#buffer.set(bytes, at);
  }

  uint32BE(value: number): void {
    const at = this.#claim(4);
    this.#buffer.writeUInt32BE(value, at);
  }

  byte(value: number): void {
    const at = this.#claim(1);
    this.#buffer[at] = value;
  }

  /** A number's field; left out if it is 0, as proto3 does. */
  numberField(field: number, value: number): void {
    if (value === 0) return;
    this.#number(value);
    this.#number((field << 3) | NUMBER);
  }

  bytesField(field: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.raw(bytes);
    this.lengthField(field, bytes.length);
  }

  textField(field: number, text: string): void {
    if (text === "") return;
    const length = Buffer.byteLength(text);
    const at = this.#claim(length);
    this.#buffer.write(text, at);
    this.lengthField(field, length);
  }

  /** Tag and length of a field whose content has been written. */
  lengthField(field: number, length: number): void {
    this.#number(length);
    this.#number((field << 3) | BYTES);
  }

  #number(value: number): void {
    let bytes = 1;
    for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes++;
    let at = this.#claim(bytes);
    let rest = value;
    for (; rest >= 0x80; rest >>>= 7) this.#buffer[at++] = (rest & 0x7f) | 0x80;
    this.#buffer[at] = rest;
  }

  /** Room for so many bytes before what is there; the buffer may be another afterwards. */
  #claim(bytes: number): number {
    if (bytes > this.#at) this.#grow(bytes);
    this.#at -= bytes;
    return this.#at;
  }

  #grow(bytes: number): void {
    const { length } = this;
    const grown = Buffer.allocUnsafeSlow(2 * (length + bytes));
    const at = grown.length - length;
    grown.set(this.#buffer.subarray(this.#at), at);
    this.#buffer = grown;
    this.#at = at;
  }
}

/** Runs of chunks: the `data` of a batch. The format is explained in proto/tunnel.proto. */
import { TunnelError } from "./errors.ts";

export const CHUNK_HEADER_BYTES = 8;
/** The most payload that one chunk may hold. */
export const MAX_CHUNK_BYTES = 65_536;

export const END = 1;
export const TRAILERS = 2;
export const DATAGRAM = 4;
/** The most that UDP carries over IPv4: 65,535 without 20 of IP's header and 8 of its own (RFC 768). */
export const MAX_DATAGRAM_BYTES = 65_507;

export function chunkHeader(stream: number, flags: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(CHUNK_HEADER_BYTES);
  header.writeUInt32BE(stream, 0);
  header.writeUInt32BE(flags * 0x1000000 + length, 4);
  return header;
}

/**
 * Told of each piece of payload as it comes; a chunk cut by a slice boundary comes in pieces, its flags with the last. Trailers
 * and datagrams come whole.
 */
export type ChunkListener = (stream: number, flags: number, payload: Buffer) => void;

const EMPTY = Buffer.alloc(0);

/** Reads runs of chunks from slices split anywhere, without copying payload; only what must come whole is gathered. */
export class ChunkReader {
  readonly #listener: ChunkListener;
  readonly #header = Buffer.alloc(CHUNK_HEADER_BYTES);
  #headerBytes = 0;
  #stream = 0;
  #flags = 0;
  /** Payload bytes of the current chunk still to come. */
  #remaining = 0;
  #gathered: Buffer[] = [];

  constructor(listener: ChunkListener) {
    this.#listener = listener;
  }

  /** @throws TunnelError `protocol` at a header that breaks the contract */
  push(slice: Buffer): void {
    let offset = 0;
    while (offset < slice.length) {
      if (this.#headerBytes < CHUNK_HEADER_BYTES) {
        offset = this.#readHeader(slice, offset);
        if (this.#headerBytes < CHUNK_HEADER_BYTES) return;
        if (this.#remaining === 0) this.#payload(EMPTY);
      } else {
        const end = Math.min(slice.length, offset + this.#remaining);
        const payload = offset === 0 && end === slice.length ? slice : slice.subarray(offset, end);
        offset = end;
        this.#remaining -= payload.length;
        this.#payload(payload);
      }
    }
  }

  /** To be called at the end of each batch. @throws TunnelError `protocol` if a chunk is unfinished */
  finish(): void {
    if (this.#headerBytes !== 0) throw new TunnelError("protocol", "a batch ends inside a chunk");
  }

  #readHeader(slice: Buffer, offset: number): number {
    const take = Math.min(CHUNK_HEADER_BYTES - this.#headerBytes, slice.length - offset);
    slice.copy(this.#header, this.#headerBytes, offset, offset + take);
    this.#headerBytes += take;
    if (this.#headerBytes === CHUNK_HEADER_BYTES) {
      const word = this.#header.readUInt32BE(4);
      this.#stream = this.#header.readUInt32BE(0);
      this.#flags = word >>> 24;
      this.#remaining = word & 0xffffff;
      if (this.#remaining > MAX_CHUNK_BYTES) {
        throw new TunnelError(
          "protocol",
          `a chunk of ${this.#remaining} bytes, over the limit of ${MAX_CHUNK_BYTES}`,
        );
      }
      if (this.#flags === DATAGRAM) {
        if (this.#remaining > MAX_DATAGRAM_BYTES)
          throw new TunnelError("protocol", `a datagram of ${this.#remaining} bytes`);
      } else if (this.#flags !== 0 && this.#flags !== END && this.#flags !== (END | TRAILERS)) {
        throw new TunnelError("protocol", `a chunk with unknown flags ${this.#flags}`);
      }
    }
    return offset + take;
  }

  #payload(payload: Buffer): void {
    const last = this.#remaining === 0;
    if (last) this.#headerBytes = 0;
    if ((this.#flags & (TRAILERS | DATAGRAM)) === 0) {
      this.#listener(this.#stream, last ? this.#flags : 0, payload);
      return;
    }
    if (last && this.#gathered.length === 0) {
      this.#listener(this.#stream, this.#flags, payload);
      return;
    }
    this.#gathered.push(payload);
    if (!last) return;
    const whole = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#listener(this.#stream, this.#flags, whole);
  }
}

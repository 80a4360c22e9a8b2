import { once } from "node:events";
import type { Socket } from "node:net";
import { pattern } from "../support/byte-pattern.ts";

const PIECE_BYTES = 64 * 1024;

/** Writes a body that is a pattern to a socket, as fast as it is taken and no faster. */
export class Firehose {
  readonly #socket: Socket;
  readonly #stream: number;
  readonly #totalBytes: number;
  readonly #inChunks: boolean;
  #madeBytes = 0;

  /** @param options.stream which pattern */
  constructor(socket: Socket, options: { stream: number; totalBytes: number; inChunks?: boolean }) {
    this.#socket = socket;
    this.#stream = options.stream;
    this.#totalBytes = options.totalBytes;
    this.#inChunks = options.inChunks ?? false;
    socket.on("drain", () => this.#go());
    this.#go();
  }

  /** Resolves when the system has taken so much, in more than one piece. */
  async taken(bytes: number): Promise<void> {
    while (this.takenBytes < bytes) await once(this.#socket, "drain");
  }

  /** Bytes that the system has taken. */
  get takenBytes(): number {
    return this.#madeBytes - this.#socket.writableLength;
  }

  #go(): void {
    while (this.#madeBytes < this.#totalBytes && !this.#socket.destroyed) {
      const length = Math.min(PIECE_BYTES, this.#totalBytes - this.#madeBytes);
      const piece = pattern(this.#stream, this.#madeBytes, length);
      this.#madeBytes += length;
      if (!this.#write(piece)) return;
    }
  }

  #write(piece: Buffer): boolean {
    if (!this.#inChunks) return this.#socket.write(piece);
    this.#socket.write(`${piece.length.toString(16)}\r\n`);
    this.#socket.write(piece);
    return this.#socket.write(this.#madeBytes < this.#totalBytes ? "\r\n" : "\r\n0\r\n\r\n");
  }
}

/** Compares what comes with a pattern, and keeps none of it. */
export class PatternCheck {
  readonly #stream: number;
  readonly #totalBytes: number;
  #bytes = 0;
  #differsAt: number | undefined;
  readonly #whole: Promise<void>;
  #resolve!: () => void;

  /** @param from what gives the body, from its first byte on */
  constructor(
    from: { on(event: "data", listener: (chunk: Buffer) => void): unknown },
    options: { stream: number; totalBytes: number },
  ) {
    this.#stream = options.stream;
    this.#totalBytes = options.totalBytes;
    this.#whole = new Promise((resolve) => (this.#resolve = resolve));
    from.on("data", (chunk) => this.#push(chunk));
  }

  /** Resolves when so much has come: `undefined`, or the offset behind which it was not the pattern. */
  async difference(): Promise<number | undefined> {
    await this.#whole;
    return this.#differsAt;
  }

  #push(chunk: Buffer): void {
    if (!chunk.equals(pattern(this.#stream, this.#bytes, chunk.length))) this.#differsAt ??= this.#bytes;
    this.#bytes += chunk.length;
    if (this.#bytes >= this.#totalBytes) this.#resolve();
  }
}

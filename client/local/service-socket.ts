import { Socket } from "node:net";

type WriteCallback = (error?: Error | null) => void;

/**
 * A socket to a local service. Two things differ from a plain one:
 *
 * - A write that fails because the service has gone does not take with it what the service said before. A service that
 *   refuses an upload answers and closes; a plain socket is destroyed by the next write, the answer unread (RFC
 *   9112 section 9.6). Here the write stays pending until everything received has been read.
 * - Strings are written as Latin-1: heads hold one character per byte, and node:http leaves some to the default.
 */
export class ServiceSocket extends Socket {
  /** A write has failed: an end of the stream is then no proof that the service meant to end. */
  writeFailed = false;
  /** How long the socket may lie idle before it is closed. */
  idleMs = 0;

  constructor(options: { allowHalfOpen: boolean }) {
    super(options);
    this.setDefaultEncoding("latin1");
    this.setNoDelay(true);
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: WriteCallback): void {
    super._write(chunk, encoding, (error) => this.#written(error, callback));
  }

  override _writev(
    chunks: { chunk: Buffer | string; encoding: BufferEncoding }[],
    callback: WriteCallback,
  ): void {
    super._writev!(chunks, (error) => this.#written(error, callback));
  }

  #written(error: NodeJS.ErrnoException | null | undefined, callback: WriteCallback): void {
    const gone = error?.code === "EPIPE" || error?.code === "ECONNRESET";
    if (!gone || this.destroyed || this.readableEnded) return callback(error);
    this.writeFailed = true;
    this.once("end", () => callback(error));
  }
}

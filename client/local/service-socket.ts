import { Socket } from "node:net";

type WriteCallback = (error?: Error | null) => void;
type Chunks = { chunk: Buffer | string; encoding: BufferEncoding }[];

/**
 * A socket to a local service, plain or over TLS. A write that fails because the service has gone does not take with it what
 * the service said before. A service that refuses an upload answers and closes; a socket of node:net is destroyed by
 * the next write, the answer unread (RFC 9112 section 9.6). Here the write stays pending until everything received
 * has been read.
 */
export interface ServiceSocket extends Socket {
  /** A write has failed: an end of the stream is then no proof that the service meant to end. */
  writeFailed: boolean;
}

/** Makes it one of a socket that node:net or node:tls has made; a class could not, since the sockets of node:tls are its own. */
export function serviceSocket(made: Socket): ServiceSocket {
  const socket = Object.assign(made, { writeFailed: false, _write: write, _writev: writev });
  socket.setNoDelay(true);
  return socket;
}

function write(this: ServiceSocket, chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void {
  Socket.prototype._write.call(this, chunk, encoding, (error) => written(this, error, callback));
}

function writev(this: ServiceSocket, chunks: Chunks, callback: WriteCallback): void {
  Socket.prototype._writev!.call(this, chunks, (error) => written(this, error, callback));
}

function written(
  socket: ServiceSocket,
  error: NodeJS.ErrnoException | null | undefined,
  callback: WriteCallback,
): void {
  const gone = error?.code === "EPIPE" || error?.code === "ECONNRESET";
  if (!gone || socket.destroyed || socket.readableEnded) return callback(error);
  socket.writeFailed = true;
  socket.once("end", () => callback(error));
}

import type { Socket } from "node:net";
import { encodeFields, parseFields } from "../../link/http-head.ts";
import type { LinkStream } from "../../link/stream.ts";
import { TurnCork } from "../../link/turn-cork.ts";
import type { LocalRequest } from "./local-request.ts";

/**
 * Writes one request to a socket: its head as it stands, its body as the head frames it. What is written in one turn of the
 * event loop leaves at once: a head with a small body, or a chunk with its size, is one packet.
 */
export class RequestWriter {
  readonly #request: LocalRequest;
  readonly #stream: LinkStream;
  #socket!: Socket;
  /** Where a body follows. */
  #cork: TurnCork | undefined;
  /** What is missing of the body; of one in chunks nobody knows. */
  #bodyLeft: number;

  /** @param stream gets its credit back as the system takes the bytes of the body */
  constructor(request: LocalRequest, stream: LinkStream) {
    this.#request = request;
    this.#stream = stream;
    this.#bodyLeft = request.body === "chunked" ? Infinity : request.body;
  }

  /** Whether all of the request has been written. */
  get done(): boolean {
    return this.#bodyLeft === 0;
  }

  /**
   * Writes the head; again on another socket, if none of the body has been written.
   * @param last whether no other request is to follow on the connection
   */
  begin(socket: Socket, last: boolean): void {
    this.#socket = socket;
    const { namesConnection, framing } = this.#request;
    const connection = namesConnection ? "" : last ? "Connection: close\r\n" : "Connection: keep-alive\r\n";
    const head = `${this.#request.head}${connection}${framing}\r\n`;
    this.#cork = this.done ? undefined : new TurnCork(socket);
    this.#cork?.hold(head.length);
    socket.write(head, "latin1");
  }

  /** @returns what lies behind the body */
  write(chunk: Buffer): Buffer | undefined {
    const body = chunk.length <= this.#bodyLeft ? chunk : chunk.subarray(0, this.#bodyLeft);
    if (body.length > 0) this.#writeBody(body);
    return body.length < chunk.length ? chunk.subarray(body.length) : undefined;
  }

  /**
   * The body ends, if it is one in chunks; behind one with a length trailers have no place.
   * @throws TunnelError if the trailers are none
   */
  end(trailers: Buffer | undefined): void {
    if (this.#request.body !== "chunked") return;
    const section = trailers ? encodeFields(parseFields(trailers)).toString("latin1") : "";
    this.#bodyLeft = 0;
    this.#socket.write(`0\r\n${section}\r\n`, "latin1");
    this.#cork?.release();
  }

  #writeBody(bytes: Buffer): void {
    this.#bodyLeft -= bytes.length;
    const chunked = this.#request.body === "chunked";
    this.#cork?.hold(bytes.length);
    if (chunked) this.#socket.write(`${bytes.length.toString(16)}\r\n`, "latin1");
    this.#socket.write(bytes, () => this.#stream.consumed(bytes.length));
    if (chunked) this.#socket.write("\r\n", "latin1");
    if (this.done) this.#cork?.release();
  }
}

import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";

/** Calls over all its life; calls that are reset as soon as they are made would otherwise cost as much as they like. */
const MAX_CALLS_EVER = 64;
/** What a client gets to end its own direction of a call that the server has ended. */
const LAST_WORDS_MS = 1_000;

/** What a client has made to the gRPC port, and how much of it anyone may use who is not known yet. */
export class TcpConnection {
  readonly #socket: Socket;
  readonly #handshakeTimer: NodeJS.Timeout | undefined;
  /** `false`: there is no room for one more client. */
  readonly becomeClient: () => boolean;
  #cutTimer: NodeJS.Timeout | undefined;
  #session: ServerHttp2Session | undefined;
  #calls = 0;
  /** What its calls have brought, and may. */
  #bytes = 0;
  #maxBytes: number | undefined;

  constructor(options: { socket: Socket; handshakeMs: number | undefined; becomeClient: () => boolean }) {
    const { socket, handshakeMs } = options;
    this.#socket = socket;
    this.becomeClient = options.becomeClient;
    if (handshakeMs !== undefined) this.#handshakeTimer = setTimeout(() => socket.destroy(), handshakeMs);
  }

  speaksHttp2(session: ServerHttp2Session): void {
    clearTimeout(this.#handshakeTimer);
    this.#session = session;
    session.on("stream", (stream, headers) => {
      if (++this.#calls > MAX_CALLS_EVER) {
        this.cut();
        return;
      }
      resetOnceAnswered(stream);
      // grpc-js has refused it already: no call of ours.
      if (stream.writableEnded) return;
      const encoding = headers["grpc-encoding"] ?? "identity";
      // Clients never compress. For who does, a packet becomes hundreds of megabytes before anyone looks at the key.
      if (encoding !== "identity") stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      else stream.on("data", (data: Buffer) => this.#count(data.length));
    });
  }

  /** For the first to call for a bound, and until there is none any more. */
  distrust(maxBytes: number): void {
    if (this.#maxBytes === undefined || maxBytes === Infinity) this.#maxBytes = maxBytes;
  }

  /** Unless it closes before. */
  cutWithin(ms: number): void {
    this.#cutTimer ??= setTimeout(() => this.cut(), ms);
  }

  cut(): void {
    this.#session?.destroy();
  }

  cutHandshake(): void {
    if (!this.#session) this.#socket.destroy();
  }

  closed(): void {
    clearTimeout(this.#handshakeTimer);
    clearTimeout(this.#cutTimer);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#maxBytes !== undefined && this.#bytes > this.#maxBytes) this.cut();
  }
}

/** Without this a call that is over would stay, and its connection with it, for as long as the other end likes. */
function resetOnceAnswered(stream: ServerHttp2Stream): void {
  stream.once("finish", () => {
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LAST_WORDS_MS);
    stream.once("close", () => clearTimeout(timer));
  });
}

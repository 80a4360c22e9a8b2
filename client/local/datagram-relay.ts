import type { Open, ResetCode } from "../../link/messages.ts";
import { type LinkStream, SILENT, type StreamHandler } from "../../link/stream.ts";
import type { RelayOutcome } from "./byte-relay.ts";
import { datagramFailure } from "./dial-failure.ts";
import type { DatagramListener, DatagramSocket } from "./datagram-socket.ts";
import type { LocalService } from "./local-service.ts";

/**
 * The server lets a quiet visitor go after 60 s, or after the tunnel's own time, which this end does not know. This is for a
 * server that never does.
 */
const IDLE_MS = 3_600_000;
const NOTHING = Buffer.alloc(0);

interface RelayOptions {
  service: LocalService;
  finished: (outcome: RelayOutcome) => void;
  /** What tests make short. */
  idleMs?: number;
}

/** Carries a stream's datagrams to a local service and back: from a socket of the stream's own, so that answers find the way. */
export function relayDatagrams(stream: LinkStream, open: Open, options: RelayOptions): void {
  stream.handler = new DatagramRelay(stream, open, options).handler;
}

class DatagramRelay implements DatagramListener {
  readonly handler: StreamHandler = {
    ...SILENT,
    datagram: (datagram) => this.#toService(datagram),
    end: () => this.#end("CANCELLED", ""),
    reset: (code, detail) => this.#finish({ failure: code, detail }),
  };
  readonly #stream: LinkStream;
  readonly #service: LocalService;
  readonly #socket: DatagramSocket;
  readonly #finished: RelayOptions["finished"];
  readonly #idle: NodeJS.Timeout;
  readonly #counts = { bytesIn: 0, bytesOut: 0, datagramsIn: 0, datagramsOut: 0 };
  #drops = 0;
  #over = false;

  constructor(stream: LinkStream, open: Open, { service, finished, idleMs = IDLE_MS }: RelayOptions) {
    this.#stream = stream;
    this.#service = service;
    this.#finished = finished;
    this.#idle = setTimeout(() => this.#end("CANCELLED", "idle"), idleMs);
    this.#socket = service.dialDatagrams(open.portOffset ?? 0, this);
  }

  // The service's side.

  connected(): void {
    this.#stream.accept(NOTHING);
  }

  received(datagram: Buffer): void {
    this.#idle.refresh();
    if (!this.#stream.send(datagram)) return this.dropped();
    this.#counts.datagramsOut++;
    this.#counts.bytesOut += datagram.length;
  }

  dropped(): void {
    this.#drops++;
  }

  failed(error: NodeJS.ErrnoException): void {
    const { code, detail, publicDetail } = datagramFailure(error, this.#service.target);
    this.#stream.reset(code, publicDetail);
    this.#finish({ failure: code, detail });
  }

  // The stream's side.

  #toService(datagram: Buffer): void {
    this.#idle.refresh();
    const taken = this.#socket.send(datagram);
    // At once: what the socket holds is bounded by itself, and drops what is too much.
    this.#stream.consumed(datagram.length);
    if (!taken) return this.dropped();
    this.#counts.datagramsIn++;
    this.#counts.bytesIn += datagram.length;
  }

  #end(code: ResetCode, detail: string): void {
    this.#stream.reset(code, detail);
    this.#finish({ failure: code, detail });
  }

  #finish(end: Pick<RelayOutcome, "failure" | "detail">): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#idle);
    this.#socket.close();
    this.#finished({ ...this.#counts, ...(this.#drops > 0 && { dropped: this.#drops }), ...end });
  }
}

import type { Http2Stream } from "node:http2";
import { Metadata } from "@grpc/grpc-js";
import { writeBatch } from "./batch-writer.ts";
import type { Batch, CarrierReceiver } from "./carrier.ts";
import type { TunnelError } from "./errors.ts";
import { type Call, GrpcCarrier } from "./grpc-carrier.ts";
import { readOn } from "./read-on.ts";

/** How long a write may be under way before this end reads on: noticed by nobody, and hardly ever reached while bytes move. */
const UNREPORTED_MS = 50;

/**
 * A carrier over one gRPC call that, once grpc-js has set the call up, reads and writes the call's HTTP/2 stream by itself. On
 * the wire nothing differs; it saves grpc-js's copies and queues, and data goes on before its message is whole. How the
 * call ends stays with grpc-js. Where the stream is not to be found it is a plain GrpcCarrier.
 */
export class DirectCarrier extends GrpcCarrier {
  #stream: Http2Stream | undefined;
  /** Batches that went by grpc-js and may still be on their way to the stream. */
  #underWay = 0;
  /** Said before those have left. */
  #waiting: { batch: Batch; written: () => void }[] = [];
  readonly #mayBeDirect: boolean;
  #unreported = 0;
  #watching: NodeJS.Timeout | undefined;

  /** @param direct false: stays a plain carrier; for tests */
  constructor(call: Call, cut: () => void, direct = true) {
    super(call, cut);
    this.#mayBeDirect = direct;
  }

  /** Whether it has found what it needs; on a client not before the server's first word. */
  get direct(): boolean {
    return this.#stream !== undefined;
  }

  override send(batch: Batch, written: () => void): void {
    if (this.closed) return;
    if (!this.#stream) {
      this.#underWay++;
      super.send(batch, () => {
        this.#underWay--;
        written();
        this.#sendWaiting();
      });
    } else if (this.#underWay > 0) {
      this.#waiting.push({ batch, written });
    } else {
      this.#write(this.#stream, batch, written);
    }
  }

  override receive(receiver: CarrierReceiver): void {
    super.receive(receiver);
    const { call } = this;
    if (!this.#mayBeDirect) return;
    if ("sendMetadata" in call) {
      // grpc-js does so at the first message, which it does not see.
      if (this.#take(serverStream(call))) call.sendMetadata(new Metadata());
    } else {
      // Heads come before any message; what was sent until then has been sent by grpc-js.
      call.once("metadata", () => this.#take(clientStream(call)));
    }
  }

  override abort(): void {
    clearTimeout(this.#watching);
    super.abort();
  }

  protected override over(error?: TunnelError): void {
    clearTimeout(this.#watching);
    super.over(error);
  }

  #take(stream: Http2Stream | undefined): boolean {
    if (!stream || stream.destroyed) return false;
    this.#stream = stream;
    // By now they are grpc-js's; the bound on strangers (server/grpc/tcp-connection.ts) is set behind this, as its tests say.
    stream.removeAllListeners("data");
    stream.on("data", (slice: Buffer) => this.read((reader) => reader.push(slice)));
    // grpc-js reads message by message, and pauses in between. Of the call only its end is left to read.
    stream.resume();
    return true;
  }

  #write(stream: Http2Stream, batch: Batch, written: () => void): void {
    const slices = writeBatch(batch);
    this.#unreported++;
    this.#watch();
    const done = (error?: Error | null): void => {
      this.#unreported--;
      if (!error && !this.closed) written();
    };
    if (slices.length === 1) {
      stream.write(slices[0]!, done);
      return;
    }
    stream.cork();
    const last = slices.pop()!;
    for (const slice of slices) stream.write(slice);
    stream.write(last, done);
    stream.uncork();
  }

  #sendWaiting(): void {
    if (this.#underWay > 0 || this.#waiting.length === 0) return;
    for (const { batch, written } of this.#waiting.splice(0)) this.send(batch, written);
  }

  /** Reads on as long as a write is under way. */
  #watch(): void {
    if (this.#watching) return;
    this.#watching = setTimeout(() => {
      this.#watching = undefined;
      if (this.#unreported === 0) return;
      readOn(this.#stream!);
      this.#watch();
    }, UNREPORTED_MS);
  }
}

interface Holds {
  readonly [name: string]: Holds | undefined;
}

/** What grpc-js 1.14.7 keeps to itself; a guard test says when a release takes it away. */
function serverStream(call: Call): Http2Stream | undefined {
  return streamIn((call as unknown as Holds)["call"]?.["stream"]);
}

/** A client's call is a pile of calls: intercepted, resolved, retried, balanced, and the one on a connection. */
function clientStream(call: Call): Http2Stream | undefined {
  const resolving = (call as unknown as Holds)["call"]?.["call"];
  const retrying = resolving?.["child"];
  const balancing = retrying?.["underlyingCalls"]?.["0"]?.["call"];
  const last = balancing?.["child"];
  // Within a message that grpc-js has begun to read, only grpc-js can read on.
  return Number(last?.["decoder"]?.["readState"]) === 0 ? streamIn(last?.["http2Stream"]) : undefined;
}

function streamIn(found: unknown): Http2Stream | undefined {
  const stream = found as Http2Stream | undefined;
  return typeof stream?.write === "function" && typeof stream.resume === "function" ? stream : undefined;
}

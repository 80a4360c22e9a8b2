import type { ClientDuplexStream, ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { BatchReader } from "./batch-reader.ts";
import { PREFIX_BYTES, writeBatch } from "./batch-writer.ts";
import type { Batch, Carrier, CarrierReceiver } from "./carrier.ts";
import { TunnelError } from "./errors.ts";

/** A carrier over one gRPC call, on either end, by the public API of grpc-js. */
export class GrpcCarrier implements Carrier {
  protected readonly call: Call;
  protected closed = false;
  readonly #cut: () => void;
  #receiver: CarrierReceiver | undefined;
  #reader: BatchReader | undefined;
  /** What the other end's first message may have, while it is not known who that is. */
  #helloBytes: number | undefined;
  #ended = false;
  #failure: TunnelError | undefined;

  /** `cut` ends the call at once, with whatever lies beneath it. */
  constructor(call: Call, cut: () => void) {
    this.call = call;
    this.#cut = cut;
  }

  send(batch: Batch, written: () => void): void {
    if (this.closed) return;
    const message = Buffer.concat(writeBatch(batch)).subarray(PREFIX_BYTES);
    this.call.write(message, (error?: Error | null) => {
      if (!error && !this.closed) written();
    });
  }

  /** To be called before `receive`: until `trust` the other end may say Hello, in so many bytes, and nothing else. */
  distrust(maxBytes: number): void {
    this.#helloBytes = maxBytes;
  }

  /** It is known who is at the other end. */
  trust(): void {
    this.#reader?.trust();
  }

  receive(receiver: CarrierReceiver): void {
    this.#receiver = receiver;
    this.#reader = new BatchReader(receiver, { isOver: () => this.closed, helloBytes: this.#helloBytes });
    this.call.on("data", (message: Buffer) => this.read((reader) => reader.pushMessage(message)));
    this.call.on("error", (error: Error & { code?: number; details?: string }) => {
      this.#failure ??= lost(error);
      // A server's call reports its own failures only here; a client's call closes by itself.
      this.over(this.#failure);
    });
    // The end of the other end's direction is the end of the link: neither speaks after that. (A server's call also ends
    // like this when the client cuts it: grpc-js does not tell the two apart.)
    this.call.on("end", () => {
      this.call.end();
      this.over(this.#failure);
    });
    // Once this end has ended, the other one closing the call is how it answers.
    const over = (): void => this.over(this.#failure ?? (this.#ended ? undefined : broken()));
    this.call.on("cancelled", over);
    this.call.on("close", over);
  }

  end(): void {
    this.#ended = true;
    this.call.end();
  }

  abort(): void {
    this.closed = true;
    this.#cut();
  }

  /** Has the reader read, unless it is all over; a breach of the contract ends the call. */
  protected read(push: (reader: BatchReader) => void): void {
    if (this.closed || !this.#reader) return;
    try {
      push(this.#reader);
    } catch (error) {
      this.#refuse(error as TunnelError);
    }
  }

  #refuse(error: TunnelError): void {
    if ("sendMetadata" in this.call) {
      this.call.emit("error", { code: status.INTERNAL, details: error.message });
    } else {
      this.call.cancel();
    }
    this.over(error);
  }

  /** Nothing follows. */
  protected over(error?: TunnelError): void {
    if (this.closed) return;
    this.closed = true;
    this.#receiver?.closed(error);
  }
}

/** A call of `carrierService` (contract.ts). */
export type Call = ClientDuplexStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

function broken(): TunnelError {
  return new TunnelError("lost", "the connection broke off");
}

function lost(error: Error & { code?: number; details?: string }): TunnelError {
  const reason = error.details || error.message;
  // A message over the limit, or one that is no batch at all: the other end's mistake and not the network's.
  const code =
    error.code === status.RESOURCE_EXHAUSTED || error.code === status.INTERNAL ? "protocol" : "lost";
  return new TunnelError(code, `the connection broke off: ${reason}`, { cause: error });
}

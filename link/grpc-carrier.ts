import type { ClientDuplexStream, ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Batch, Carrier, CarrierReceiver } from "./carrier.ts";
import type { WireBatch } from "./contract.ts";
import { TunnelError } from "./errors.ts";

/** A carrier over one gRPC call, on either end, by the public API of grpc-js. */
export class GrpcCarrier implements Carrier {
  readonly #call: Call;
  readonly #cut: () => void;
  #closed = false;
  #failure: TunnelError | undefined;

  /** `cut` ends the call at once, with whatever lies beneath it. */
  constructor(call: Call, cut: () => void) {
    this.#call = call;
    this.#cut = cut;
  }

  send(batch: Batch, written: () => void): void {
    if (this.#closed) return;
    const data = batch.data.length === 1 ? batch.data[0]! : Buffer.concat(batch.data);
    this.#call.write({ control: batch.control, data }, (error?: Error | null) => {
      if (!error && !this.#closed) written();
    });
  }

  receive(receiver: CarrierReceiver): void {
    const closed = (error?: TunnelError): void => {
      if (this.#closed) return;
      this.#closed = true;
      receiver.closed(error);
    };
    this.#call.on("data", (batch: WireBatch) => {
      if (this.#closed) return;
      if (batch.control.length > 0) receiver.control(batch.control);
      if (batch.data.length > 0) receiver.data(batch.data);
      receiver.batchEnd();
    });
    this.#call.on("error", (error: Error & { code?: number; details?: string }) => {
      this.#failure ??= lost(error);
      // A server's call reports its own failures only here; a client's call closes by itself.
      closed(this.#failure);
    });
    // The end of the other end's direction is the end of the link: neither speaks after that.
    this.#call.on("end", () => {
      this.#call.end();
      closed(this.#failure);
    });
    this.#call.on("cancelled", () => closed(new TunnelError("lost", "the connection broke off")));
    this.#call.on("close", () =>
      closed(this.#failure ?? new TunnelError("lost", "the connection broke off")),
    );
  }

  end(): void {
    this.#call.end();
  }

  abort(): void {
    this.#closed = true;
    this.#cut();
  }
}

type Call = ClientDuplexStream<WireBatch, WireBatch> | ServerDuplexStream<WireBatch, WireBatch>;

function lost(error: Error & { code?: number; details?: string }): TunnelError {
  const reason = error.details || error.message;
  // A message over the limit, or one that is no batch at all: the other end's mistake and not the network's.
  const code =
    error.code === status.RESOURCE_EXHAUSTED || error.code === status.INTERNAL ? "protocol" : "lost";
  return new TunnelError(code, `the connection broke off: ${reason}`, { cause: error });
}

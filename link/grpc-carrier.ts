import type { ClientDuplexStream, ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Batch, Carrier, CarrierReceiver } from "./carrier.ts";
import type { WireBatch } from "./contract.ts";
import { TunnelError } from "./errors.ts";

/** A carrier over one gRPC call, on either end, by the public API of grpc-js. */
export class GrpcCarrier implements Carrier {
  protected readonly call: Call;
  protected closed = false;
  readonly #cut: () => void;
  #receiver: CarrierReceiver | undefined;
  #ended = false;
  #failure: TunnelError | undefined;

  /** `cut` ends the call at once, with whatever lies beneath it. */
  constructor(call: Call, cut: () => void) {
    this.call = call;
    this.#cut = cut;
  }

  send(batch: Batch, written: () => void): void {
    if (this.closed) return;
    const data = batch.data.length === 1 ? batch.data[0]! : Buffer.concat(batch.data);
    this.call.write({ control: batch.control, data }, (error?: Error | null) => {
      if (!error && !this.closed) written();
    });
  }

  receive(receiver: CarrierReceiver): void {
    this.#receiver = receiver;
    this.call.on("data", (batch: WireBatch) => {
      if (this.closed) return;
      if (batch.control.length > 0) receiver.control(batch.control);
      if (batch.data.length > 0) receiver.data(batch.data);
      receiver.batchEnd();
    });
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

  /** Nothing follows. */
  protected over(error?: TunnelError): void {
    if (this.closed) return;
    this.closed = true;
    this.#receiver?.closed(error);
  }
}

export type Call = ClientDuplexStream<WireBatch, WireBatch> | ServerDuplexStream<WireBatch, WireBatch>;

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

import type { Batch, Carrier, CarrierReceiver } from "../../link/carrier.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Control } from "../../link/messages.ts";

export interface MemoryCarrierOptions {
  /** Data arrives in slices of this many bytes. Absent: a batch's data in one slice. */
  slice?: number;
  /** Nothing leaves until `release`. */
  hold?: boolean;
  /** Keeps what was sent, for tests that look at batches. */
  record?: boolean;
}

/** What a carrier would have put on the wire. */
export interface SentBatch {
  control: Control[];
  data: Buffer;
}

/**
 * Two carriers joined in memory. What one sends the other gets in a later turn, copied, as over a network. To send
 * behind an end or abort is a mistake, and throws.
 */
export function memoryCarriers(options: MemoryCarrierOptions = {}): [MemoryCarrier, MemoryCarrier] {
  const left = new MemoryCarrier(options);
  const right = new MemoryCarrier(options);
  left.join(right);
  right.join(left);
  return [left, right];
}

type Parcel = { batch: SentBatch; written: () => void } | "end" | "abort";

export class MemoryCarrier implements Carrier {
  /** Every batch sent so far, with `record`. */
  readonly sent: SentBatch[] = [];
  /** The most batches that were ever handed over and not yet written. */
  mostInFlight = 0;
  /** The largest batch: data, and heads of control messages. */
  largestBatchBytes = 0;

  readonly #options: MemoryCarrierOptions;
  #other: MemoryCarrier | undefined;
  #receiver: CarrierReceiver | undefined;
  #outbox: Parcel[] = [];
  #inFlight = 0;
  /** How many batches may leave. */
  #allowed: number;
  #lossy = false;
  #ended = false;
  #over = false;
  #scheduled = false;

  constructor(options: MemoryCarrierOptions) {
    this.#options = options;
    this.#allowed = options.hold === true ? 0 : Infinity;
  }

  join(other: MemoryCarrier): void {
    this.#other = other;
  }

  send(batch: Batch, written: () => void): void {
    if (this.#ended) throw new Error("a batch was sent behind the end");
    if (this.#over) return;
    const copy = copyOf(batch);
    if (this.#options.record === true) this.sent.push(copy);
    this.largestBatchBytes = Math.max(this.largestBatchBytes, sizeOf(copy));
    this.#inFlight++;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    this.#post({ batch: copy, written });
  }

  receive(receiver: CarrierReceiver): void {
    this.#receiver = receiver;
  }

  end(): void {
    if (this.#ended) throw new Error("ended twice");
    this.#ended = true;
    this.#post("end");
  }

  abort(): void {
    this.#ended = true;
    if (this.#over) return;
    this.#over = true;
    this.#outbox = [];
    this.#allowed = Infinity;
    this.#post("abort");
  }

  /** From now on nothing leaves: what is sent counts as under way, like in a full pipe. */
  hold(): void {
    this.#allowed = 0;
  }

  /** Lets this many batches leave, or everything from now on. */
  release(batches = Infinity): void {
    this.#allowed = batches;
    this.#schedule();
  }

  /** Delivers what was held at once: as when a process that was frozen finds bytes waiting at its sockets. */
  deliverNow(): void {
    this.#allowed = Infinity;
    this.#deliver();
  }

  /** From now on what is sent leaves and never arrives, like on a path that has died. */
  lose(): void {
    this.#lossy = true;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  #post(parcel: Parcel): void {
    this.#outbox.push(parcel);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  get #peer(): MemoryCarrier {
    if (!this.#other) throw new Error("this carrier was not joined to another");
    return this.#other;
  }

  /** Delivers what lies here now; what this sets off leaves in a later turn. */
  #deliver(): void {
    const parcels = this.#outbox;
    this.#outbox = [];
    while (parcels.length > 0 && this.#allowed > 0) {
      const parcel = parcels.shift()!;
      if (parcel === "end") {
        this.#peer.#close();
        setImmediate(() => this.#close());
      } else if (parcel === "abort") {
        this.#peer.#close(new TunnelError("lost", "the connection broke off"));
        this.#close();
      } else if (!this.#over) {
        this.#allowed--;
        this.#inFlight--;
        if (!this.#lossy) this.#peer.#arrive(parcel.batch);
        parcel.written();
      }
    }
    this.#outbox = [...parcels, ...this.#outbox];
    if (this.#outbox.length > 0 && this.#allowed > 0) this.#schedule();
  }

  #arrive({ control, data }: SentBatch): void {
    const receiver = this.#receiver;
    if (this.#over || !receiver) return;
    if (control.length > 0) receiver.control(control);
    const slice = this.#options.slice ?? data.length;
    for (let from = 0; from < data.length; from += slice) {
      receiver.data(data.subarray(from, Math.min(data.length, from + slice)));
    }
    receiver.batchEnd();
  }

  #close(error?: TunnelError): void {
    this.#over = true;
    this.#receiver?.closed(error);
    this.#receiver = undefined;
  }
}

/** As if written and read again: what the sender does to its objects afterwards changes nothing. */
function copyOf(batch: Batch): SentBatch {
  const control = batch.control.map((message) => {
    const body = (message as unknown as Record<string, object>)[message.message];
    return { ...message, [message.message]: { ...body } };
  });
  return { control, data: Buffer.concat(batch.data) };
}

function sizeOf({ control, data }: SentBatch): number {
  let bytes = data.length;
  for (const message of control) {
    bytes += 8;
    if (message.message === "open") bytes += message.open.head.length + 64;
    if (message.message === "accept") bytes += message.accept.head.length;
    if (message.message === "interim") bytes += message.interim.head.length;
    if (message.message === "reset") bytes += message.reset.detail.length;
  }
  return bytes;
}

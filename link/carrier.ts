import type { TunnelError } from "./errors.ts";
import type { Control } from "./messages.ts";

/** What one end had to say in one turn of its event loop. */
export interface Batch {
  control: Control[];
  /** The run of chunks (chunks.ts) in slices, in order; split anywhere. */
  data: Buffer[];
}

/**
 * Whatever takes batches to the other end, whole and in order. Above it nobody knows what that is.
 */
export interface Carrier {
  /** Takes a batch; `written` is called once it has left this process, and never after the end. */
  send(batch: Batch, written: () => void): void;
  /** Says who is told of what arrives; called once, before anything can arrive. */
  receive(receiver: CarrierReceiver): void;
  /** Ends the sending direction behind what was sent; the other end sees a clean end. */
  end(): void;
  /** Ends both directions at once; the receiver hears nothing more, `closed` neither. */
  abort(): void;
}

/** A batch arrives as any number of `control` calls, any number of `data` calls behind them, and one `batchEnd`. */
export interface CarrierReceiver {
  control(messages: Control[]): void;
  data(slice: Buffer): void;
  batchEnd(): void;
  /** Nothing follows; called once, whoever ended it, unless this end aborted. No error: a clean end. */
  closed(error?: TunnelError): void;
}

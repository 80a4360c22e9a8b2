import { chunkHeader, ChunkReader } from "../../link/chunks.ts";
import type { CarrierReceiver } from "../../link/carrier.ts";
import type { Control, Open } from "../../link/messages.ts";
import { LinkEnd, type LinkEndOptions } from "./link-pair.ts";
import { type MemoryCarrier, type MemoryCarrierOptions, memoryCarriers } from "./memory-carrier.ts";

/** The other end of a link as a hostile or odd program would be: says whatever a test wants, by hand. */
export class RawPeer implements CarrierReceiver {
  readonly carrier: MemoryCarrier;
  readonly heard: Control[] = [];
  readonly chunks: { stream: number; flags: number; payload: Buffer }[] = [];
  batches = 0;
  over = false;
  /** Runs behind each batch that arrives. */
  onBatch: (() => void) | undefined;
  readonly #reader = new ChunkReader((stream, flags, payload) =>
    this.chunks.push({ stream, flags, payload }),
  );

  constructor(carrier: MemoryCarrier) {
    this.carrier = carrier;
    carrier.receive(this);
  }

  /** Sends one batch, right or wrong. */
  say(control: Control[], data: Buffer = Buffer.alloc(0)): void {
    this.carrier.send({ control, data: [data] }, () => {});
  }

  control(messages: Control[]): void {
    this.heard.push(...messages);
  }

  data(slice: Buffer): void {
    this.#reader.push(slice);
  }

  batchEnd(): void {
    this.#reader.finish();
    this.batches++;
    this.onBatch?.();
  }

  closed(): void {
    this.over = true;
  }
}

/** A server's link, and a client that is played by hand. */
export function linkAndRawPeer(options: MemoryCarrierOptions & LinkEndOptions = {}): {
  end: LinkEnd;
  peer: RawPeer;
} {
  const [left, right] = memoryCarriers(options);
  return { end: new LinkEnd(left, "server", options), peer: new RawPeer(right) };
}

/** An Open as the other end would send it. */
export function open(stream: number, more: Partial<Open> = {}): Control {
  return {
    message: "open",
    open: {
      stream,
      tunnel: 1,
      kind: "HTTP",
      requestId: "r",
      visitor: "203.0.113.7:4711",
      head: Buffer.from("head"),
      end: false,
      ...more,
    },
  };
}

export function accept(stream: number, end = false): Control {
  return { message: "accept", accept: { stream, head: Buffer.from("yes"), end } };
}

/** A chunk as it stands on the wire. */
export function chunk(stream: number, flags: number, payload: Buffer | string = ""): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([chunkHeader(stream, flags, bytes.length), bytes]);
}

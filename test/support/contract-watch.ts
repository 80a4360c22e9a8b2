import type { Batch } from "../../link/carrier.ts";
import { ChunkReader, DATAGRAM, END, TRAILERS } from "../../link/chunks.ts";
import type { Control, Kind, Open } from "../../link/messages.ts";
import { pattern } from "./byte-pattern.ts";

/** What the watch knows of one stream, from one opening of its id to the next. */
interface WatchedStream {
  isOpener: boolean;
  kind: Kind;
  answered: boolean;
  ended: boolean;
  /** By the end that is watched; from here on it says nothing more of the stream. */
  reset: boolean;
  /** By the other end; data must stop, control may still be on its way. */
  resetByOther: boolean;
  /** What the end may still send; more than any credit for what the other end never said. */
  creditBytes: number;
  sentBytes: number;
}

/**
 * Holds one end of a link to the contract, whatever the other end does: everything that it sends, and what it was
 * told, in the order in which both happened. Payload must be the `pattern` of its stream.
 */
export class ContractWatch {
  readonly problems: string[] = [];
  readonly #parity: 0 | 1;
  readonly #initialCreditBytes: number;
  readonly #streams = new Map<number, WatchedStream>();
  /** For streams that have not been opened on the wire yet: guessed, not known. */
  readonly #earlyCredit = new Map<number, number>();
  #lastOwnId = 0;

  constructor(options: { side: "server" | "client"; initialCreditBytes: number }) {
    this.#parity = options.side === "server" ? 0 : 1;
    this.#initialCreditBytes = options.initialCreditBytes;
  }

  /** Whether the end has said all that it will on this stream. */
  hasEnded(id: number): boolean {
    return this.#streams.get(id)?.ended ?? false;
  }

  /** The end took an Open of the other end. */
  opened(open: Open): void {
    const stream = this.#fresh(false, open.kind);
    if (open.credit) stream.creditBytes = open.credit;
    this.#streams.set(open.stream, stream);
  }

  /** The other end says this, and the end is about to be told. */
  told(control: Control): void {
    if (control.message === "credit") {
      const { stream: id, bytes } = control.credit;
      const stream = this.#streams.get(id);
      if (stream) stream.creditBytes += bytes;
      else this.#earlyCredit.set(id, (this.#earlyCredit.get(id) ?? 0) + bytes);
    } else if (control.message === "reset") {
      const stream = this.#streams.get(control.reset.stream);
      if (stream) stream.resetByOther = true;
    }
  }

  /** The end sends this. */
  sent({ control, data }: Batch): void {
    for (const message of control) this.#control(message);
    const chunks = new ChunkReader((id, flags, payload) => this.#chunk(id, flags, payload));
    for (const slice of data) chunks.push(slice);
    chunks.finish();
  }

  #control(control: Control): void {
    switch (control.message) {
      case "open": {
        const { stream: id, end, kind } = control.open;
        this.#check(id % 2 === this.#parity && id > this.#lastOwnId, `opened stream ${id}`);
        this.#lastOwnId = id;
        const stream = { ...this.#fresh(true, kind), ended: end };
        stream.creditBytes += this.#earlyCredit.get(id) ?? 0;
        this.#streams.set(id, stream);
        break;
      }
      case "accept": {
        const { stream: id, end } = control.accept;
        const stream = this.#live(id, "an answer");
        this.#check(!stream.isOpener && !stream.answered, `a wrong answer on ${id}`);
        stream.answered = true;
        if (end) stream.ended = true;
        break;
      }
      case "interim": {
        const stream = this.#live(control.interim.stream, "an interim answer");
        this.#check(
          !stream.isOpener && !stream.answered,
          `a wrong interim answer on ${control.interim.stream}`,
        );
        break;
      }
      case "credit":
        this.#live(control.credit.stream, "credit");
        this.#check(control.credit.bytes > 0, "credit of nothing");
        break;
      case "reset":
        this.#live(control.reset.stream, "a reset").reset = true;
        break;
      default:
    }
  }

  #chunk(id: number, flags: number, payload: Buffer): void {
    const stream = this.#live(id, "data");
    this.#check(!stream.resetByOther, `data on ${id} behind the other end's reset`);
    this.#check(stream.isOpener || stream.answered, `data on ${id} before the answer`);
    this.#check(!stream.ended, `data on ${id} behind the end`);
    if ((flags & END) !== 0) stream.ended = true;
    if ((flags & TRAILERS) !== 0) return;
    const isDatagram = flags === DATAGRAM;
    const carriesBytes = !isDatagram && payload.length > 0;
    const isMixed = stream.kind === "UDP" ? carriesBytes : isDatagram;
    this.#check(!isMixed, `flags ${flags} and ${payload.length} bytes on ${id} of kind ${stream.kind}`);
    this.#check(
      isDatagram ? stream.creditBytes > 0 : payload.length <= Math.max(0, stream.creditBytes),
      `${payload.length} bytes on ${id}, with credit of ${stream.creditBytes}`,
    );
    this.#check(payload.equals(pattern(id, stream.sentBytes, payload.length)), `wrong bytes on ${id}`);
    stream.creditBytes -= payload.length;
    stream.sentBytes += payload.length;
  }

  #live(id: number, what: string): WatchedStream {
    const stream = this.#streams.get(id);
    this.#check(
      stream !== undefined && !stream.reset,
      `${what} on ${id}, which ${stream ? "it reset" : "never was"}`,
    );
    return stream ?? this.#fresh(false);
  }

  #fresh(isOpener: boolean, kind: Kind = "HTTP"): WatchedStream {
    return {
      isOpener,
      kind,
      answered: false,
      ended: false,
      reset: false,
      resetByOther: false,
      creditBytes: this.#initialCreditBytes,
      sentBytes: 0,
    };
  }

  #check(right: boolean, what: string): void {
    if (!right) this.problems.push(`sent ${what}`);
  }
}

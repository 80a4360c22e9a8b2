/** gRPC messages that hold batches, read as they arrive: data goes on in slices before its message is whole. */
import { isSessionField, MAX_FIELDS, MAX_SESSION_MESSAGES } from "./batch-limits.ts";
import { DATA_FIELD, PREFIX_BYTES } from "./batch-writer.ts";
import type { CarrierReceiver } from "./carrier.ts";
import { CONTROL_FIELD, readControl } from "./control-codec.ts";
import { TunnelError } from "./errors.ts";
import type { Control } from "./messages.ts";
import { BYTES, malformed } from "./wire-reader.ts";

/** As grpc-js has it by default. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** A tag of one byte and the length of something that fits a message. */
const MAX_FIELD_HEAD_BYTES = 1 + 4;
/** Control messages that are read before anybody looks at them: a slice may hold thousands, dear to build. */
const MAX_CONTROL_AT_ONCE = 64;
/** `Control.hello`. */
const HELLO_FIELD = 1;

/**
 * Reads a stream of messages from slices split anywhere. What is not data is held until its field is whole, and so may come in
 * several calls of `control`; never behind data of its batch.
 */
export class BatchReader {
  readonly #receiver: Pick<CarrierReceiver, "control" | "data" | "batchEnd">;
  readonly #isOver: () => boolean;
  /** The beginning of something that ends in a later slice, and how much there must be to go on. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #needBytes = 0;
  /** Bytes of the message that have not been read; undefined between messages. */
  #messageLeft: number | undefined;
  /** Bytes of its data that have not come. */
  #dataLeft = 0;
  #dataSeen = false;
  /** Of the message that is being read. */
  #controls = 0;
  #sessionMessages = 0;
  /** What a stranger's one message may have; undefined once it is known who that is. */
  #helloBytes: number | undefined;
  #helloBegun = false;

  constructor(
    receiver: Pick<CarrierReceiver, "control" | "data" | "batchEnd">,
    options: {
      /** Nothing more is read once it says so: what was told to the receiver may have ended it all. */
      isOver: () => boolean;
      /** If given: until `trust` one Hello is read, of so many bytes at most, and whatever else comes is a breach. */
      helloBytes?: number | undefined;
    },
  ) {
    this.#receiver = receiver;
    this.#isOver = options.isOver;
    this.#helloBytes = options.helloBytes;
  }

  trust(): void {
    this.#helloBytes = undefined;
  }

  /** Reads a message that is whole, and has lost its prefix. @throws TunnelError `protocol` */
  pushMessage(message: Buffer): void {
    this.#beginMessage(message.length);
    this.push(message);
  }

  /** @throws TunnelError `protocol` */
  push(slice: Buffer): void {
    let bytes = slice;
    if (this.#heldBytes > 0) {
      this.#held.push(slice);
      this.#heldBytes += slice.length;
      if (this.#heldBytes < this.#needBytes) return;
      bytes = Buffer.concat(this.#held, this.#heldBytes);
      this.#held = [];
      this.#heldBytes = 0;
    }
    let at = 0;
    while (at < bytes.length && !this.#isOver()) {
      const next = this.#read(bytes, at);
      if (next === at) {
        this.#held.push(bytes.subarray(at));
        this.#heldBytes = bytes.length - at;
        return;
      }
      at = next;
    }
  }

  /** @returns where to go on; `at` if more has to come first */
  #read(bytes: Buffer, at: number): number {
    if (this.#messageLeft === undefined) return this.#readPrefix(bytes, at);
    if (this.#dataLeft > 0) return this.#readData(bytes, at);
    return this.#readFields(bytes, at);
  }

  #readPrefix(bytes: Buffer, at: number): number {
    this.#needBytes = PREFIX_BYTES;
    if (bytes.length - at < PREFIX_BYTES) return at;
    if (bytes[at] !== 0) throw malformed("it is compressed");
    this.#beginMessage(bytes.readUInt32BE(at + 1));
    return at + PREFIX_BYTES;
  }

  #beginMessage(length: number): void {
    const maxBytes = this.#helloBytes ?? MAX_MESSAGE_BYTES;
    if (length > maxBytes) throw malformed(`${length} bytes, more than ${maxBytes}`);
    if (this.#helloBytes !== undefined) {
      if (this.#helloBegun) throw beforeWelcome("a second message");
      this.#helloBegun = true;
    }
    this.#messageLeft = length;
    this.#dataSeen = false;
    this.#controls = this.#sessionMessages = 0;
    if (length === 0) this.#endMessage();
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#dataLeft);
    this.#dataLeft -= end - at;
    this.#receiver.data(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
    return this.#took(at, end);
  }

  /** Reads the control messages that are here whole, or the head of the data behind them. */
  #readFields(bytes: Buffer, from: number): number {
    const limit = from + this.#messageLeft!;
    const control: Control[] = [];
    let at = from;
    while (at < limit && at < bytes.length && control.length < MAX_CONTROL_AT_ONCE) {
      const head = this.#fieldHead(bytes, at, limit);
      if (!head || !this.#mayRead(head, bytes, at)) break;
      if (head.tag === ((DATA_FIELD << 3) | BYTES)) {
        if (at === from) return this.#beginData(from, head);
        break;
      }
      if (head.end > bytes.length) {
        this.#needBytes = head.end - at;
        break;
      }
      let isAboutSession = false;
      if (head.tag === ((CONTROL_FIELD << 3) | BYTES)) {
        isAboutSession = this.#count(bytes[head.contentAt]! >>> 3);
        control.push(readControl(bytes.subarray(at, head.end)));
      }
      at = head.end;
      // Dear to build: this one may be the last.
      if (isAboutSession) break;
    }
    if (control.length > 0) {
      if (this.#dataSeen) throw malformed("control behind data");
      this.#receiver.control(control);
    }
    return this.#took(from, at);
  }

  /** Looks at what a stranger says before it is here whole; false if that takes one more byte. */
  #mayRead({ tag, contentAt, end }: FieldHead, bytes: Buffer, at: number): boolean {
    if (this.#helloBytes === undefined) return true;
    // Some senders write what is empty, too.
    if (contentAt === end) return true;
    if (tag === ((DATA_FIELD << 3) | BYTES)) throw beforeWelcome("data");
    if (tag !== ((CONTROL_FIELD << 3) | BYTES)) return true;
    const content = bytes[contentAt];
    if (content === undefined) {
      this.#needBytes = contentAt + 1 - at;
      return false;
    }
    if (content >>> 3 !== HELLO_FIELD) throw beforeWelcome("another message");
    if (this.#controls > 0) throw beforeWelcome("a second Hello");
    return true;
  }

  /** As batch-limits.ts does, of what is dear to build or to hand on. @returns whether this field of Control is about the session */
  #count(field: number): boolean {
    if (++this.#controls > MAX_FIELDS) throw malformed(`more than ${MAX_FIELDS} control messages`);
    if (!isSessionField(field)) return false;
    if (++this.#sessionMessages > MAX_SESSION_MESSAGES)
      throw malformed(`more than ${MAX_SESSION_MESSAGES} messages about the session`);
    return true;
  }

  #beginData(from: number, { contentAt, end }: FieldHead): number {
    if (this.#dataSeen) throw malformed("data twice");
    this.#dataSeen = true;
    this.#dataLeft = end - contentAt;
    return this.#took(from, contentAt);
  }

  /** Undefined if that is not whole yet. Fields of later versions have a tag of one byte, and a length, too. */
  #fieldHead(bytes: Buffer, at: number, limit: number): FieldHead | undefined {
    const tag = bytes[at]!;
    if ((tag & 7) !== BYTES || tag >= 0x80) throw malformed("a field of a batch without a length");
    let length = 0;
    for (let i = 1; i < MAX_FIELD_HEAD_BYTES && at + i < limit; i++) {
      const byte = bytes[at + i];
      if (byte === undefined) {
        this.#needBytes = i + 1;
        return undefined;
      }
      length |= (byte & 0x7f) << (7 * (i - 1));
      if (byte >= 0x80) continue;
      const contentAt = at + i + 1;
      const end = contentAt + length;
      if (end > limit) break;
      return { tag, contentAt, end };
    }
    throw malformed("a field beyond its batch");
  }

  #took(from: number, to: number): number {
    this.#messageLeft! -= to - from;
    if (this.#messageLeft === 0) this.#endMessage();
    return to;
  }

  #endMessage(): void {
    this.#messageLeft = undefined;
    this.#receiver.batchEnd();
  }
}

function beforeWelcome(what: string): TunnelError {
  return new TunnelError(
    "protocol",
    `${what} before Welcome, where there should be one Hello and nothing else`,
  );
}

interface FieldHead {
  tag: number;
  contentAt: number;
  end: number;
}

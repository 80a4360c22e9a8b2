/**
 * What a batch may hold, looked at before objects are made of it. A batch of 4 MiB can hold two million messages of two
 * bytes; building them stops the event loop for up to 12 s (measured), and anyone may send one before Hello.
 */

/** Of control messages and what is in them. A sender puts about 4,000 messages in a batch, of 10 fields at most. */
export const MAX_FIELDS = 65_536;
/** Of what is said about the session, by far the dearest to build. */
export const MAX_SESSION_MESSAGES = 16;

const CONTRACT = "culvert.v1.";
/** Control's members about streams, and probes: control-codec.ts reads them by hand. */
const FIRST_STREAM_FIELD = 6;
const LAST_STREAM_FIELD = 12;

const NUMBER = 0;
const BYTES = 2;
/** What a field holds: a number, bytes (or text), or a message, by the numbers of its fields. */
type Field = typeof NUMBER | typeof BYTES | Message;
type Message = Map<number, Field>;

/** Whether a member of Control is about the session, or of a later version: proto-loader reads it, whatever it is. */
export function isSessionField(field: number): boolean {
  return field < FIRST_STREAM_FIELD || field > LAST_STREAM_FIELD;
}

/** A contract as @grpc/proto-loader describes it. */
type Definition = Record<string, object>;
interface Description {
  type: { field: { number: number; type: string; typeName: string }[] };
}

/**
 * Makes a reader of batches refuse those beyond the limits, and those that are not spelled as any sender spells them.
 * @throws RangeError, when called with one
 */
export function withinBatchLimits<T>(
  deserialize: (bytes: Buffer) => T,
  definition: Definition,
): (bytes: Buffer) => T {
  const batch = messageNamed("Batch", definition);
  const control = batch.get(1) as Message;
  return (bytes) => {
    new Count(bytes, control).fieldsOf(batch, bytes.length);
    return deserialize(bytes);
  };
}

function messageNamed(name: string, definition: Definition): Message {
  const { type } = definition[CONTRACT + name] as Description;
  return new Map(
    type.field.map((field): [number, Field] => {
      if (field.type === "TYPE_MESSAGE") return [field.number, messageNamed(field.typeName, definition)];
      return [field.number, field.type === "TYPE_BYTES" || field.type === "TYPE_STRING" ? BYTES : NUMBER];
    }),
  );
}

/**
 * Walks protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) without building anything. It must see what
 * the reader will see; so what the two might read differently is refused: the reader goes by a field's number whatever form
 * its tag claims, reads numbers of more than five bytes as ten, and does not mind a field that is longer than its message.
 */
class Count {
  readonly #bytes: Buffer;
  readonly #control: Message;
  #at = 0;
  #fields = 0;
  #sessionMessages = 0;

  constructor(bytes: Buffer, control: Message) {
    this.#bytes = bytes;
    this.#control = control;
  }

  fieldsOf(message: Message, to: number): void {
    while (this.#at < to) {
      const tag = this.#number();
      const number = tag >>> 3;
      const form = tag & 7;
      if (++this.#fields > MAX_FIELDS) throw new RangeError(`a batch of more than ${MAX_FIELDS} fields`);
      if (
        message === this.#control &&
        isSessionField(number) &&
        ++this.#sessionMessages > MAX_SESSION_MESSAGES
      ) {
        throw new RangeError(`a batch of more than ${MAX_SESSION_MESSAGES} messages about the session`);
      }
      const field = message.get(number);
      if (field !== undefined && form !== (field === NUMBER ? NUMBER : BYTES)) throw malformed();
      this.#field(field, form, to);
    }
    if (this.#at !== to) throw malformed();
  }

  #field(field: Field | undefined, form: number, to: number): void {
    switch (form) {
      case 0:
        if (field === undefined) this.#skipNumber();
        else this.#number();
        return;
      case 1:
        this.#at += 8;
        return;
      case 2: {
        const length = this.#number();
        const end = this.#at + length;
        if (end > to) throw malformed();
        if (typeof field === "object") this.fieldsOf(field, end);
        this.#at = end;
        return;
      }
      case 5:
        this.#at += 4;
        return;
      default:
        // Groups: neither in the contract nor ever to be.
        throw malformed();
    }
  }

  /** Of 32 bits, as all in the contract. */
  #number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw malformed();
  }

  /** Of a later version's field, which may have more. */
  #skipNumber(): void {
    while ((this.#bytes[this.#at++] ?? 0) >= 0x80);
  }
}

function malformed(): RangeError {
  return new RangeError("a batch that no sender spells so");
}

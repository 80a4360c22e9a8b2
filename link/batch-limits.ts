/**
 * What a batch may hold, looked at before objects are made of it. A batch of 4 MiB can hold two million messages of two
 * bytes; building them stops the event loop for up to 12 s (measured), and anyone may send one before Hello.
 */

/** Of control messages and what is in them. A sender puts about 4,000 messages in a batch, of 10 fields at most. */
export const MAX_FIELDS = 65_536;
/** Of what is said about the session, by far the dearest to build. */
export const MAX_SESSION_MESSAGES = 16;
/** In all of that together: enough for the most tunnels, with every field set. */
const MAX_SESSION_FIELDS = 16_384;
/** Tunnels in one message: four times what a client may ask for, so that one that asks for too many is told how many it may. */
const MAX_TUNNELS = 1_024;
/** Texts of a list. */
const MAX_LISTED = 32;

/** Longest text about the session. A hostname has at most 253 bytes, the path of a UNIX socket 107. */
const MAX_TEXT_BYTES = 256;
const MAX_NAME_BYTES = 64;
/** Where that is too much or not enough; by message and field. */
const MAX_BYTES: Readonly<Record<string, number>> = {
  "Hello.features": MAX_NAME_BYTES,
  "Welcome.features": MAX_NAME_BYTES,
  "TunnelRequest.name": MAX_NAME_BYTES,
  // Where a client names none, the server makes one of the tunnel's kind and target.
  "Tunnel.name": MAX_NAME_BYTES + MAX_TEXT_BYTES,
  "Tunnel.url": MAX_NAME_BYTES + MAX_TEXT_BYTES,
  // As of a file with certificates (runtime/certificates.ts).
  "TargetTls.ca": 1024 * 1024,
  // It may quote a text, with each byte of it escaped.
  "Refused.message": 16 * MAX_TEXT_BYTES,
};

const CONTRACT = "culvert.v1.";
const CONTROL = "Control";
/** Control's members about streams, probes, and visitors that have left: control-codec.ts reads them by hand. */
const FIRST_STREAM_FIELD = 6;
const LAST_STREAM_FIELD = 12;
const VISITOR_LEFT_FIELD = 14;

const NUMBER = 0;
const BYTES = 2;

interface Message {
  /** By number. */
  fields: ReadonlyMap<number, Field>;
  /** Holds one of its fields, and no second: it would be built, and then lost to the last. */
  isChoice: boolean;
  isAboutSession: boolean;
}

interface Field {
  /** As errors call it, with its message: `TunnelRequest.target`. */
  name: string;
  form: typeof NUMBER | typeof BYTES;
  /** What is in it, if that is a message. */
  message: Message | undefined;
  maxBytes: number;
  /** How often it may be there. */
  maxCount: number;
}

/** Whether a member of Control is about the session, or of a later version: proto-loader reads it, whatever it is. */
export function isSessionField(field: number): boolean {
  return (field < FIRST_STREAM_FIELD || field > LAST_STREAM_FIELD) && field !== VISITOR_LEFT_FIELD;
}

/** A contract as @grpc/proto-loader describes it. */
type Definition = Record<string, object>;
interface Description {
  type: { field: FieldDescription[] };
}
interface FieldDescription {
  name: string;
  number: number;
  label: string;
  type: string;
  typeName: string;
}

/**
 * Makes a reader of batches refuse those beyond the limits, and encodings that no sender produces.
 * @throws RangeError, when called with one
 */
export function withinBatchLimits<T>(
  deserialize: (bytes: Buffer) => T,
  definition: Definition,
): (bytes: Buffer) => T {
  const batch = messageNamed("Batch", definition);
  return (bytes) => {
    new Count(bytes).fieldsOf(batch, bytes.length);
    return deserialize(bytes);
  };
}

function messageNamed(name: string, definition: Definition, isAboutSession = false): Message {
  const { type } = definition[CONTRACT + name] as Description;
  const fields = type.field.map((field): [number, Field] => {
    const key = `${name}.${field.name}`;
    const isMessage = field.type === "TYPE_MESSAGE";
    const isText = field.type === "TYPE_STRING" || field.type === "TYPE_BYTES";
    const isSession = isAboutSession || (name === CONTROL && isSessionField(field.number));
    return [
      field.number,
      {
        name: key,
        form: isMessage || isText ? BYTES : NUMBER,
        message: isMessage ? messageNamed(field.typeName, definition, isSession) : undefined,
        // What is about streams the link itself looks at.
        maxBytes: isAboutSession && isText ? (MAX_BYTES[key] ?? MAX_TEXT_BYTES) : Infinity,
        maxCount:
          isAboutSession && field.label === "LABEL_REPEATED"
            ? isMessage
              ? MAX_TUNNELS
              : MAX_LISTED
            : Infinity,
      },
    ];
  });
  return { fields: new Map(fields), isChoice: name === CONTROL, isAboutSession };
}

/**
 * Walks protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) without building anything. It must see what
 * the reader will see; so what the two might read differently is refused: the reader goes by a field's number whatever form
 * its tag claims, reads numbers of more than five bytes as ten, and does not mind a field that is longer than its message.
 */
class Count {
  readonly #bytes: Buffer;
  #at = 0;
  #fields = 0;
  #sessionFields = 0;
  #sessionMessages = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  fieldsOf(message: Message, to: number): void {
    let counts: Map<Field, number> | undefined;
    let chosen = false;
    while (this.#at < to) {
      const tag = this.#number();
      const number = tag >>> 3;
      const form = tag & 7;
      if (++this.#fields > MAX_FIELDS) throw new RangeError(`a batch of more than ${MAX_FIELDS} fields`);
      if (message.isAboutSession && ++this.#sessionFields > MAX_SESSION_FIELDS) {
        throw new RangeError(`more than ${MAX_SESSION_FIELDS} fields about the session`);
      }
      if (message.isChoice && isSessionField(number)) this.#countSessionMessage();
      const field = message.fields.get(number);
      if (field === undefined) {
        this.#skip(form, to);
        continue;
      }
      if (form !== field.form || (message.isChoice && chosen)) throw malformed();
      chosen = true;
      if (field.maxCount !== Infinity) {
        counts ??= new Map();
        const count = (counts.get(field) ?? 0) + 1;
        if (count > field.maxCount) throw new RangeError(`more than ${field.maxCount} ${field.name}`);
        counts.set(field, count);
      }
      this.#known(field, to);
    }
    if (this.#at !== to) throw malformed();
  }

  #countSessionMessage(): void {
    if (++this.#sessionMessages > MAX_SESSION_MESSAGES)
      throw new RangeError(`a batch of more than ${MAX_SESSION_MESSAGES} messages about the session`);
  }

  #known({ name, form, message, maxBytes }: Field, to: number): void {
    if (form === NUMBER) {
      this.#number();
      return;
    }
    const length = this.#number();
    const end = this.#at + length;
    if (end > to) throw malformed();
    if (length > maxBytes) throw new RangeError(`${name} of ${length} bytes, more than ${maxBytes}`);
    if (message) this.fieldsOf(message, end);
    this.#at = end;
  }

  /** A field of a later version. */
  #skip(form: number, to: number): void {
    switch (form) {
      case 0:
        this.#skipNumber();
        return;
      case 1:
        this.#at += 8;
        return;
      case 2: {
        const length = this.#number();
        if (this.#at + length > to) throw malformed();
        this.#at += length;
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

  /** It may have more. */
  #skipNumber(): void {
    while ((this.#bytes[this.#at++] ?? 0) >= 0x80);
  }
}

function malformed(): RangeError {
  return new RangeError("a batch that no sender spells so");
}

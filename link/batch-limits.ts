/**
 * What a batch may hold, looked at before objects are made of it. A batch of 4 MiB can hold two million messages of two
 * bytes; building them stops the event loop for up to 12 s (measured), and anyone may send one before Hello.
 */

/** Of control messages and what is in them. A sender puts about 4,000 messages in a batch, of 9 fields at most. */
const MAX_FIELDS = 65_536;
/** Of what is said about the session, by far the dearest to build. */
const MAX_SESSION_MESSAGES = 16;

// Field numbers of proto/tunnel.proto: Batch.control, and the last of Control's members that are about the session.
const CONTROL_FIELD = 1;
const LAST_SESSION_FIELD = 5;

/** Which message a field stands in, by depth; deeper than this costs nothing that its bytes do not. */
const IN_BATCH = 0;
const IN_CONTROL = 1;

/**
 * Makes a reader of batches refuse those beyond the limits.
 * @throws RangeError, when called with one
 */
export function withinBatchLimits<T>(deserialize: (bytes: Buffer) => T): (bytes: Buffer) => T {
  return (bytes) => {
    new Count(bytes).fieldsOf(IN_BATCH, 0, bytes.length);
    return deserialize(bytes);
  };
}

/** Walks protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) without building anything. */
class Count {
  readonly #bytes: Buffer;
  #at = 0;
  #fields = 0;
  #sessionMessages = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Malformed bytes end the walk; the real reader is the one to complain of them. */
  fieldsOf(level: number, from: number, to: number): void {
    this.#at = from;
    while (this.#at < to) {
      const tag = this.#varint();
      const field = tag >>> 3;
      if (++this.#fields > MAX_FIELDS) throw new RangeError(`a batch of more than ${MAX_FIELDS} fields`);
      if (
        level === IN_CONTROL &&
        field <= LAST_SESSION_FIELD &&
        ++this.#sessionMessages > MAX_SESSION_MESSAGES
      ) {
        throw new RangeError(`a batch of more than ${MAX_SESSION_MESSAGES} messages about the session`);
      }
      switch (tag & 7) {
        case 0:
          this.#varint();
          break;
        case 1:
          this.#at += 8;
          break;
        case 2: {
          const length = this.#varint();
          const start = this.#at;
          const end = start + length;
          if (end > to) return;
          if (level === IN_CONTROL || (level === IN_BATCH && field === CONTROL_FIELD))
            this.fieldsOf(level + 1, start, end);
          this.#at = end;
          break;
        }
        case 5:
          this.#at += 4;
          break;
        default:
          // Groups: neither in the contract nor ever to be.
          throw new RangeError("a batch with a field of an unknown form");
      }
    }
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 64; shift += 7) {
      const byte = this.#bytes[this.#at++] ?? 0;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value >>> 0;
  }
}

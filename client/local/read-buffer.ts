import type { OnReadOpts } from "node:net";

/** What a connection begins with: enough for most answers, and cheap for the many connections that serve a single one. */
const FIRST_BYTES = 4 * 1024;
/** As much as the system is asked for at once, where a service has filled the first buffer. */
const READ_BYTES = 64 * 1024;
/** Up to this much is copied out of the buffer. More is handed on with it: a new one costs no more than such copies (measured). */
const COPIED_BYTES = 16 * 1024;

/**
 * How a plain socket reads: into one buffer again and again. node:net makes one of 64 KiB for each read, and most answers
 * have a few hundred bytes.
 *
 * @param received is given bytes to keep
 */
export function readingInPlace(received: (bytes: Buffer) => void): OnReadOpts {
  let buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  return {
    buffer: () => buffer,
    callback(length) {
      const bytes = buffer.subarray(0, length);
      const isHandedOn = length > COPIED_BYTES;
      if (isHandedOn || length === buffer.length) buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      received(isHandedOn ? bytes : Buffer.from(bytes));
      return true;
    },
  };
}

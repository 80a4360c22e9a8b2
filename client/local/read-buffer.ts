import type { OnReadOpts } from "node:net";

/** As much as the system is asked for at once. */
const READ_BYTES = 64 * 1024;
/** Up to this much is copied out of the buffer. More is handed on with it: a new one costs no more than such copies (measured). */
const COPIED_BYTES = 16 * 1024;

/** For all connections: between the read and its callback nothing else runs, and behind that nothing of it is needed. */
const SHARED = Buffer.allocUnsafeSlow(READ_BYTES);

/**
 * How a plain socket reads: into a buffer that is there already. node:net makes one of 64 KiB for each read, and most answers
 * have a few hundred bytes. Behind a large read a connection has a buffer of its own, which can be handed on; one that waits
 * for an answer, as thousands may, has none.
 *
 * @param received is given bytes to keep, which take not much more memory than they are (runtime/buffer-pool.ts)
 */
export function readingInPlace(received: (bytes: Buffer) => void): OnReadOpts {
  let buffer = SHARED;
  return {
    buffer: () => buffer,
    callback(length) {
      const bytes = buffer.subarray(0, length);
      const isLarge = length > COPIED_BYTES;
      const isHandedOn = isLarge && buffer !== SHARED;
      buffer = isLarge ? Buffer.allocUnsafeSlow(READ_BYTES) : SHARED;
      received(isHandedOn ? bytes : Buffer.from(bytes));
      return true;
    },
  };
}

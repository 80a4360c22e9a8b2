/** Batches as gRPC messages, without a copy of what is large: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
import type { Batch } from "./carrier.ts";
import { writeControl } from "./control-codec.ts";
import { WireWriter } from "./wire-writer.ts";

/** A byte that says "not compressed", and the length of the message. */
export const PREFIX_BYTES = 5;
/** `Batch.data`. */
export const DATA_FIELD = 2;
/** Up to this, data is copied into the buffer of all the rest: cheaper than more slices on their way to the socket. */
const ONE_BUFFER_BYTES = 16 * 1024;

/** One for all: nothing stays in it. */
const writer = new WireWriter();

/** The message in slices, in order; those of much data are the caller's own buffers. */
export function writeBatch({ control, data }: Batch): Buffer[] {
  let dataBytes = 0;
  for (const slice of data) dataBytes += slice.length;
  const apart = dataBytes > ONE_BUFFER_BYTES;
  if (!apart) for (let i = data.length - 1; i >= 0; i--) writer.raw(data[i]!);
  if (dataBytes > 0) writer.lengthField(DATA_FIELD, dataBytes);
  writeControl(control, writer);
  writer.uint32BE(writer.length + (apart ? dataBytes : 0));
  writer.byte(0);
  return apart ? [writer.take(), ...data] : [writer.take()];
}

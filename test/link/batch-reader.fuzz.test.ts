import * as fc from "fast-check";
import { expect } from "vitest";
import { BatchReader } from "../../link/batch-reader.ts";
import { writeBatch } from "../../link/batch-writer.ts";
import { linkService } from "../../link/contract.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Control } from "../../link/messages.ts";
import { controlMessage } from "../support/control-arbitraries.ts";
import { fuzz } from "../support/fuzz.ts";

const { requestSerialize, requestDeserialize } = linkService.Connect;

const data = fc
  .array(fc.uint8Array({ maxLength: 40 }), { maxLength: 4 })
  .map((slices) => slices.map((slice) => Buffer.from(slice)));
const batch = fc.record({ control: fc.array(controlMessage, { maxLength: 8 }), data });
const batches = fc.array(batch, { minLength: 1, maxLength: 4 });
/** Where to split, as parts of what is left. */
const splits = fc.array(fc.nat(60), { maxLength: 60 });

fuzz("what is written is what proto-loader reads", [batch], ({ control, data }) => {
  const message = Buffer.concat(writeBatch({ control, data }));
  expect(message.readUInt32BE(1)).toBe(message.length - 5);
  expect(requestDeserialize(message.subarray(5))).toMatchObject({ control, data: Buffer.concat(data) });
});

fuzz("what proto-loader writes is read, wherever it is split", [batches, splits], (batches, splits) => {
  const bytes = batches.map(({ control, data }) =>
    framed(requestSerialize({ control, data: Buffer.concat(data) })),
  );
  const read = readSplit(Buffer.concat(bytes), splits);
  expect(read.length).toBe(batches.length);
  for (const [i, { control, data }] of batches.entries()) {
    expect(read[i]).toMatchObject({ control, data: Buffer.concat(data) });
  }
});

const damage = fc.array(fc.record({ at: fc.nat(2_000), byte: fc.nat(255) }), { minLength: 1, maxLength: 3 });

fuzz(
  "what is damaged is refused as a breach, or read as proto-loader reads it",
  [batch, damage, splits],
  ({ control, data }, damage, splits) => {
    const body = requestSerialize({ control, data: Buffer.concat(data) });
    for (const { at, byte } of damage) if (body.length > 0) body[at % body.length] = byte;
    let read: ReadBatch[];
    try {
      read = readSplit(framed(body), splits);
    } catch (error) {
      expect(error).toBeInstanceOf(TunnelError);
      return;
    }
    expect(read[0]).toEqual(requestDeserialize(body));
  },
);

interface ReadBatch {
  control: Control[];
  data: Buffer;
}

function readSplit(bytes: Buffer, splits: number[]): ReadBatch[] {
  const read: ReadBatch[] = [];
  let current: ReadBatch = { control: [], data: Buffer.alloc(0) };
  const reader = new BatchReader(
    {
      control: (messages) => current.control.push(...messages),
      data: (slice) => (current.data = Buffer.concat([current.data, slice])),
      batchEnd: () => {
        read.push(current);
        current = { control: [], data: Buffer.alloc(0) };
      },
    },
    { isOver: () => false },
  );
  let from = 0;
  for (const length of splits) {
    // A slice is never empty.
    if (length === 0 || from + length >= bytes.length) continue;
    reader.push(bytes.subarray(from, from + length));
    from += length;
  }
  reader.push(bytes.subarray(from));
  return read;
}

function framed(body: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

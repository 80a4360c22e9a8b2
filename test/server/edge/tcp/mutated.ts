import * as fc from "fast-check";

const byte = fc.oneof(fc.constantFrom(0, 1, 0x0a, 0x0d, 0x20, 0x30, 0x7f, 0x80, 0xff), fc.nat(255));
/** So many bytes at some place give way to others: most often one to another, and at times all to the end to none. */
const change = fc.record({
  at: fc.oneof(fc.nat(120), fc.nat(3_000)),
  removed: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.nat(4), fc.constant(Infinity)),
  added: fc.oneof({ weight: 4, arbitrary: fc.tuple(byte) }, fc.array(byte, { maxLength: 3 })),
});

/** The bytes with a few of them changed. */
export function mutated(bytes: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc.tuple(bytes, fc.array(change, { minLength: 1, maxLength: 3 })).map(([bytes, changes]) =>
    changes.reduce((bytes, { at: place, removed, added }) => {
      const at = place % (bytes.length + 1);
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(added), bytes.subarray(at + removed)]);
    }, bytes),
  );
}

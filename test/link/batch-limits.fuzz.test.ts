import * as fc from "fast-check";
import { expect, test } from "vitest";
import { linkService, type WireBatch } from "../../link/contract.ts";
import type { Control } from "../../link/messages.ts";
import { controlMessage } from "../support/control-arbitraries.ts";
import { fuzz } from "../support/fuzz.ts";

const CONTROL_FIELD = 1;
const LENGTH_DELIMITED = 2;
// What batch-limits.ts lets through at most.
const MAX_FIELDS = 65_536;
const MAX_SESSION_MESSAGES = 16;

// The reader has the limits built in.
const { requestSerialize, requestDeserialize } = linkService.Connect;

fuzz(
  "any batch of legal messages is read as it was written",
  [fc.array(controlMessage, { maxLength: 16 }), fc.uint8Array({ maxLength: 100 })],
  (control, data) => {
    const batch = { control, data: Buffer.from(data) };
    const bytes = requestSerialize(batch);
    expect(requestDeserialize(bytes)).toMatchObject(batch);
  },
);

/** A field as the wire has it: of any number and form, its varints spelled in too many bytes, its length wrong. */
interface Spelling {
  number: number;
  form: number;
  padding: number;
  lengthAdded: number;
}

const spelling: fc.Arbitrary<Spelling> = fc.record({
  number: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 1, max: 9 }) },
    fc.constantFrom(0, 12, 13, 15, 16, 0x1fff_ffff),
  ),
  form: fc.oneof({ weight: 3, arbitrary: fc.constant(LENGTH_DELIMITED) }, fc.nat(7)),
  padding: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(9)),
  lengthAdded: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 60 })),
});
const control = fc.oneof(
  { weight: 3, arbitrary: fc.constant(rightly(CONTROL_FIELD)) },
  spelling.map(asControl),
  spelling,
);
const few = fc
  .oneof({ weight: 4, arbitrary: fc.constant([]) }, fc.uint8Array({ maxLength: 6 }))
  .map((bytes) => Buffer.from(bytes));

fuzz(
  "many messages about the session are refused, however they are spelled",
  [few, control, spelling, few, few],
  (before, control, message, content, after) => {
    const one = Buffer.concat([spell(control, spell(message, content)), after]);
    expectWithinLimits(Buffer.concat([before, ...Array<Buffer>(MAX_SESSION_MESSAGES + 1).fill(one)]));
  },
);

fuzz(
  "many tunnels in a message are refused, however they are spelled",
  [control, fc.array(spelling, { maxLength: 3 }), fc.constantFrom(0x0a, 0x2a, 0x42), few],
  (control, around, tag, before) => {
    const many = Buffer.alloc(2 * (MAX_FIELDS + 1)).fill(Buffer.from([tag, 0]));
    const content = around.reduceRight(
      (content, each) => Buffer.concat([before, spell(each, content)]),
      many,
    );
    expectWithinLimits(spell(control, content));
  },
  { cost: 10 },
);

fuzz(
  "a faulty batch is refused, or read within the limits",
  [
    fc.array(controlMessage, { maxLength: 24 }),
    fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { maxLength: 3 }),
  ],
  (control, faults) => {
    const bytes = requestSerialize({ control, data: Buffer.from("data") });
    for (const [at, value] of faults) bytes[at % bytes.length] = value;
    expectWithinLimits(bytes);
  },
);

test("control messages that claim to be numbers are counted", () => {
  const hello = Buffer.from([0x08, 2, 0x0a, 0]);
  expect(() => requestDeserialize(Buffer.alloc(17 * hello.length).fill(hello))).toThrow(RangeError);
});

test("tunnels behind a number that claims to be a text are counted", () => {
  const tunnels = Buffer.alloc(2 * (MAX_FIELDS + 1)).fill(Buffer.from([0x2a, 0]));
  const welcome = spell(rightly(2), spell(rightly(1), tunnels));
  expect(() => requestDeserialize(spell(rightly(CONTROL_FIELD), welcome))).toThrow(RangeError);
});

test("control messages behind numbers of too many bytes are counted", () => {
  // The reader takes ten bytes for a number whose fifth goes on, wherever it ends.
  const unknown = [0xfa, 0xff, 0xff, 0xff, 0x8f, 0x80, 0x80, 0x00, 0x85, 0x80, 0x80, 0x00];
  const bytes = [...unknown, 0x19, 3, 2, 1, 0];
  expect(() => requestDeserialize(Buffer.alloc(40 * bytes.length).fill(Buffer.from(bytes)))).toThrow(
    RangeError,
  );
});

/** Of what is built: messages that a later one takes the place of do not show. */
function expectWithinLimits(bytes: Buffer): void {
  let batch: WireBatch;
  try {
    batch = requestDeserialize(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return;
  }
  // The batch itself and its list of messages are no fields.
  expect(objectsIn(batch) - 2).toBeLessThanOrEqual(MAX_FIELDS);
  expect(batch.control.filter(isAboutSession).length).toBeLessThanOrEqual(MAX_SESSION_MESSAGES);
}

function objectsIn(value: unknown): number {
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return 0;
  return Object.values(value).reduce((sum, each) => sum + objectsIn(each), 1);
}

function isAboutSession({ message }: Control): boolean {
  return ["hello", "welcome", "refused", "tunnels", "drain", "tunnelStates"].includes(message);
}

function rightly(number: number): Spelling {
  return { number, form: LENGTH_DELIMITED, padding: 0, lengthAdded: 0 };
}

function asControl(spelling: Spelling): Spelling {
  return { ...spelling, number: CONTROL_FIELD };
}

function spell({ number, form, padding, lengthAdded }: Spelling, content: Buffer): Buffer {
  return Buffer.concat([
    varint(number * 8 + form, padding),
    varint(Math.max(0, content.length + lengthAdded), padding),
    content,
  ]);
}

/** Spelled in up to `padding` more bytes than it needs. */
function varint(value: number, padding: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  bytes.push(value);
  for (let added = 0; added < padding && bytes.length < 10; added++) {
    bytes.push(bytes.pop()! | 0x80, 0);
  }
  return Buffer.from(bytes);
}

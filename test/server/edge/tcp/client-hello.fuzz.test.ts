import * as fc from "fast-check";
import { expect } from "vitest";
import { ClientHelloReader } from "../../../../server/edge/tcp/client-hello.ts";
import { normalizeHostname } from "../../../../server/routing/hostname.ts";
import { makeCertificate } from "../../../support/certificates.ts";
import { fuzz } from "../../../support/fuzz.ts";
import { helloOfNode, inRecords, messageOf } from "./captured-hello.ts";
import { extension, hello, serverNames, vector } from "./made-hello.ts";
import { mutated } from "./mutated.ts";
import { nameHeardByOpenssl } from "./openssl-server.ts";
import { readInPieces } from "./read-in-pieces.ts";

interface Asked {
  hostname: string | undefined;
  protocols: string[];
  message: Buffer;
}

const content = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
const otherExtension = fc
  .tuple(fc.integer({ min: 17, max: 0xffff }), content)
  .map(([type, content]) => ({ type, bytes: extension(type, content) }));
const asked: fc.Arbitrary<Asked> = fc
  .record({
    hostname: fc.option(fc.domain(), { nil: undefined }),
    protocols: fc.array(fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 20 }), { maxLength: 4 }),
    others: fc.uniqueArray(otherExtension, { maxLength: 5, selector: ({ type }) => type }),
    order: fc.infiniteStream(fc.nat(5)),
  })
  .map(({ hostname, protocols, others, order }) => {
    const extensions = others.map(({ bytes }) => bytes);
    const add = (bytes: Buffer): unknown => extensions.splice(order.next().value, 0, bytes);
    if (hostname !== undefined) add(serverNames(hostname));
    if (protocols.length > 0) add(extension(16, vector(2, ...protocols.map((name) => vector(1, name)))));
    return { hostname: hostname?.toLowerCase(), protocols, message: hello(Buffer.concat(extensions)) };
  });
const sizes = fc.infiniteStream(fc.integer({ min: 1, max: 90 }));

fuzz(
  "what a client asks for is read, in whatever records and pieces it comes; what is cut off is not guessed",
  [asked, sizes, sizes, fc.nat()],
  ({ hostname, protocols, message }, recordSizes, pieceSizes, cut) => {
    const records = inRecords(message, () => recordSizes.next().value);
    const reader = new ClientHelloReader();
    const { reading } = readInPieces(reader, records, () => pieceSizes.next().value);
    expect(reading).toEqual({ state: "hello", hostname, protocols });
    expect(reader.bytes).toEqual(records);
    const short = records.subarray(0, cut % records.length);
    expect(new ClientHelloReader().push(short)).toEqual({ state: "more" });
  },
);

const nearly = fc.oneof(
  mutated(asked.map(({ message }) => inRecords(message))),
  mutated(fc.tuple(asked, sizes).map(([{ message }, sizes]) => inRecords(message, () => sizes.next().value))),
  mutated(asked.map(({ message }) => message)).map((message) => inRecords(message)),
  content,
);

fuzz(
  "any bytes get the same answer in whatever pieces they come: a hello, a refusal, or none yet; and they are kept",
  [nearly, sizes],
  (bytes, sizes) => {
    const whole = new ClientHelloReader().push(bytes);
    for (const length of [1, () => sizes.next().value]) {
      const reader = new ClientHelloReader();
      const { reading, taken } = readInPieces(reader, bytes, length);
      expect(reading).toEqual(whole);
      expect(reader.bytes).toEqual(bytes.subarray(0, taken));
    }
    if (whole.state === "refused") expect(whole.sentence).toMatch(/^(?:The|A) .*\.$/);
    if (whole.state === "hello" && whole.hostname !== undefined) {
      expect(normalizeHostname(whole.hostname)).toBe(whole.hostname);
    }
  },
);

fuzz("an answer is final: more bytes do not change it", [nearly, content], (bytes, more) => {
  const before = new ClientHelloReader().push(bytes);
  if (before.state === "more") return;
  expect(new ClientHelloReader().push(Buffer.concat([bytes, more]))).toEqual(before);
});

const real = await helloOfNode({ servername: "app.test", ALPNProtocols: ["h2"] });
const identity = await makeCertificate();

fuzz(
  "where OpenSSL finds a name, it is the one that was read, or the hello was refused",
  [mutated(fc.constant(messageOf(real)))],
  async (message) => {
    const bytes = inRecords(message);
    const heard = await nameHeardByOpenssl(bytes, identity);
    if (heard === undefined) return;
    const reading = new ClientHelloReader().push(bytes);
    expect(reading.state).not.toBe("more");
    if (reading.state === "hello") expect(reading.hostname).toBe(normalizeHostname(heard));
  },
  { cost: 3 },
);

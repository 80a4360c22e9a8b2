import { describe, expect, test } from "vitest";
import { ClientHelloReader, unrecognizedName } from "../../../../server/edge/tcp/client-hello.ts";
import { hasProgram } from "../../../support/programs.ts";
import { errorAfter, helloOfNode, helloOfOpenssl, inRecords, messageOf } from "./captured-hello.ts";
import { extension, hello, serverNames, vector } from "./made-hello.ts";
import { readInPieces } from "./read-in-pieces.ts";

const MANY_PROTOCOLS = Array.from({ length: 3_000 }, (_, i) => `protocol-${i}`);

function read(bytes: Buffer) {
  return new ClientHelloReader().push(bytes);
}

describe("a hello of node's", () => {
  test.each([
    ["TLS 1.2", { maxVersion: "TLSv1.2" }],
    ["TLS 1.3", { minVersion: "TLSv1.3" }],
    ["either", {}],
  ] as const)("with a name, and without, for %s", async (_, versions) => {
    const named = await helloOfNode({ ...versions, servername: "App.Example.COM" });
    expect(read(named)).toEqual({ state: "hello", hostname: "app.example.com", protocols: [] });
    const nameless = await helloOfNode(versions);
    expect(read(nameless)).toEqual({ state: "hello", hostname: undefined, protocols: [] });
  });

  test("offers its protocols in order", async () => {
    const bytes = await helloOfNode({ servername: "app.test", ALPNProtocols: ["h2", "http/1.1"] });
    expect(read(bytes)).toEqual({ state: "hello", hostname: "app.test", protocols: ["h2", "http/1.1"] });
    const acme = await helloOfNode({ ALPNProtocols: ["acme-tls/1"] });
    expect(read(acme)).toMatchObject({ protocols: ["acme-tls/1"] });
  });

  test("of more than one record, with thousands of protocols", async () => {
    const bytes = await helloOfNode({ servername: "app.test", ALPNProtocols: MANY_PROTOCOLS });
    expect(bytes.length).toBeGreaterThan(2 * 2 ** 14);
    const expected = { state: "hello", hostname: "app.test", protocols: MANY_PROTOCOLS };
    expect(read(bytes)).toEqual(expected);
    expect(readInPieces(new ClientHelloReader(), bytes, 1)).toEqual({
      reading: expected,
      taken: bytes.length,
    });
  });

  test("is whole at its last byte, not before, wherever it is cut; and what it was made of is kept", async () => {
    const bytes = await helloOfNode({ servername: "app.test", ALPNProtocols: ["h2"] });
    const expected = { state: "hello", hostname: "app.test", protocols: ["h2"] };
    for (let cut = 1; cut < bytes.length; cut++) {
      const reader = new ClientHelloReader();
      expect(reader.push(bytes.subarray(0, cut))).toEqual({ state: "more" });
      expect(reader.push(bytes.subarray(cut))).toEqual(expected);
      expect(reader.bytes).toEqual(bytes);
    }
    const reader = new ClientHelloReader();
    expect(readInPieces(reader, bytes, 1)).toEqual({ reading: expected, taken: bytes.length });
    expect(reader.bytes).toEqual(bytes);
  });

  test("is the same in records of any size", async () => {
    const message = messageOf(await helloOfNode({ servername: "app.test", ALPNProtocols: ["h2"] }));
    for (const size of [1, 2, 3, 4, 5, 7, 100, message.length - 1]) {
      const records = inRecords(message, size);
      const expected = { state: "hello", hostname: "app.test", protocols: ["h2"] };
      expect(read(records)).toEqual(expected);
      expect(readInPieces(new ClientHelloReader(), records, 1)).toEqual({
        reading: expected,
        taken: records.length,
      });
      expect(read(records.subarray(0, -1))).toEqual({ state: "more" });
    }
  });
});

describe.runIf(hasProgram("openssl"))("a hello of openssl's", () => {
  test.each(["-tls1_2", "-tls1_3"])("with a name, and without: %s", async (version) => {
    const named = await helloOfOpenssl(version, "-servername", "app.test", "-alpn", "h2,acme-tls/1");
    expect(read(named)).toEqual({ state: "hello", hostname: "app.test", protocols: ["h2", "acme-tls/1"] });
    const nameless = await helloOfOpenssl(version, "-noservername");
    expect(read(nameless)).toEqual({ state: "hello", hostname: undefined, protocols: [] });
  });
});

test("what follows the hello is kept too", async () => {
  const bytes = Buffer.concat([await helloOfNode({ servername: "app.test" }), Buffer.from("early data")]);
  const reader = new ClientHelloReader();
  expect(reader.push(bytes)).toMatchObject({ hostname: "app.test" });
  expect(reader.bytes).toEqual(bytes);
});

test.each([
  ["app.test.", "app.test"],
  ["xn--mnchen-3ya.test", "xn--mnchen-3ya.test"],
  ["_a.test", "_a.test"],
])("the name %s is %s", (name, hostname) => {
  expect(read(inRecords(hello(serverNames(name))))).toMatchObject({ state: "hello", hostname });
});

test("names of unknown types are passed over", () => {
  const others = [Buffer.from([7]), vector(2, "whatever"), Buffer.from([0]), vector(2, "app.test")];
  const bytes = inRecords(hello(extension(0, vector(2, ...others))));
  expect(read(bytes)).toMatchObject({ state: "hello", hostname: "app.test" });
  const alone = inRecords(hello(extension(0, vector(2, ...others.slice(0, 2)))));
  expect(read(alone)).toMatchObject({ state: "hello", hostname: undefined });
});

test("a hello of the old days has no extensions at all", () => {
  const bytes = inRecords(hello());
  expect(read(bytes)).toEqual({ state: "hello", hostname: undefined, protocols: [] });
});

const NO_HELLO = "The connection does not begin with a TLS ClientHello.";
const LONGER = "longer than what it is in";
const SHORTER = "shorter than what it is in";
const NO_NAME = "server name is not a hostname";
const name = serverNames("app.test");
const message = hello(name);
test.each<[string, Buffer, string]>([
  ["a request in plaintext", Buffer.from("GET / HTTP/1.1\r\n"), NO_HELLO],
  ["a hello of SSL 2", Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]), NO_HELLO],
  ["an alert", Buffer.from([21, 3, 3, 0, 2, 1, 0]), NO_HELLO],
  ["a record of another major version", Buffer.from([22, 4]), NO_HELLO],
  ["an empty record", Buffer.from([22, 3, 1, 0, 0]), "A TLS record of 0 bytes"],
  ["a record of 16,385 bytes", Buffer.from([22, 3, 1, 0x40, 1]), "A TLS record of 16385 bytes"],
  ["a ServerHello", Buffer.from([22, 3, 1, 0, 4, 2]), "not a ClientHello"],
  ["a hello of 64 KiB", Buffer.from([22, 3, 1, 0, 4, 1, 0, 0xff, 0xfd]), "more than 65536 bytes"],
  [
    "small records without end",
    inRecords(Buffer.from([1, 0, 0xff, 0xf0, ...Array<number>(11_000).fill(0)]), 1),
    "more than 65536 bytes",
  ],
  [
    "an interrupted hello",
    Buffer.concat([inRecords(message.subarray(0, 50)), Buffer.from([20])]),
    "interrupted",
  ],
  ["a hello of nothing", inRecords(Buffer.from([1, 0, 0, 0])), LONGER],
  [
    "a hello that ends in its random",
    inRecords(Buffer.from([1, 0, 0, 10, ...Array<number>(10).fill(3)])),
    LONGER,
  ],
  ["bytes behind the extensions", inRecords(hello(name, { behind: "x" })), SHORTER],
  [
    "bytes behind the names",
    inRecords(hello(extension(0, vector(2, "\0", vector(2, "app.test")), "x"))),
    SHORTER,
  ],
  ["bytes behind the protocols", inRecords(hello(extension(16, vector(2, vector(1, "h2")), "x"))), SHORTER],
  ["a name beyond its list", inRecords(hello(extension(0, vector(2, "\0\0\x09app.test")))), LONGER],
  ["an extension beyond the extensions", inRecords(hello(Buffer.from([0, 0, 0, 1]))), LONGER],
  ["no names in the list", inRecords(hello(extension(0, vector(2)))), "list of server names is empty"],
  ["an empty name", inRecords(hello(serverNames(""))), NO_NAME],
  ["two names", inRecords(hello(serverNames("a.test", "b.test"))), "two server names"],
  ["two lists of names", inRecords(hello(Buffer.concat([name, name]))), "an extension twice"],
  ["an address for a name", inRecords(hello(serverNames("203.0.113.7"))), NO_NAME],
  ["an IPv6 address for a name", inRecords(hello(serverNames("::1"))), NO_NAME],
  ["a name with a port", inRecords(hello(serverNames("app.test:443"))), NO_NAME],
  ["a name with a NUL", inRecords(hello(serverNames("app.test\0.example"))), NO_NAME],
  ["a name that is not in ASCII", inRecords(hello(serverNames("m\xfcnchen.test"))), NO_NAME],
  ["a protocol without a name", inRecords(hello(extension(16, vector(2, vector(1))))), "without a name"],
  ["no protocols in the list", inRecords(hello(extension(16, vector(2)))), "without a name"],
])("%s is refused, also byte by byte", (_, bytes, sentence) => {
  const refusal = { state: "refused", sentence: expect.stringContaining(sentence) };
  expect(read(bytes)).toEqual(refusal);
  const reader = new ClientHelloReader();
  const { reading, taken } = readInPieces(reader, bytes, 1);
  expect(reading).toEqual(refusal);
  expect(reader.bytes).toEqual(bytes.subarray(0, taken));
});

test("a hello of just under 64 KiB is read", () => {
  const padding = 2 ** 16 - hello(name).length - 4;
  const message = hello(Buffer.concat([name, extension(21, "\0".repeat(padding))]));
  expect(message.length).toBe(2 ** 16);
  expect(read(inRecords(message))).toMatchObject({ state: "hello", hostname: "app.test" });
});

test.each([{ maxVersion: "TLSv1.2" }, { minVersion: "TLSv1.3" }] as const)(
  "clients understand that nobody has the name: %j",
  async (versions) => {
    const error = await errorAfter(unrecognizedName(), { ...versions, servername: "app.test" });
    expect(error.code).toMatch(/UNRECOGNIZED_NAME$/);
  },
);

import { describe, expect, test } from "vitest";
import { withinBatchLimits } from "../../link/batch-limits.ts";
import { definition, linkService } from "../../link/contract.ts";
import type { Control, Hello, TargetTls, Tunnel, TunnelRequest } from "../../link/messages.ts";
import { chunk, open } from "../support/raw-peer.ts";

const { requestSerialize, requestDeserialize } = linkService.Connect;
const read = withinBatchLimits(requestDeserialize, definition);

const count = withinBatchLimits(() => undefined, definition);

function wire(control: Control[], data: Buffer = Buffer.alloc(0)): Buffer {
  return requestSerialize({ control, data });
}

describe("a batch as a sender makes it is read", () => {
  test.each<[string, Buffer]>([
    ["empty", Buffer.alloc(0)],
    [
      "4,097 heads with every field set",
      wire(Array.from({ length: 4_097 }, (_, i) => open(2 * i + 2, { end: true }))),
    ],
    ["data that looks like fields", wire([], chunk(2, 0, Buffer.alloc(65_536, 0x0a)))],
    ["heads that look like fields", wire([open(2, { head: Buffer.alloc(20_000, 0x0a) })])],
    [
      "a thousand tunnels",
      wire([
        { message: "tunnels", tunnels: { tunnels: Array.from({ length: 1_000 }, (_, id) => tunnel(id)) } },
      ]),
    ],
  ])("%s", (_name, bytes) => {
    expect(read(bytes)).toEqual(requestDeserialize(bytes));
  });
});

test.each<[string, Buffer]>([
  ["control messages without content", Buffer.alloc(200_000).fill(Buffer.from([0x0a, 0x00]))],
  ["pings", Buffer.alloc(200_000).fill(Buffer.from([0x0a, 0x02, 0x32, 0x00]))],
  [
    "empty names in one Hello",
    wire([
      { message: "tunnels", tunnels: { tunnels: Array.from({ length: 70_000 }, (_, id) => tunnel(id)) } },
    ]),
  ],
  ["Hellos", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x0a, 0x00]))],
  [
    "Hellos in one control message",
    Buffer.from([0x0a, 40, ...Buffer.alloc(40).fill(Buffer.from([0x0a, 0x00]))]),
  ],
  ["states of tunnels", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x6a, 0x00]))],
  ["messages of a later version", Buffer.alloc(80).fill(Buffer.from([0x0a, 0x02, 0x7a, 0x00]))],
  ["fields that nobody knows", Buffer.alloc(200_000).fill(Buffer.from([0x78, 0x00]))],
  ["groups", Buffer.alloc(1_000, 0x0b)],
])("too many %s are refused before they are built", (_name, bytes) => {
  const built: Buffer[] = [];
  const spy = withinBatchLimits((bytes) => built.push(bytes), definition);
  expect(() => spy(bytes)).toThrow(RangeError);
  expect(built).toEqual([]);
});

describe("what is said about the session", () => {
  const built: Buffer[] = [];
  const spy = withinBatchLimits((bytes) => built.push(bytes), definition);

  test.each<[string, (length: number) => Control, number]>([
    ["a tunnel's name", (length) => hello({ wanted: [request({ name: "n".repeat(length) })] }), 64],
    ["a hostname", (length) => hello({ wanted: [request({ hostname: "n".repeat(length) })] }), 256],
    ["a subdomain", (length) => hello({ wanted: [request({ subdomain: "n".repeat(length) })] }), 256],
    ["a target", (length) => hello({ wanted: [request({ target: "n".repeat(length) })] }), 256],
    ["a host header", (length) => hello({ wanted: [request({ hostHeader: "n".repeat(length) })] }), 256],
    ["a client's id", (length) => hello({ clientId: "n".repeat(length) }), 256],
    ["a version", (length) => hello({ version: "n".repeat(length) }), 256],
    ["a session's token", (length) => hello({ sessionToken: "n".repeat(length) }), 256],
    ["a secret", (length) => hello({ secret: Buffer.alloc(length) }), 256],
    ["a mapped tunnel's name", (length) => tunnels([{ ...tunnel(1), name: "n".repeat(length) }]), 320],
    ["a URL", (length) => tunnels([{ ...tunnel(1), url: "n".repeat(length) }]), 320],
    ["a mapped target", (length) => tunnels([{ ...tunnel(1), target: "n".repeat(length) }]), 256],
    ["a certificate's name", (length) => tunnels([secured({ serverName: "n".repeat(length) })]), 256],
    ["certificates", (length) => tunnels([secured({ ca: "n".repeat(length) })]), 1024 * 1024],
    ["the code of a refusal", (length) => refused("n".repeat(length), ""), 256],
    ["a refusal", (length) => refused("internal", "n".repeat(length)), 4096],
    ["a list of wants", (length) => hello({ wanted: Array.from({ length }, () => request({})) }), 1_024],
    ["a list of tunnels", (length) => tunnels(Array.from({ length }, (_, id) => tunnel(id))), 1_024],
  ])("%s may be as long as anyone needs, and no longer", (_name, made, longest) => {
    const bytes = wire([made(longest)]);
    expect(read(bytes)).toEqual(requestDeserialize(bytes));
    built.length = 0;
    expect(() => spy(wire([made(longest + 1)]))).toThrow(RangeError);
    expect(built).toEqual([]);
  });

  test("lengths are counted in bytes", () => {
    expect(() => count(wire([hello({ wanted: [request({ name: "ü".repeat(33) })] })]))).toThrow(RangeError);
  });

  test("the same field over and over is refused", () => {
    // Its client's id, empty.
    const ids = Buffer.alloc(2 * 16_385).fill(Buffer.from([0x2a, 0x00]));
    const bytes = Buffer.concat([Buffer.from([0x0a, 0x86, 0x80, 0x02, 0x0a, 0x82, 0x80, 0x02]), ids]);
    expect(() => count(bytes)).toThrow("more than 16384 fields about the session");
  });

  test("the longest Hello that asks for 256 tunnels has less than 256 KiB", () => {
    const long = "n".repeat(256);
    // A hostname or a subdomain.
    const tunnel = request({ name: "n".repeat(64), hostname: long, target: long, hostHeader: long });
    const whole = { ...tunnel, timeoutMs: 86_400_000, port: 65_535, ports: 1_000, proxyProtocol: 2 };
    const texts = { clientId: long, version: long, sessionToken: long };
    const bytes = wire([hello({ ...texts, wanted: Array.from({ length: 256 }, () => whole) })]);
    expect(read(bytes)).toEqual(requestDeserialize(bytes));
    expect(bytes.length).toBeLessThan(256 * 1024);
  });
});

test("a control message holds one thing: a Hello with Opens beside it is refused", () => {
  const beside = Buffer.from([0x0a, 0x06, 0x0a, 0x00, 0x42, 0x02, 0x08, 0x02]);
  expect(() => count(beside)).toThrow(RangeError);
});

test("a batch cut short anywhere is refused, or was whole there", () => {
  const whole = wire([open(2), open(4)], chunk(2, 1, "hello"));
  const cuts = Array.from(whole, (_, length) => whole.subarray(0, length));
  const taken = cuts.filter((cut) => {
    try {
      count(cut);
      return true;
    } catch {
      return false;
    }
  });
  expect(taken.map((cut) => read(cut).control.length)).toEqual([0, 1, 2]);
});

describe("what the reader would read otherwise than it is counted is refused:", () => {
  // Of each, one that is well spelled is taken.
  const hello = [0x0a, 0x02, 0x0a, 0x00];

  test.each<[string, number[]]>([
    ["a message in the form of a number", [0x08, 0x02, 0x0a, 0x00]],
    ["a number in the form of bytes", [0x0a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 0x00]],
    ["bytes in the form of a number", [0x10, 0x02, 0x0a, 0x00]],
    ["a tag of six bytes", [0x8a, 0x80, 0x80, 0x80, 0x80, 0x00, 0x02, 0x0a, 0x00]],
    ["a length of six bytes", [0x0a, 0x82, 0x80, 0x80, 0x80, 0x80, 0x00, 0x0a, 0x00]],
    ["a field longer than its message", [0x0a, 0x02, 0x0a, 0x02, 0x0a, 0x00]],
    ["a number that goes beyond its message", [0x0a, 0x04, 0x32, 0x02, 0x08, 0x80, 0x00]],
  ])("%s", (_name, bytes) => {
    expect(() => count(Buffer.from(hello))).not.toThrow();
    expect(() => count(Buffer.from(bytes))).toThrow(RangeError);
  });

  test("but fields of a later version are left alone, of whatever form", () => {
    const later = [0x7a, 0x01, 0x00, 0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    expect(() => count(Buffer.from([...later, ...hello]))).not.toThrow();
  });
});

test("counting a batch full of data costs next to nothing", () => {
  const bytes = wire([], Buffer.alloc(4_000_000, 0x0a));
  const startMs = performance.now();
  for (let i = 0; i < 1_000; i++) count(bytes);
  expect(performance.now() - startMs).toBeLessThan(100);
});

function hello(more: Partial<Hello>): Control {
  const nobody = { keyId: Buffer.alloc(8), secret: Buffer.alloc(16), clientId: "c", version: "0" };
  const plain = { protocolMin: 1, protocolMax: 1, sessionToken: "", wanted: [], streamCredit: 1 };
  return { message: "hello", hello: { ...nobody, ...plain, ...more } };
}

function request(more: Partial<TunnelRequest>): TunnelRequest {
  const texts = { name: "n", hostname: "", subdomain: "", target: "b:1", hostHeader: "" };
  return { kind: "HTTP", ...texts, timeoutMs: 0, ...more };
}

function tunnels(tunnels: Tunnel[]): Control {
  return { message: "tunnels", tunnels: { tunnels } };
}

function secured(more: Partial<TargetTls>): Tunnel {
  return { ...tunnel(1), targetTls: { insecure: false, ca: "", serverName: "", ...more } };
}

function refused(code: string, message: string): Control {
  return { message: "refused", refused: { code, message } };
}

function tunnel(id: number): Tunnel {
  return { id, name: "n", kind: "HTTP", url: "http://a/", target: "b:1" };
}

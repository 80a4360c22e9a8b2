import { Socket } from "node:dgram";
import type { LookupAddress } from "node:dns";
import { expect, test, vi } from "vitest";
import type { RelayOutcome } from "../../../client/local/byte-relay.ts";
import { consentTo, parseAllowRules } from "../../../client/local/consent.ts";
import { relayDatagrams } from "../../../client/local/datagram-relay.ts";
import { LocalService, type LocalServiceOptions } from "../../../client/local/local-service.ts";
import type { Target } from "../../../link/target.ts";
import { DatagramPeer } from "../../support/datagrams.ts";
import { FakeStream } from "../../support/fake-stream.ts";
import { openFor } from "./replay.ts";

const LARGEST = 65_507;

function relay(
  target: Target,
  options: Partial<LocalServiceOptions> & { portOffset?: number; idleMs?: number } = {},
) {
  const stream = new FakeStream();
  const outcomes: RelayOutcome[] = [];
  const { portOffset = 0, idleMs, ...more } = options;
  const service = new LocalService({ target, consent: consentTo(target, 10), ...more });
  const open = { ...openFor({}), kind: "UDP" as const, head: Buffer.alloc(0), portOffset };
  relayDatagrams(stream, open, {
    service,
    finished: (outcome) => outcomes.push(outcome),
    ...(idleMs !== undefined && { idleMs }),
  });
  return { stream, outcomes };
}

/** Resolves every name to these. */
function resolvesTo(...addresses: string[]): NonNullable<LocalServiceOptions["resolve"]> {
  const found: LookupAddress[] = addresses.map((address) => ({
    address,
    family: address.includes(":") ? 6 : 4,
  }));
  return (_host, _options, callback) => process.nextTick(callback, null, found);
}

/** A port of loopback at which nothing listens. */
async function freePort(): Promise<number> {
  await using peer = await DatagramPeer.open();
  return peer.port;
}

test("datagrams go both ways with their boundaries, and are given back as read", async () => {
  await using service = await DatagramPeer.service();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port: service.port });
  const sizes = [0, 1, 1_200, 9_000, LARGEST];
  for (const [i, size] of sizes.entries()) {
    stream.feedDatagram(Buffer.alloc(size, i + 1));
    expect(stream.unreadBytes).toBe(0);
    await stream.until(() => stream.datagrams.length === i + 1);
  }
  expect(stream.accepted).toEqual({ head: "", end: false });
  expect(stream.datagrams).toEqual(sizes.map((size, i) => Buffer.alloc(size, i + 1)));
  stream.fail();
  const bytes = 1 + 1_200 + 9_000 + LARGEST;
  expect(outcomes).toEqual([
    {
      bytesIn: bytes,
      bytesOut: bytes,
      datagramsIn: 5,
      datagramsOut: 5,
      failure: "CANCELLED",
      detail: "the visitor has gone",
    },
  ]);
});

test("each stream has a port of its own, and keeps it", async () => {
  await using service = await DatagramPeer.service();
  const streams = [1, 2].map(() => relay({ host: "127.0.0.1", port: service.port }).stream);
  for (const round of [1, 2]) {
    for (const stream of streams) {
      stream.feedDatagram(Buffer.from("x"));
      await stream.until(() => stream.datagrams.length === round);
    }
  }
  const ports = service.received.map(({ from }) => from.port);
  expect(ports.slice(0, 2)).toEqual(ports.slice(2));
  expect(new Set(ports).size).toBe(2);
  for (const stream of streams) stream.fail();
});

test("only who was asked is heard", async () => {
  await using service = await DatagramPeer.open();
  await using stranger = await DatagramPeer.open();
  const { stream } = relay({ host: "127.0.0.1", port: service.port });
  stream.feedDatagram(Buffer.from("x"));
  await service.next();
  const { port } = service.received[0]!.from;
  stranger.send("not asked", port);
  service.send("asked", port);
  await stream.until(() => stream.datagrams.length > 0);
  expect(stream.datagrams.map(String)).toEqual(["asked"]);
  stream.fail();
});

test("the offset of a port range is added to the target's port", async () => {
  await using service = await DatagramPeer.service();
  const { stream } = relay({ host: "127.0.0.1", port: service.port - 3 }, { portOffset: 3 });
  stream.feedDatagram(Buffer.from("x"));
  await stream.until(() => stream.datagrams.length === 1);
  expect(service.heard).toEqual(["x"]);
  stream.fail();
});

test("a service that is not there resets the stream with words", async () => {
  const port = await freePort();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port });
  stream.feedDatagram(Buffer.from("x"));
  await stream.until(() => stream.over);
  const detail = `127.0.0.1:${port} refuses datagrams; does the service run?`;
  expect(stream.wasReset).toEqual({ code: "REFUSED", detail });
  expect(outcomes).toMatchObject([{ failure: "REFUSED", detail, datagramsIn: 1, datagramsOut: 0 }]);
});

test("a UNIX socket resets the stream with words", async () => {
  const { stream, outcomes } = relay({ path: "/run/app.sock" });
  await stream.until(() => stream.over);
  expect(stream.wasReset).toMatchObject({
    code: "UNREACHABLE",
    detail: expect.stringContaining("unix:/run/app.sock is a UNIX socket"),
  });
  expect(outcomes).toHaveLength(1);
});

test.each(["10.0.0.7", "nas.lan"])("%s is not sent anything without consent", async (host) => {
  const target = { host, port: 53 };
  const { stream, outcomes } = relay(target, {
    consent: parseAllowRules([]),
    resolve: resolvesTo("10.0.0.7"),
  });
  stream.feedDatagram(Buffer.from("x"));
  await stream.until(() => stream.over);
  expect(stream.wasReset?.code).toBe("NOT_ALLOWED");
  expect(outcomes).toMatchObject([{ failure: "NOT_ALLOWED", detail: expect.stringContaining("10.0.0.7") }]);
});

test("of a name only the addresses that are allowed are sent anything", async () => {
  await using service = await DatagramPeer.service();
  const target = { host: "both.test", port: service.port };
  const { stream } = relay(target, {
    consent: parseAllowRules([]),
    resolve: resolvesTo("192.0.2.1", "127.0.0.1"),
  });
  stream.feedDatagram(Buffer.from("x"));
  await stream.until(() => stream.datagrams.length === 1);
  expect(service.heard).toEqual(["x"]);
  stream.fail();
});

test.each(["127.0.0.1", "::1"])("localhost is found at %s, with all that was sent", async (host) => {
  await using service = await DatagramPeer.service(undefined, { host });
  const { stream } = relay({ host: "localhost", port: service.port });
  for (const text of ["a", "b", "c"]) stream.feedDatagram(Buffer.from(text));
  await stream.until(() => stream.datagrams.length === 3);
  expect(service.heard).toEqual(["a", "b", "c"]);
  stream.feedDatagram(Buffer.from("d"));
  await service.next(4);
  stream.fail();
});

test("what was sent to an address that refuses is sent to the next, until one has answered", async () => {
  await using service = await DatagramPeer.service();
  const { stream, outcomes } = relay({ host: "localhost", port: service.port });
  await stream.until(() => stream.accepted !== undefined);
  stream.feedDatagram(Buffer.from("a"));
  await stream.until(() => stream.datagrams.length === 1);
  expect(service.heard).toEqual(["a"]);
  await service[Symbol.asyncDispose]();
  stream.feedDatagram(Buffer.from("b"));
  await stream.until(() => stream.over);
  expect(outcomes).toMatchObject([{ failure: "REFUSED", datagramsIn: 2, datagramsOut: 1 }]);
});

test("what the system does not take is dropped, and counted", async () => {
  await using service = await DatagramPeer.service();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port: service.port });
  stream.feedDatagram(Buffer.from("in"));
  await stream.until(() => stream.datagrams.length === 1);
  const waiting = vi.spyOn(Socket.prototype, "getSendQueueSize").mockReturnValue(1024 * 1024 + 1);
  stream.feedDatagram(Buffer.from("out"));
  waiting.mockRestore();
  stream.feedDatagram(Buffer.from("in again"));
  await stream.until(() => stream.datagrams.length === 2);
  stream.fail();
  expect(service.heard).toEqual(["in", "in again"]);
  expect(outcomes).toMatchObject([{ datagramsIn: 2, dropped: 1 }]);
});

test("a name that does not resolve resets the stream, and what waited for it is bounded", async () => {
  let answer: (() => void) | undefined;
  const { stream, outcomes } = relay(
    { host: "slow.test", port: 53 },
    {
      resolve: (_host, _options, callback) => {
        const error = Object.assign(new Error("none"), { code: "ENOTFOUND", syscall: "getaddrinfo" });
        answer = () => callback(error, []);
      },
    },
  );
  for (let i = 0; i < 300; i++) stream.feedDatagram(Buffer.from("x"));
  expect(stream.unreadBytes).toBe(0);
  answer?.();
  expect(stream.wasReset).toMatchObject({
    code: "UNREACHABLE",
    detail: expect.stringContaining("ENOTFOUND"),
  });
  expect(outcomes).toMatchObject([{ datagramsIn: 256, dropped: 44 }]);
});

test("what the link has no room for is dropped, and counted", async () => {
  await using service = await DatagramPeer.open();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port: service.port });
  stream.feedDatagram(Buffer.from("x"));
  await service.next();
  const { port } = service.received[0]!.from;
  stream.stall();
  service.send("lost", port);
  await stream.until(() => stream.dropped === 1);
  stream.unstall();
  service.send("found", port);
  await stream.until(() => stream.datagrams.length === 1);
  stream.fail();
  expect(outcomes).toMatchObject([{ datagramsOut: 1, bytesOut: 5, dropped: 1 }]);
});

test.each(["end", "reset"])("an %s of the server closes the socket", async (way) => {
  await using service = await DatagramPeer.open();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port: service.port });
  stream.feedDatagram(Buffer.from("x"));
  await service.next();
  if (way === "end") stream.finish();
  else stream.fail();
  expect(stream.over).toBe(true);
  expect(outcomes).toHaveLength(1);
  // The port is free again, at once.
  await using again = await DatagramPeer.open({ port: service.received[0]!.from.port });
  expect(again.port).toBe(service.received[0]!.from.port);
});

test("a stream that is quiet for too long ends by itself", async () => {
  await using service = await DatagramPeer.service();
  const { stream, outcomes } = relay({ host: "127.0.0.1", port: service.port }, { idleMs: 50 });
  stream.feedDatagram(Buffer.from("x"));
  await stream.until(() => stream.over);
  expect(stream.wasReset).toEqual({ code: "CANCELLED", detail: "idle" });
  expect(outcomes).toMatchObject([{ failure: "CANCELLED", detail: "idle" }]);
});

import { Socket } from "node:dgram";
import { afterEach, describe, expect, test, vi } from "vitest";
import { TunnelError } from "../../../../link/errors.ts";
import type { Route } from "../../../../server/routing/route.ts";
import { UdpEdge } from "../../../../server/edge/udp/udp-edge.ts";
import { DatagramPeer } from "../../../support/datagrams.ts";
import { type FakeVisit, FakeRoute } from "../../../support/fake-route.ts";
import { recordingLog } from "../../../support/recording-log.ts";
import { turnsUntil } from "../../../support/turns.ts";

const LARGEST = 65_507;

afterEach(() => void vi.useRealTimers());

interface World extends AsyncDisposable {
  edge: UdpEdge;
  port: number;
  route: FakeRoute;
  /** Lines with this message. */
  logged: (message: string) => Record<string, unknown>[];
  /** What findRoute says, and how often it has been asked. */
  found: { route: Route | undefined; asked: number };
}

async function startEdge({
  connections = 100,
  host,
}: { connections?: number; host?: string } = {}): Promise<World> {
  const route = new FakeRoute();
  const found: World["found"] = { route, asked: 0 };
  const { log, lines } = recordingLog();
  const edge = new UdpEdge({
    host,
    findRoute: () => {
      found.asked++;
      return found.route;
    },
    log,
    limits: { connections },
  });
  const port = await freePort();
  await edge.open(port);
  return {
    edge,
    port,
    route,
    found,
    logged: (message) => lines.filter((line) => line.message === message),
    [Symbol.asyncDispose]: () => edge.stop(0),
  };
}

async function freePort(): Promise<number> {
  await using peer = await DatagramPeer.open();
  return peer.port;
}

test("a port that opens while the edge stops is closed again", async () => {
  const { log } = recordingLog();
  const edge = new UdpEdge({ findRoute: () => undefined, log, limits: { connections: 1 } });
  const port = await freePort();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const opening = edge.open(port);
  await edge.stop(0);
  await expect(opening).rejects.toThrow("the server is stopping");
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  await using again = await startEdge();
  await again.edge.open(port);
});

/** Lets the edge look who is silent, and lets so much time go by before; the system's sockets go on in real time. */
function holdTime(): { pass(ms: number): void } {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
  return { pass: (ms) => void vi.advanceTimersByTime(ms) };
}

test("a visitor's datagrams go into one stream, with their boundaries", async () => {
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  const sizes = [3, 0, 1, 1_200, LARGEST];
  let visit: FakeVisit | undefined;
  for (const [i, size] of sizes.entries()) {
    visitor.send(Buffer.alloc(size, i), world.port);
    visit ??= await world.route.next();
    await visit.until(({ datagrams }) => datagrams.length > i);
  }
  expect(visit!.datagrams).toEqual(sizes.map((size, i) => Buffer.alloc(size, i)));
  expect(visit!.request).toEqual({
    requestId: expect.stringMatching(/^[0-9a-z]{16}$/),
    visitor: `127.0.0.1:${visitor.port}`,
    head: Buffer.alloc(0),
    end: false,
  });
  expect(world.route.opened).toHaveLength(1);
});

test("each address and port has a stream of its own, and gets its own answers", async () => {
  await using world = await startEdge();
  await using first = await DatagramPeer.open();
  await using second = await DatagramPeer.open();
  await using third = await DatagramPeer.open({ host: "::1" });
  for (const visitor of [first, second]) visitor.send("hello", world.port);
  third.send("hello", world.port, "::1");
  const visits = [await world.route.next(), await world.route.next(), await world.route.next()];
  expect(world.edge.connections).toBe(3);
  for (const visit of visits) visit.datagram(`you are ${visit.request.visitor}`);
  expect(String(await first.next())).toBe(`you are 127.0.0.1:${first.port}`);
  expect(String(await second.next())).toBe(`you are 127.0.0.1:${second.port}`);
  expect(String(await third.next())).toBe(`you are [::1]:${third.port}`);
  for (const visit of visits) expect(visit.unreadBytes).toBe(0);
});

test("answers keep their boundaries, empty and largest ones too", async () => {
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port);
  const visit = await world.route.next();
  for (const [i, size] of [0, 1, LARGEST].entries()) {
    visit.datagram(Buffer.alloc(size, i + 1));
    expect(await visitor.next(i + 1)).toEqual(Buffer.alloc(size, i + 1));
  }
});

test("an edge at one address listens there only", async () => {
  await using world = await startEdge({ host: "127.0.0.2" });
  await using other = await DatagramPeer.open({ port: world.port });
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port, "127.0.0.2");
  await world.route.next();
  expect(other.received).toEqual([]);
});

test("a port that another program has is refused, and one that is closed is free", async () => {
  await using world = await startEdge();
  await using other = await DatagramPeer.open();
  await expect(world.edge.open(other.port)).rejects.toMatchObject({ code: "EADDRINUSE" });
  world.edge.close(world.port);
  await using again = await DatagramPeer.open({ port: world.port });
  expect(again.port).toBe(world.port);
});

test("a visitor who has fallen silent is let go after 60 s, and comes back with a new stream", async () => {
  const time = holdTime();
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port);
  const visit = await world.route.next();
  await visit.until(({ datagrams }) => datagrams.length === 1);
  time.pass(40_000);
  visit.datagram("answer");
  time.pass(59_000);
  expect(visit.over).toBe(false);
  time.pass(2_000);
  expect(visit.wasReset).toEqual({ code: "CANCELLED", detail: "idle" });
  expect(world.edge.connections).toBe(0);
  expect(world.logged("connection")).toEqual([
    expect.objectContaining({
      level: "info",
      requestId: visit.request.requestId,
      visitor: `127.0.0.1:${visitor.port}`,
      kind: "udp",
      port: world.port,
      bytesIn: 5,
      bytesOut: 6,
      datagramsIn: 1,
      datagramsOut: 1,
      tunnel: "web",
      key: "home",
      durationMs: 100_000,
    }),
  ]);
  expect(world.logged("connection")[0]).not.toHaveProperty("failure");
  visitor.send("again", world.port);
  const next = await world.route.next();
  await next.until(({ datagrams }) => datagrams.map(String).includes("again"));
});

test("a tunnel has its own time", async () => {
  const time = holdTime();
  await using world = await startEdge();
  world.route.limits = { idleTimeoutMs: 5_000 };
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port);
  const visit = await world.route.next();
  time.pass(4_000);
  expect(visit.over).toBe(false);
  time.pass(2_000);
  expect(visit.over).toBe(true);
});

test("a stream that fails forgets its visitor, whose next datagram opens another", async () => {
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port);
  (await world.route.next()).fail("REFUSED", "nobody is there");
  expect(world.edge.connections).toBe(0);
  expect(world.logged("connection")).toMatchObject([{ failure: "REFUSED", detail: "nobody is there" }]);
  visitor.send("again", world.port);
  const visit = await world.route.next();
  await visit.until(({ datagrams }) => datagrams.length === 1);
});

test("an end of the client lets the visitor go", async () => {
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", world.port);
  const visit = await world.route.next();
  visit.finish();
  expect(visit.wasReset?.code).toBe("CANCELLED");
  expect(world.edge.connections).toBe(0);
});

/** What the edge says of it in the end; a datagram that is heard of says that those before it have come. */
async function dropsOf(
  play: (
    world: World,
    time: { pass(ms: number): void },
    visitors: [DatagramPeer, DatagramPeer],
  ) => Promise<void>,
  connections?: number,
): Promise<{ edge: unknown; visits: unknown[] }> {
  const time = holdTime();
  await using world = await startEdge(connections === undefined ? {} : { connections });
  await using first = await DatagramPeer.open();
  await using second = await DatagramPeer.open();
  await play(world, time, [first, second]);
  time.pass(1_000);
  const edge = world.logged("datagrams were dropped")[0]?.["dropped"];
  time.pass(61_000);
  return { edge, visits: world.logged("connection").map(({ dropped }) => dropped) };
}

describe("what is dropped is counted by reason", () => {
  test("no tunnel, or a client that is away", async () => {
    const { edge } = await dropsOf(async ({ found, route, port }, _, [visitor]) => {
      found.route = undefined;
      visitor.send("no tunnel", port);
      visitor.send("no tunnel", port);
      await turnsUntil(() => found.asked === 2);
      found.route = { tunnel: "web", key: "home" };
      visitor.send("away", port);
      await turnsUntil(() => found.asked === 3);
      found.route = route;
      visitor.send("heard", port);
      await (await route.next()).until(({ datagrams }) => String(datagrams[0]) === "heard");
    });
    expect(edge).toEqual({ noTunnel: 2, offline: 1 });
  });

  test.each([
    ["the tunnel's visitors", { connections: 1 }, undefined],
    ["visitors of one address", { connectionsPerVisitor: 1 }, undefined],
    ["the server's visitors", {}, 1],
  ])("too many: %s; those that are there go on", async (_, limits, connections) => {
    const { edge, visits } = await dropsOf(async ({ route, port }, _time, [first, second]) => {
      route.limits = limits;
      first.send("in", port);
      const visit = await route.next();
      for (let i = 0; i < 3; i++) second.send("out", port);
      first.send("still in", port);
      await visit.until(({ datagrams }) => datagrams.length === 2);
      expect(route.opened).toHaveLength(1);
      // Their place is free once they are gone.
      visit.fail("CANCELLED");
      second.send("in", port);
      await (await route.next()).until(({ datagrams }) => datagrams.length === 1);
    }, connections);
    expect(edge).toEqual({ tooMany: 3 });
    expect(visits).toEqual([undefined, undefined]);
  });

  test("a client that serves as many as it may", async () => {
    const { edge } = await dropsOf(async ({ route, port }, _, [visitor]) => {
      const { open } = route;
      route.open = () => {
        route.open = open;
        throw new TunnelError("overloaded", "too many streams");
      };
      visitor.send("out", port);
      visitor.send("in", port);
      await (await route.next()).until(({ datagrams }) => String(datagrams[0]) === "in");
    });
    expect(edge).toEqual({ overloaded: 1 });
  });

  test("beyond the bandwidth, each way by itself", async () => {
    const { edge, visits } = await dropsOf(async ({ route, port }, _, [visitor]) => {
      route.limits = { bytesPerSecond: 1_000 };
      visitor.send(Buffer.alloc(LARGEST), port);
      const visit = await route.next();
      await visit.until(({ datagrams }) => datagrams.length === 1);
      visitor.send("more", port);
      visitor.send("", port);
      await visit.until(({ datagrams }) => datagrams.length === 2);
      expect(visit.datagrams[1]).toHaveLength(0);
      visit.datagram(Buffer.alloc(LARGEST)).datagram("more").datagram("more").datagram("");
      await visitor.next(2);
      expect(visit.unreadBytes).toBe(0);
    });
    expect(edge).toEqual({ bandwidth: 3 });
    expect(visits).toEqual([{ bandwidth: 3 }]);
  });

  test("a path that is full", async () => {
    const { edge, visits } = await dropsOf(async ({ route, port }, _, [visitor]) => {
      visitor.send("in", port);
      const visit = await route.next();
      await visit.until(({ datagrams }) => datagrams.length === 1);
      visit.stall();
      visitor.send("out", port);
      await visit.until(({ dropped }) => dropped === 1);
    });
    expect(edge).toEqual({ full: 1 });
    expect(visits).toEqual([{ full: 1 }]);
  });

  test("more than the system takes", async () => {
    const { edge, visits } = await dropsOf(async ({ route, port }, _, [visitor]) => {
      visitor.send("in", port);
      const visit = await route.next();
      const waiting = vi.spyOn(Socket.prototype, "getSendQueueSize").mockReturnValue(1024 * 1024 + 1);
      visit.datagram("out");
      waiting.mockRestore();
      visit.datagram("in");
      await visitor.next();
      expect(visitor.heard).toEqual(["in"]);
    });
    expect(edge).toEqual({ unsent: 1 });
    expect(visits).toEqual([{ unsent: 1 }]);
  });

  test("one that names no port to answer to, which no socket sends", async () => {
    const opened = vi.spyOn(Socket.prototype, "setRecvBufferSize");
    const { edge, visits } = await dropsOf(async ({ route, found }) => {
      // That with the large buffer; the visitors' have small ones.
      const ofEdge = opened.mock.calls.findIndex(([size]) => size === 4 * 1024 * 1024);
      const socket = opened.mock.contexts[ofEdge] as Socket;
      socket.emit("message", Buffer.from("x"), {
        address: "::ffff:127.0.0.1",
        port: 0,
        family: "IPv6",
        size: 1,
      });
      expect(route.opened).toEqual([]);
      expect(found.asked).toBe(0);
    });
    opened.mockRestore();
    expect(edge).toEqual({ noPort: 1 });
    expect(visits).toEqual([]);
  });

  test("what the system does not send", async () => {
    const { edge, visits } = await dropsOf(async ({ route, port }, _, [visitor]) => {
      visitor.send("in", port);
      const visit = await route.next();
      // EMSGSIZE: IPv4 has no such datagrams.
      visit.datagram(Buffer.alloc(LARGEST + 1)).datagram("sent");
      await visitor.next();
      expect(visitor.heard).toEqual(["sent"]);
    });
    expect(edge).toEqual({ unsent: 1 });
    expect(visits).toEqual([{ unsent: 1 }]);
  });
});

test("the log says once a minute what was dropped since", async () => {
  const time = holdTime();
  await using world = await startEdge();
  await using visitor = await DatagramPeer.open();
  visitor.send("in", world.port);
  const visit = await world.route.next();
  await visit.until(({ datagrams }) => datagrams.length === 1);
  visit.stall();
  const drop = async (): Promise<void> => {
    const dropped = visit.dropped + 1;
    visitor.send("out", world.port);
    await visit.until((visit) => visit.dropped === dropped);
  };
  const said = () => world.logged("datagrams were dropped").map(({ level, dropped }) => [level, dropped]);
  await drop();
  time.pass(1_000);
  expect(said()).toEqual([["warn", { full: 1 }]]);
  await drop();
  await drop();
  time.pass(58_000);
  expect(said()).toHaveLength(1);
  time.pass(2_000);
  expect(said()).toEqual([
    ["warn", { full: 1 }],
    ["warn", { full: 2 }],
  ]);
  time.pass(120_000);
  expect(said()).toHaveLength(2);
});

describe("an edge that stops", () => {
  test("is done at once without visitors, and its ports are free", async () => {
    const { edge, port } = await startEdge();
    await edge.stop(60_000);
    await using again = await DatagramPeer.open({ port });
    expect(again.port).toBe(port);
  });

  test("takes no new visitors, and waits for those there are until they have been silent for 2 s", async () => {
    const time = holdTime();
    const { edge, port, route, logged } = await startEdge();
    await using first = await DatagramPeer.open();
    await using second = await DatagramPeer.open();
    first.send("in", port);
    const visit = await route.next();
    await visit.until(({ datagrams }) => datagrams.length === 1);
    const stopped = edge.stop(60_000);
    second.send("out", port);
    first.send("still in", port);
    await visit.until(({ datagrams }) => datagrams.length === 2);
    expect(route.opened).toHaveLength(1);
    time.pass(1_500);
    expect(visit.over).toBe(false);
    time.pass(2_000);
    await stopped;
    expect(visit.over).toBe(true);
    expect(logged("connection")).toHaveLength(1);
  });

  test("lets nobody stay beyond the time it has", async () => {
    const { edge, port, route, logged } = await startEdge();
    await using visitor = await DatagramPeer.open();
    visitor.send("in", port);
    const visit = await route.next();
    await edge.stop(0);
    expect(visit.wasReset).toEqual({ code: "CANCELLED", detail: "STOPPING" });
    expect(logged("connection")).toMatchObject([{ failure: "STOPPING" }]);
  });
});

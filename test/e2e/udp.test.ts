import { createSocket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { KeyTunnel } from "../../server/access/key.ts";
import type { TunnelLimits } from "../../server/routing/route.ts";
import { DatagramPeer } from "../support/datagrams.ts";
import { startWorld, type World } from "../support/world.ts";

const LARGEST = 65_507;

/** A tunnel to a service of this test, by the client's wish. */
async function udpWorld(
  service: DatagramPeer,
  { ports, relayed = false }: { ports?: number; relayed?: boolean } = {},
) {
  const target = { host: "127.0.0.1", port: service.port };
  const world = await startWorld({ service: target, tunnels: [{ kind: "UDP", target, ports }], relayed });
  return { world, port: await publicPort(world) };
}

/** A tunnel that the config maps, with limits. */
async function limitedWorld(service: DatagramPeer, limits: TunnelLimits) {
  const tunnel: KeyTunnel = {
    name: "game",
    kind: "UDP",
    port: 0,
    ports: 1,
    target: `127.0.0.1:${service.port}`,
    limits,
  };
  const world = await startWorld({
    service: { host: "127.0.0.1", port: service.port },
    configured: [tunnel],
  });
  return { world, port: await publicPort(world) };
}

async function publicPort(world: World): Promise<number> {
  const { url } = await world.logged("client", "serving");
  return Number(new URL((url as string).replace(/-\d+$/, "")).port);
}

/** Sends until there is an answer, as programs over UDP do that cannot know what was lost. */
async function ask(visitor: DatagramPeer, text: string, port: number): Promise<void> {
  const heard = visitor.until(() => visitor.heard.includes(text));
  while (!visitor.heard.includes(text)) {
    visitor.send(text, port);
    await Promise.race([heard, sleep(200)]);
  }
}

test("datagrams keep their boundaries both ways, whatever their size", async () => {
  await using service = await DatagramPeer.service();
  const { world, port } = await udpWorld(service);
  await using _ = world;
  await using visitor = await DatagramPeer.open();
  for (const [i, size] of [5, 0, 1, 1_200, 1_500, 9_000, LARGEST, 0, 2].entries()) {
    visitor.send(Buffer.alloc(size, i + 1), port);
    expect((await visitor.next(i + 1)).equals(Buffer.alloc(size, i + 1))).toBe(true);
  }
});

test("visitors over IPv4 and over IPv6 are served, each with their address in the logs", async () => {
  await using service = await DatagramPeer.service();
  const { world, port } = await udpWorld(service);
  await using _ = world;
  await using v4 = await DatagramPeer.open();
  await using v6 = await DatagramPeer.open({ host: "::1" });
  v4.send("four", port);
  v6.send("six", port, "::1");
  await Promise.all([v4.next(), v6.next()]);
  expect([v4.heard, v6.heard]).toEqual([["four"], ["six"]]);
  await world.client.stop(0);
  const lines = [1, 2].map((count) => world.logged("server", "connection", count));
  const visitors = (await Promise.all(lines)).map(({ visitor }) => visitor);
  expect(new Set(visitors)).toEqual(new Set([`127.0.0.1:${v4.port}`, `[::1]:${v6.port}`]));
});

test("200 visitors at once get their own answers, from a source of their own each", async () => {
  await using service = await DatagramPeer.service();
  const { world, port } = await udpWorld(service);
  await using _ = world;
  const visitors = await Promise.all(Array.from({ length: 200 }, () => DatagramPeer.open()));
  for (const round of [1, 2, 3]) {
    for (const [i, visitor] of visitors.entries()) {
      visitor.send(`${i} ${round}`, port);
      // Ten at a time: what the system drops while this process is busy would be missed.
      if (i % 10 === 9) await visitor.next(round);
    }
    await Promise.all(visitors.map((visitor) => visitor.next(round)));
  }
  for (const [i, visitor] of visitors.entries())
    expect(visitor.heard).toEqual([`${i} 1`, `${i} 2`, `${i} 3`]);
  expect(new Set(service.received.map(({ from }) => from.port)).size).toBe(200);
  for (const visitor of visitors) await visitor[Symbol.asyncDispose]();
});

test("who has fallen silent is let go on both sides, and is served again from another source", async () => {
  await using service = await DatagramPeer.service();
  const { world, port } = await limitedWorld(service, { idleTimeoutMs: 300 });
  await using _ = world;
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", port);
  await visitor.next();
  expect(await world.logged("server", "connection")).toMatchObject({
    kind: "udp",
    port,
    tunnel: "game",
    datagramsIn: 1,
    datagramsOut: 1,
    bytesIn: 5,
    bytesOut: 5,
  });
  expect(await world.logged("client", "connection")).toMatchObject({
    level: "info",
    tunnel: "game",
    visitor: `127.0.0.1:${visitor.port}`,
    datagramsIn: 1,
    datagramsOut: 1,
    bytesIn: 5,
    bytesOut: 5,
    detail: "idle",
  });
  expect(world.server.streams).toBe(0);
  visitor.send("again", port);
  await visitor.next(2);
  expect(visitor.heard).toEqual(["hello", "again"]);
});

function namedService(name: string, port: number): Promise<DatagramPeer> {
  return DatagramPeer.service((datagram) => `${name} ${String(datagram)}`, { port });
}

/** Two services at neighbouring ports, which answer with their names. */
async function neighbours(): Promise<[DatagramPeer, DatagramPeer]> {
  for (;;) {
    const first = await namedService("first", 0);
    try {
      return [first, await namedService("second", first.port + 1)];
    } catch {
      // Somebody else has it.
      await first[Symbol.asyncDispose]();
    }
  }
}

test("a range of ports leads to as many ports of the service", async () => {
  const [first, second] = await neighbours();
  await using _first = first;
  await using _second = second;
  const { world, port } = await udpWorld(first, { ports: 2 });
  await using _ = world;
  await using visitor = await DatagramPeer.open();
  visitor.send("a", port);
  await visitor.next();
  visitor.send("b", port + 1);
  await visitor.next(2);
  expect(visitor.heard).toEqual(["first a", "second b"]);
});

test("a service that is not there is told of in both logs, and found once it is", async () => {
  const gone = await DatagramPeer.open();
  const { world, port } = await udpWorld(gone);
  await using _ = world;
  const at = gone.port;
  await gone[Symbol.asyncDispose]();
  await using visitor = await DatagramPeer.open();
  visitor.send("hello", port);
  const detail = `127.0.0.1:${at} refuses datagrams; does the service run?`;
  expect(await world.logged("server", "connection")).toMatchObject({ failure: "REFUSED", detail });
  expect(await world.logged("client", "connection failed")).toMatchObject({ failure: "REFUSED", detail });
  await using service = await DatagramPeer.service(undefined, { port: at });
  await ask(visitor, "hello again", port);
  expect(service.heard).toContain("hello again");
});

test("a session that is lost and comes back serves the same visitor at the same port", async () => {
  await using service = await DatagramPeer.service();
  const { world, port } = await udpWorld(service, { relayed: true });
  await using _ = world;
  await using visitor = await DatagramPeer.open();
  visitor.send("before", port);
  await visitor.next();
  world.relay!.cut();
  expect(await world.logged("server", "connection")).toMatchObject({ failure: "LINK_LOST" });
  await world.logged("client", "online", 2);
  await ask(visitor, "after", port);
  expect(new Set(service.received.map(({ from }) => from.port)).size).toBe(2);
});

test("while one visitor pours, others are answered", async () => {
  await using service = await DatagramPeer.service((datagram) =>
    datagram.length > 100 ? undefined : datagram,
  );
  const { world, port } = await udpWorld(service);
  await using _ = world;
  await using pourer = await DatagramPeer.open();
  await using visitor = await DatagramPeer.open();
  const enough = new AbortController();
  const pour = async (): Promise<void> => {
    while (!enough.signal.aborted) {
      for (let i = 0; i < 100; i++) pourer.send(Buffer.alloc(1_200), port);
      await sleep(1);
    }
  };
  const poured = pour();
  for (let i = 0; i < 20; i++) await ask(visitor, `question ${i}`, port);
  enough.abort();
  await poured;
  expect(service.received.length).toBeGreaterThan(100);
});

/** Sends a datagram from each of so many source ports of an address. */
async function flood(address: string, sourcePorts: number, port: number): Promise<void> {
  for (let i = 0; i < sourcePorts; i++) {
    const socket = createSocket("udp4");
    socket.bind(0, address);
    await once(socket, "listening");
    socket.send(Buffer.alloc(200), port, address, () => socket.close());
    await once(socket, "close");
  }
}

test("a flood from 10,000 source ports takes a bounded number of streams and sockets, and others are served", async () => {
  await using service = await DatagramPeer.service((datagram) =>
    datagram.length > 100 ? undefined : datagram,
  );
  const { world, port } = await udpWorld(service);
  await using _ = world;
  await using early = await DatagramPeer.open();
  early.send("early", port);
  await early.next();
  const before = process.memoryUsage.rss();

  await flood("127.0.0.1", 5_000, port);
  // One address has taken what it may have: others still come in.
  expect(world.server.streams).toBeLessThanOrEqual(1_024);
  await using late = await DatagramPeer.open({ host: "127.0.0.2" });
  await ask(late, "late", port);
  for (let i = 3; i <= 7; i++) await flood(`127.0.0.${i}`, 1_000, port);

  await ask(early, "still there", port);
  await ask(late, "still there", port);
  const sources = new Set(service.received.map(({ from }) => from.port));
  expect(sources.size).toBeLessThanOrEqual(4_096);
  expect(sources.size).toBeGreaterThan(1_024);
  expect(world.server.streams).toBeLessThanOrEqual(4_096);
  // Of both ends and of the flood itself (measured: 24 MiB).
  expect(process.memoryUsage.rss() - before).toBeLessThan(128 * 1024 * 1024);
  await world.logged("server", "datagrams were dropped");
}, 60_000);

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { UnreadBudget } from "../../../../link/unread-budget.ts";
import { TcpEdge } from "../../../../server/edge/tcp/tcp-edge.ts";
import { descriptorsForAll } from "../../../support/descriptors.ts";
import type { RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

/** A visitor whose connection is idle behind an answer. */
async function idleVisitor(world: EdgeUnderTest): Promise<RawVisitor> {
  const visitor = await world.visitor();
  await served(visitor);
  return visitor;
}

async function served(visitor: RawVisitor): Promise<void> {
  visitor.send(get());
  expect((await visitor.answer()).body.toString()).toBe("served");
}

async function startWorld(options: Parameters<typeof EdgeUnderTest.start>[0]): Promise<EdgeUnderTest> {
  const world = await EdgeUnderTest.start(options);
  world.route.onOpen = (visit) => {
    if (visit.head.target === "/") visit.respond(200, "served");
  };
  return world;
}

/** One that says nothing. */
async function silent(port: number, localAddress: string): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, localAddress }).on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket.resume();
}

describe("an idle connection", () => {
  test.each([
    ["limits.connections", { limits: { connections: 2 } }],
    ["descriptors", { descriptors: descriptorsForAll(2) }],
  ])(
    "is closed for a new visitor where there is no room by %s: the one that was idle first",
    async (_by, options) => {
      await using world = await startWorld(options);
      const [first, second] = [await idleVisitor(world), await idleVisitor(world)];
      // The one that came first is not the one that has been idle for longest.
      await served(first);
      await idleVisitor(world);
      await second.ended;
      await served(first);
      expect(world.edge.connections).toBe(2);
    },
  );

  test("of whom most are idle goes before one of somebody else, and that of a trusted proxy last", async () => {
    await using world = await startWorld({
      descriptors: descriptorsForAll(4),
      trustedProxies: ["127.0.0.1"],
    });
    const { port } = world.edge.address;
    const proxy = await idleVisitor(world);
    const single = await silent(port, "127.0.0.2");
    const [eldest, other] = [await silent(port, "127.0.0.3"), await silent(port, "127.0.0.3")];
    await vi.waitFor(() => expect(world.edge.connections).toBe(4));
    await silent(port, "127.0.0.4");
    await once(eldest, "close");
    const proxies = [await idleVisitor(world), await idleVisitor(world), await idleVisitor(world)];
    await vi.waitFor(() => expect([single.destroyed, other.destroyed]).toEqual([true, true]));
    for (const each of [proxy, ...proxies]) await served(each);
  });

  test("is not one with a request at work: then the new visitor is turned away, wherever it comes", async () => {
    const descriptors = descriptorsForAll(2);
    await using world = await startWorld({ descriptors });
    const lines: unknown[] = [];
    const tcp = new TcpEdge({
      host: "127.0.0.1",
      findRoute: () => undefined,
      trustedProxies: [],
      holdMs: 0,
      limits: { connections: 10, connectionsPerVisitor: 10, headTimeoutMs: 1_000 },
      descriptors,
      unread: new UnreadBudget(),
      log: { info: (fields) => void lines.push(fields), warn: (fields) => void lines.push(fields) },
    });
    onTestFinished(() => tcp.stop(0));
    const port = await freePort();
    await tcp.open(port);
    const busy = [await world.send(get("/held")), await world.send(get("/held"))];
    await world.route.next();
    await world.route.next();
    await turnedAwayAt(world.edge.address.port);
    await turnedAwayAt(port);
    await vi.waitFor(() =>
      expect(lines).toMatchObject([{ failure: "TOO_MANY", detail: "descriptors are short" }]),
    );
    for (const each of busy) each.close();
    await vi.waitFor(() => expect(descriptors.held).toBe(0));
  });
});

/** Who is cut so soon may not even have heard that it was connected. */
async function turnedAwayAt(port: number): Promise<void> {
  const socket = connect({ host: "127.0.0.1", port }).on("error", () => {});
  await new Promise((resolve) => socket.once("close", resolve));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

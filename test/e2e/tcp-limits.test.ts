import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { RawBackend } from "../support/raw-backend.ts";
import { startTcpTunnel } from "../support/tcp-tunnel.ts";

/** Says "hello" to whoever comes. */
function startGreeter(): Promise<RawBackend> {
  return RawBackend.start((connection) => connection.send("hello"));
}

/** A visitor from one of the loopback's addresses, who stays until the test is over. */
function come(port: number, localAddress = "127.0.0.1"): { socket: Socket; greeted: Promise<boolean> } {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  onTestFinished(() => void socket.destroy());
  // Whoever is turned away may see the reset before they know that they were connected.
  socket.on("error", () => {});
  const greeted = new Promise<boolean>((resolve) => {
    socket.once("data", () => resolve(true));
    socket.once("close", () => resolve(false));
  });
  return { socket, greeted };
}

test("a tunnel has so many visitors at a time, and when one leaves another may come", async () => {
  await using service = await startGreeter();
  await using tunnel = await startTcpTunnel(service.target, { limits: { connections: 2 } });
  const first = come(tunnel.port);
  expect([await first.greeted, await come(tunnel.port).greeted]).toEqual([true, true]);
  expect(await come(tunnel.port).greeted).toBe(false);
  expect(await tunnel.visited()).toMatchObject({ failure: "TOO_MANY", detail: "the tunnel's connections" });
  first.socket.destroy();
  (await service.connection(0)).end();
  await tunnel.visited(2);
  expect(await come(tunnel.port).greeted).toBe(true);
  expect(service.connections).toHaveLength(3);
});

test("one address has so many of a tunnel's visitors, and leaves the rest to others", async () => {
  await using service = await startGreeter();
  await using tunnel = await startTcpTunnel(service.target, { limits: { connectionsPerVisitor: 1 } });
  expect(await come(tunnel.port).greeted).toBe(true);
  expect(await come(tunnel.port).greeted).toBe(false);
  expect(await tunnel.visited()).toMatchObject({
    failure: "TOO_MANY",
    detail: "the tunnel's connections_per_visitor",
  });
  expect(await come(tunnel.port, "127.0.0.2").greeted).toBe(true);
});

test("the server has so many visitors in all, and its log says why it turns one away", async () => {
  await using service = await startGreeter();
  await using tunnel = await startTcpTunnel(service.target, {
    config: ({ limits }) => void (limits.connections = 1),
  });
  expect(await come(tunnel.port).greeted).toBe(true);
  expect(await come(tunnel.port).greeted).toBe(false);
  await tunnel.server.log.logged("a visitor's connection was closed: limits.connections");
});

test("a visitor with whom nothing is exchanged is let go, and none with whom something is", async () => {
  await using echo = await RawBackend.start(async (connection) => {
    for (;;) await connection.send(await connection.take(5));
  });
  await using tunnel = await startTcpTunnel(echo.target, { limits: { idleTimeoutMs: 1_000 } });
  const [idle, busy] = [await tunnel.visit(), await tunnel.visit()];
  const cut = new AbortController();
  void idle.ended.then(() => cut.abort());
  const exchange = async (): Promise<void> => {
    busy.send("hello");
    expect((await busy.bytes(5)).toString()).toBe("hello");
  };
  while (!cut.signal.aborted) {
    await exchange();
    await sleep(50);
  }
  expect(await idle.ended).toBe("rst");
  expect(await tunnel.visited()).toMatchObject({ failure: "IDLE" });
  await exchange();
  busy.close();
});

test("visitors share a bandwidth, each way, and alike", async () => {
  const bytesPerSecond = 4_000_000;
  const piece = Buffer.alloc(64 * 1024);
  await using service = await RawBackend.start(async (connection) => {
    connection.count();
    for (;;) await connection.send(piece);
  });
  await using tunnel = await startTcpTunnel(service.target, { limits: { bytesPerSecond } });
  const visitors = [await tunnel.visit(), await tunnel.visit()].map(({ socket }) => {
    const pour = (): void => {
      while (socket.write(piece));
    };
    socket.on("drain", pour);
    pour();
    return socket;
  });
  const moved = (): { atMs: number; toVisitors: number[]; toService: number[] } => ({
    atMs: performance.now(),
    toVisitors: visitors.map(({ bytesRead }) => bytesRead),
    toService: service.connections.map(({ receivedBytes }) => receivedBytes),
  });
  // What was saved up for the first of them is gone by then.
  await sleep(300);
  const before = moved();
  await sleep(2_000);
  const after = moved();
  const expected = (bytesPerSecond * (after.atMs - before.atMs)) / 1_000;
  for (const way of ["toVisitors", "toService"] as const) {
    const shares = after[way].map((bytes, i) => (bytes - before[way][i]!) / expected);
    expect(shares).toHaveLength(2);
    const whole = shares[0]! + shares[1]!;
    expect(whole).toBeGreaterThan(0.8);
    expect(whole).toBeLessThan(1.2);
    for (const share of shares) expect(share / whole).toBeGreaterThan(0.35);
  }
  for (const socket of visitors) socket.destroy();
});

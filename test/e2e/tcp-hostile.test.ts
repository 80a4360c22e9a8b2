import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { RawBackend } from "../support/raw-backend.ts";
import { startTcpTunnel } from "../support/tcp-tunnel.ts";
import { pour } from "../acceptance/overload-pour.ts";
import { stable } from "../server/edge/http/edge-under-test.ts";

const MIB = 1024 * 1024;
const SOON_MS = 5_000;

async function startEcho(): Promise<Server & AsyncDisposable & { target: { host: string; port: number } }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  // Nobody waits a second because the queue was full.
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 });
  await once(server, "listening");
  return Object.assign(server, {
    target: { host: "127.0.0.1", port: (server.address() as AddressInfo).port },
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  });
}

/** What this process has open: visitors, server, client and local service. */
function held(): { connections: number; timers: number } {
  const resources = process.getActiveResourcesInfo();
  const count = (name: string): number => resources.filter((resource) => resource === name).length;
  return { connections: count("TCPSocketWrap"), timers: count("Timeout") };
}

/** Waits until nothing is held beyond what was before. */
async function expectHeld(before: ReturnType<typeof held>): Promise<void> {
  const excess = (): number =>
    Math.max(held().connections - before.connections, held().timers - before.timers, 0);
  for (const until = performance.now() + SOON_MS; excess() > 0 && performance.now() < until;) await sleep(10);
  expect(excess() > 0 ? { before, now: held() } : "nothing more").toBe("nothing more");
}

describe("5,000 visitors", () => {
  const VISITORS = 5_000;
  /** Four descriptors each. */
  const AT_ONCE = 1_000;

  /** How they leave. */
  const LEAVINGS: ((socket: Socket) => void)[] = [
    (socket) => socket.destroy(),
    (socket) => socket.once("connect", () => socket.resetAndDestroy()),
    (socket) => socket.once("connect", () => socket.write("going") && socket.resetAndDestroy()),
    (socket) => socket.once("connect", () => socket.write("going", () => socket.destroy())),
    (socket) => socket.end("to be said").resume(),
    (socket) => socket.once("connect", () => socket.end()).resume(),
    (socket) => void (socket.write("and back"), socket.once("data", () => socket.resetAndDestroy())),
    (socket) => void (socket.end("whole"), socket.once("data", () => socket.resetAndDestroy())),
  ];

  test("who come and go at once leave no stream, connection or timer behind", async () => {
    await using echo = await startEcho();
    await using tunnel = await startTcpTunnel(echo.target);
    const before = held();
    for (let come = 0; come < VISITORS; come += AT_ONCE) {
      await Promise.all(
        Array.from({ length: AT_ONCE }, async (_, i) => {
          const socket = connect({ port: tunnel.port, host: "127.0.0.1", allowHalfOpen: true });
          const closed = new Promise((resolve) => socket.once("close", resolve));
          socket.on("error", () => {});
          LEAVINGS[i % LEAVINGS.length]!(socket);
          await closed;
        }),
      );
    }
    await expectHeld(before);
    expect(tunnel.server.server.streams).toBe(0);
    const visitor = await tunnel.visit();
    visitor.send("served");
    expect((await visitor.bytes(6)).toString()).toBe("served");
    visitor.close();
  });
});

test("a visitor who does not read holds up the local service, and nobody else; later all of it arrives", async () => {
  const size = 96 * MIB;
  await using service = await RawBackend.start(async (connection) => {
    const greeting = (await connection.take(4)).toString();
    if (greeting === "echo") for (;;) await connection.send(await connection.take(1_000));
    const piece = Buffer.alloc(MIB);
    for (let sent = 0; sent < size; sent += MIB) {
      piece.fill(sent / MIB);
      await connection.send(Buffer.from(piece));
    }
    connection.end();
  });
  await using tunnel = await startTcpTunnel(service.target);
  const stalled = connect({ port: tunnel.port, host: "127.0.0.1" });
  stalled.write("pour");
  const pouring = await service.connection(0);
  for (let seen = -1; seen !== pouring.socket.bytesWritten || seen < MIB;) {
    seen = pouring.socket.bytesWritten;
    await sleep(100);
  }
  // A window of 16 MiB at most on the way, and what the kernel's buffers hold.
  expect(pouring.socket.bytesWritten - pouring.socket.writableLength).toBeLessThan(48 * MIB);

  const other = await tunnel.visit();
  other.send("echo");
  for (let i = 0; i < 100; i++) {
    const sent = Buffer.alloc(1_000, i);
    other.send(sent);
    expect(sent.equals(await other.bytes(1_000))).toBe(true);
  }
  other.close();

  let received = 0;
  let wrong = 0;
  for await (const chunk of stalled as AsyncIterable<Buffer>) {
    if (chunk[0] !== Math.floor(received / MIB) % 256) wrong++;
    received += chunk.length;
  }
  expect({ received, wrong }).toEqual({ received: size, wrong: 0 });
});

test("a local service that never answers keeps its visitor waiting, nobody else, and is left with them", async () => {
  await using service = await RawBackend.start(async (connection, index) => {
    if (index > 0) await connection.send("answered");
  });
  await using tunnel = await startTcpTunnel(service.target);
  const waiting = await tunnel.visit();
  waiting.send("hello?");
  const silent = await service.connection(0);
  await silent.take(6);
  const other = await tunnel.visit();
  expect((await other.bytes(8)).toString()).toBe("answered");
  waiting.close();
  await silent.untilEnded();
  silent.end();
  expect(await tunnel.visited()).toMatchObject({ bytesIn: 6, bytesOut: 0 });
  other.close();
});

test("of a local service that does not take connections nothing is kept once the visitor has left", async () => {
  await using deaf = await startDeafService();
  await using tunnel = await startTcpTunnel(deaf.target);
  const before = held();
  const visitor = await tunnel.visit();
  visitor.send("anybody?");
  while (tunnel.server.server.streams === 0) await sleep(1);
  visitor.abort();
  await expectHeld(before);
  expect(tunnel.server.server.streams).toBe(0);
});

/** Connections to it neither succeed nor fail. */
async function startDeafService(): Promise<AsyncDisposable & { target: { host: string; port: number } }> {
  const listen = `require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () {
    console.log(this.address().port);
  });`;
  const child = spawn(process.execPath, ["-e", listen], { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  child.kill("SIGSTOP");
  const target = { host: "127.0.0.1", port: Number(port) };
  // listen(2): what waits to be accepted is so many and one, beyond it the system answers no more.
  const waiting = [connect(target), connect(target)];
  await Promise.all(waiting.map((socket) => once(socket, "connect")));
  return {
    target,
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}

test("a visitor of a local service that refuses is reset at once, and both logs say why", async () => {
  await using service = await RawBackend.start();
  await service.down();
  await using tunnel = await startTcpTunnel(service.target);
  const visitor = await tunnel.visit();
  expect(await visitor.ended).toBe("rst");
  expect(await tunnel.visited()).toMatchObject({ failure: "REFUSED", bytesOut: 0 });
  const line = await tunnel.client.log.logged("connection failed");
  expect(line).toMatchObject({
    level: "warn",
    failure: "REFUSED",
    detail: expect.stringContaining("refuses"),
  });
});

test("a visitor's reset is a reset to the local service", async () => {
  await using service = await RawBackend.start();
  await using tunnel = await startTcpTunnel(service.target);
  const visitor = await tunnel.visit();
  visitor.send("hello");
  const connection = await service.connection(0);
  await connection.take(5);
  visitor.abort();
  expect(await connection.untilClosed()).toBe("reset");
  expect(await tunnel.visited()).toMatchObject({ failure: "CONNECTION_LOST", detail: "ECONNRESET" });
});

test("a visitor's reset is noticed within seconds also while its local service reads nothing of what it sends", async () => {
  await using service = await RawBackend.start((connection) => connection.pause());
  await using tunnel = await startTcpTunnel(service.target);
  const visitor = await tunnel.visit();
  pour(visitor.socket);
  await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
  const startedAt = performance.now();
  visitor.abort();
  expect(await tunnel.visited()).toMatchObject({ failure: "CONNECTION_LOST", detail: "ECONNRESET" });
  expect(await tunnel.client.log.logged("connection")).toMatchObject({ failure: "CONNECTION_LOST" });
  expect(performance.now() - startedAt).toBeLessThan(SOON_MS);
});

test("a local service's reset is a reset to the visitor", async () => {
  await using service = await RawBackend.start(async (connection) => {
    await connection.take(5);
    connection.reset();
  });
  await using tunnel = await startTcpTunnel(service.target);
  const visitor = await tunnel.visit();
  visitor.send("hello");
  expect(await visitor.ended).toBe("rst");
  expect(await tunnel.visited()).toMatchObject({ failure: "CONNECTION_LOST" });
});

test("the local service's half-close leaves the visitor their own half", async () => {
  await using service = await RawBackend.start(async (connection) => {
    await connection.send("that is all");
    connection.end();
  });
  await using tunnel = await startTcpTunnel(service.target);
  const visitor = await tunnel.visit();
  expect(await visitor.rest()).toEqual({ end: "fin", text: "that is all" });
  const connection = await service.connection(0);
  for (let i = 0; i < 10; i++) {
    visitor.send("more");
    expect((await connection.take(4)).toString()).toBe("more");
  }
  visitor.end();
  await connection.untilEnded();
  const line = await tunnel.visited();
  expect(line).toMatchObject({ bytesIn: 40, bytesOut: 11 });
  expect(line).not.toHaveProperty("failure");
});

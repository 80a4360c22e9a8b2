import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { Random } from "../support/random.ts";
import { startWorld, type World } from "../support/world.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** What a stalled stream may take: a window of 16 MiB, queues, and the system's buffers of four sockets. */
const TAKEN_BYTES = 32 * MIB;
const TOTAL_BYTES = 64 * MIB;
const BLOCK = new Random(7).bytes(MIB);
const FAST_BYTES = 256 * KIB;
const GET = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

const sockets: Socket[] = [];
afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()));

/** Writes TOTAL_BYTES as fast as they are taken. */
class Firehose {
  readonly socket: Socket;
  #leftBytes = TOTAL_BYTES;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("drain", () => this.#go());
    this.#go();
  }

  /** Bytes that the system has taken. */
  get takenBytes(): number {
    return this.socket.bytesWritten - this.socket.writableLength;
  }

  #go(): void {
    while (this.#leftBytes > 0) {
      const bytes = Math.min(64 * KIB, this.#leftBytes);
      const from = (TOTAL_BYTES - this.#leftBytes) % MIB;
      this.#leftBytes -= bytes;
      if (!this.socket.write(BLOCK.subarray(from, from + bytes))) return;
    }
  }
}

interface RawService extends AsyncDisposable {
  host: string;
  port: number;
  /** The connection of the first request that is not for /fast, paused behind its head. */
  arrived: Promise<Socket>;
}

/** A local service that answers /fast at once, and leaves another request's connection to the test. */
async function rawService(): Promise<RawService> {
  let arrive!: (socket: Socket) => void;
  const arrived = new Promise<Socket>((resolve) => (arrive = resolve));
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    let head = "";
    const onData = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const target = head.split(" ", 2)[1]!;
      const early = Buffer.from(head.slice(end + 4), "latin1");
      head = "";
      if (target === "/fast") {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${FAST_BYTES}\r\n\r\n${"x".repeat(FAST_BYTES)}`);
        return;
      }
      socket.off("data", onData);
      socket.pause();
      if (early.length > 0) socket.unshift(early);
      arrive(socket);
    };
    socket.on("data", onData);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    arrived,
    [Symbol.asyncDispose]() {
      server.close();
      return Promise.resolve();
    },
  };
}

/** A visitor that has sent this, and reads nothing. */
async function stalledVisitor(world: World, head: string): Promise<Socket> {
  const socket = connect(world.httpPort, "127.0.0.1");
  sockets.push(socket);
  // Reset when the test's world ends before it.
  socket.on("error", () => {});
  socket.pause();
  await once(socket, "connect");
  socket.write(head);
  return socket;
}

/** Others come and go until nothing has been taken for a while of their visits; they must all be served. */
async function untilStalled(hose: () => number, world: World): Promise<number> {
  let taken = -1;
  for (let quiet = 0; quiet < 5;) {
    const answers = await Promise.all(Array.from({ length: 4 }, () => world.visit("/fast")));
    for (const { status, body } of answers)
      expect({ status, bytes: body.length }).toEqual({ status: 200, bytes: FAST_BYTES });
    quiet = hose() === taken ? quiet + 1 : 0;
    taken = hose();
  }
  return taken;
}

function sha256OfAll(): string {
  const hash = createHash("sha256");
  for (let at = 0; at < TOTAL_BYTES; at += MIB) hash.update(BLOCK);
  return hash.digest("hex");
}

/** Reads so many bytes behind whatever `skip` says is no body. */
function readBody(socket: Socket, skipHead: boolean): Promise<string> {
  return new Promise((resolve) => {
    const hash = createHash("sha256");
    let bytes = 0;
    let inHead = skipHead;
    let head = "";
    socket.on("data", (chunk: Buffer) => {
      if (inHead) {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        inHead = false;
        chunk = Buffer.from(head.slice(end + 4), "latin1");
      }
      bytes += chunk.length;
      hash.update(chunk);
      if (bytes >= TOTAL_BYTES) resolve(hash.digest("hex"));
    });
    socket.resume();
  });
}

test("without TLS a visitor that does not read stops the local service, and nobody else", async () => {
  await using service = await rawService();
  await using world = await startWorld({ tls: "off", service });
  const visitor = await stalledVisitor(world, GET);
  const socket = await service.arrived;
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${TOTAL_BYTES}\r\n\r\n`);
  const hose = new Firehose(socket);
  expect(await untilStalled(() => hose.takenBytes, world)).toBeLessThan(TAKEN_BYTES);
  // It was held back and not lost.
  expect(await readBody(visitor, true)).toBe(sha256OfAll());
});

test("without TLS a local service that does not read stops the uploader, and nobody else", async () => {
  await using service = await rawService();
  await using world = await startWorld({ tls: "off", service });
  const visitor = await stalledVisitor(
    world,
    `POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: ${TOTAL_BYTES}\r\n\r\n`,
  );
  const hose = new Firehose(visitor);
  const socket = await service.arrived;
  expect(await untilStalled(() => hose.takenBytes, world)).toBeLessThan(TAKEN_BYTES);
  expect(await readBody(socket, false)).toBe(sha256OfAll());
});

test("without TLS either end of an upgraded connection stops the other", async () => {
  await using service = await rawService();
  await using world = await startWorld({ tls: "off", service });
  const visitor = await stalledVisitor(
    world,
    "GET /raw HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n",
  );
  const socket = await service.arrived;
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n");
  const up = new Firehose(visitor);
  const down = new Firehose(socket);
  const taken = await untilStalled(() => up.takenBytes + down.takenBytes, world);
  expect(taken).toBeLessThan(2 * TAKEN_BYTES);
  expect(await Promise.all([readBody(visitor, true), readBody(socket, false)])).toEqual([
    sha256OfAll(),
    sha256OfAll(),
  ]);
});

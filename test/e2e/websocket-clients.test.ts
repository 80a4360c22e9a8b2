import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { listeningService, type ListeningService } from "../support/listening.ts";
import { startWorld, type World } from "../support/world.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

let service: ListeningService;
let world: World;
let webSockets: WebSocketServer;
/** Set by a test that looks at the service's end. */
let onSocket: (socket: WebSocket, request: IncomingMessage) => void;

beforeAll(async () => {
  service = await listeningService((_, response) => response.end());
  webSockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => (protocols.has("v2.chat") ? "v2.chat" : false),
    perMessageDeflate: { threshold: 0 },
  });
  service.server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (request.url === "/refuse") {
      socket.end(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 9\r\nConnection: close\r\n\r\nwho's you",
      );
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (accepted) => onSocket(accepted, request));
  });
  world = await startWorld({ service, tls: "auto" });
});
afterAll(async () => {
  for (const socket of webSockets.clients) socket.terminate();
  await world[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

function visit(
  path = "/",
  protocols: string[] = [],
  options: { perMessageDeflate?: boolean } = {},
): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${world.httpPort}${path}`, protocols, {
    perMessageDeflate: false,
    ...options,
    headers: { Host: "app.localhost" },
  });
}

/** Both ends of one open WebSocket. */
async function pair(
  protocols: string[] = [],
  options: { perMessageDeflate?: boolean } = {},
): Promise<{ near: WebSocket; far: WebSocket }> {
  const accepted = new Promise<WebSocket>((resolve) => {
    onSocket = resolve;
  });
  const near = visit("/", protocols, options);
  await once(near, "open");
  return { near, far: await accepted };
}

function echo(socket: WebSocket): void {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
}

async function message(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
  return { data, isBinary };
}

function thousandNumbers(socket: WebSocket): Promise<number[]> {
  return new Promise((resolve) => {
    const numbers: number[] = [];
    socket.on("message", (data: Buffer) => {
      if (numbers.push(Number(data)) === 1000) resolve(numbers);
    });
  });
}

async function closing(socket: WebSocket): Promise<{ code: number; reason: string }> {
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  return { code, reason: reason.toString() };
}

describe("messages", () => {
  test.each([0, 1, 125, 126, 65_535, 65_536, MIB, 4 * MIB])(
    "of %d bytes come back as they went",
    async (size) => {
      const { near, far } = await pair();
      echo(far);
      const bytes = randomBytes(size);
      near.send(bytes);
      const { data, isBinary } = await message(near);
      expect(isBinary).toBe(true);
      expect(data.equals(bytes)).toBe(true);
      near.terminate();
    },
  );

  test("of text stay text", async () => {
    const { near, far } = await pair();
    echo(far);
    near.send("grüße 🦆");
    const { data, isBinary } = await message(near);
    expect({ text: data.toString(), isBinary }).toEqual({ text: "grüße 🦆", isBinary: false });
    near.terminate();
  });

  test("in fragments arrive whole, with a ping between them", async () => {
    const { near, far } = await pair();
    const arrived = message(far);
    const pinged = once(far, "ping");
    near.send("one ", { fin: false });
    near.ping("between");
    near.send("two ", { fin: false });
    near.send("three", { fin: true });
    expect((await pinged)[0].toString()).toBe("between");
    expect((await arrived).data.toString()).toBe("one two three");
    near.terminate();
  });

  test("keep their order, a thousand of them each way at once", async () => {
    const { near, far } = await pair();
    const both = Promise.all([thousandNumbers(near), thousandNumbers(far)]);
    for (let i = 0; i < 1000; i++) {
      near.send(String(i));
      far.send(String(i));
    }
    const inOrder = Array.from({ length: 1000 }, (_, i) => i);
    expect(await both).toEqual([inOrder, inOrder]);
    near.terminate();
  });

  test("that the service sends with its 101 are not lost", async () => {
    onSocket = (socket) => socket.send("first words");
    const near = visit();
    expect((await message(near)).data.toString()).toBe("first words");
    near.terminate();
  });
});

test("pings are answered by the other end, both ways", async () => {
  const { near, far } = await pair();
  near.ping("from the visitor");
  expect((await once(near, "pong"))[0].toString()).toBe("from the visitor");
  far.ping("from the service");
  expect((await once(far, "pong"))[0].toString()).toBe("from the service");
  near.terminate();
});

test("subprotocols and extensions are agreed on by the ends alone", async () => {
  const { near, far } = await pair(["v1.chat", "v2.chat"], { perMessageDeflate: true });
  expect(near.protocol).toBe("v2.chat");
  expect(far.protocol).toBe("v2.chat");
  expect(near.extensions).toBe("permessage-deflate");
  echo(far);
  const compressible = "again and ".repeat(100_000);
  near.send(compressible);
  expect((await message(near)).data.toString()).toBe(compressible);
  near.terminate();

  const plain = await pair();
  expect(plain.near.extensions).toBe("");
  plain.near.terminate();
});

describe("the end", () => {
  test.each([
    [1000, ""],
    [1001, "going away"],
    [3000, "a reason of the program's own"],
    [4999, "x".repeat(123)],
  ])("with code %d goes both ways", async (code, reason) => {
    const first = await pair();
    const farClosing = closing(first.far);
    first.near.close(code, reason);
    expect(await farClosing).toEqual({ code, reason });

    const second = await pair();
    const nearClosing = closing(second.near);
    second.far.close(code, reason);
    expect(await nearClosing).toEqual({ code, reason });
  });

  test("without a code is 1005", async () => {
    const { near, far } = await pair();
    const farClosing = closing(far);
    near.close();
    expect(await farClosing).toEqual({ code: 1005, reason: "" });
  });

  test("that is abrupt stays so, both ways", async () => {
    const first = await pair();
    const farClosing = closing(first.far);
    first.near.terminate();
    expect((await farClosing).code).toBe(1006);

    const second = await pair();
    const nearClosing = closing(second.near);
    second.far.terminate();
    expect((await nearClosing).code).toBe(1006);
  });

  test("comes behind everything that was sent before it", async () => {
    const { near, far } = await pair();
    let bytes = 0;
    near.on("message", (data: Buffer) => (bytes += data.length));
    for (let i = 0; i < 64; i++) far.send(Buffer.alloc(64 * KIB));
    far.close(1000, "done");
    expect(await closing(near)).toEqual({ code: 1000, reason: "done" });
    expect(bytes).toBe(4 * MIB);
  });
});

test("a refusal comes with its status, fields and body", async () => {
  const near = visit("/refuse");
  const [, response] = (await once(near, "unexpected-response")) as [unknown, IncomingMessage];
  expect(response.statusCode).toBe(401);
  expect(response.headers["www-authenticate"]).toBe("Basic");
  expect(await text(response)).toBe("who's you");
});

test("a reader that stops holds its sender back, and loses nothing", async () => {
  const { near, far } = await pair();
  near.pause();
  let sentBytes = 0;
  const total = 24 * MIB;
  const chunk = Buffer.alloc(256 * KIB, "x");
  const sent = (async () => {
    while (sentBytes < total) {
      await new Promise<void>((resolve) => far.send(chunk, () => resolve()));
      sentBytes += chunk.length;
    }
  })();
  // Another socket goes there and back meanwhile, so that this one had its chance.
  const other = await pair();
  echo(other.far);
  for (let i = 0; i < 50; i++) {
    other.near.send("tick");
    await message(other.near);
  }
  other.near.terminate();
  expect(sentBytes).toBeLessThan(total);

  let received = 0;
  const all = new Promise<void>((resolve) => {
    near.on("message", (data: Buffer) => {
      received += data.length;
      if (received === total) resolve();
    });
  });
  near.resume();
  await Promise.all([sent, all]);
  near.terminate();
});

test("a hundred at once echo, each its own", async () => {
  onSocket = echo;
  await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const near = visit();
      await once(near, "open");
      for (let round = 0; round < 5; round++) {
        const sent = Buffer.alloc(1000 * round + i, `${i}.${round}`);
        near.send(sent);
        expect((await message(near)).data.equals(sent)).toBe(true);
      }
      const closed = closing(near);
      near.close(1000, String(i));
      expect(await closed).toEqual({ code: 1000, reason: String(i) });
    }),
  );
});

import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { expect, test, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { listeningService } from "../support/listening.ts";
import { Random } from "../support/random.ts";
import { startWorld, type World } from "../support/world.ts";

const KIB = 1024;
const REQUESTS = 1_000;
const SEED = Date.now() % 1_000_000_007;

/** What a visitor does. Its number decides all of its bytes, so that any mixed up with another's are found. */
type Deed = (world: World, number: number) => Promise<void>;

const DEEDS: Record<string, Deed> = {
  "gets a page": async (world, number) => {
    const { status, body } = await read(await send(world, `/page/${number}`));
    expect({ status, sha256: sha256(body) }).toEqual({ status: 200, sha256: sha256(bytesOf(number)) });
  },
  "gets a page in chunks": async (world, number) => {
    const { status, body } = await read(await send(world, `/chunks/${number}`));
    expect({ status, sha256: sha256(body) }).toEqual({ status: 200, sha256: sha256(bytesOf(number)) });
  },
  "posts with a length": (world, number) => post(world, number, false),
  "posts in chunks": (world, number) => post(world, number, true),
  "listens to events": async (world, number) => {
    const { body } = await read(await send(world, `/events/${number}`));
    expect(body.toString()).toBe(Array.from({ length: 10 }, (_, i) => `data: ${number}.${i}\n\n`).join(""));
  },
  "reads slowly": async (world, number) => {
    const answer = await send(world, `/page/${number}`);
    const chunks: Buffer[] = [];
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      await new Promise(setImmediate);
    }
    expect(sha256(Buffer.concat(chunks))).toBe(sha256(bytesOf(number)));
  },
  "leaves while it reads": async (world, number) => {
    const answer = await send(world, `/endless/${number}`);
    await once(answer, "data");
    answer.destroy();
  },
  "leaves while it uploads": async (world, number) => {
    const outgoing = outgoingTo(world, `/echo/${number}`, "POST");
    outgoing.write(bytesOf(number));
    const answer = await answerTo(outgoing);
    await once(answer, "data");
    outgoing.destroy();
  },
  "leaves before an answer": async (world, number) => {
    const outgoing = outgoingTo(world, `/silent/${number}`, "GET");
    outgoing.on("error", () => {});
    outgoing.end();
    await arrivals.of(`/silent/${number}`);
    outgoing.destroy();
  },
  "is refused an upload": async (world, number) => {
    const outgoing = outgoingTo(world, `/refuse/${number}`, "POST");
    outgoing.on("error", () => {});
    outgoing.write(bytesOf(number));
    const answer = await answerTo(outgoing);
    expect(answer.statusCode).toBe(413);
    outgoing.destroy();
  },
  "talks over a WebSocket": async (world, number) => {
    const socket = new WebSocket(`ws://127.0.0.1:${world.httpPort}/socket`, {
      headers: { Host: "app.localhost" },
    });
    await once(socket, "open");
    for (let round = 0; round < 3; round++) {
      const bytes = bytesOf(number + round * REQUESTS);
      socket.send(bytes);
      const [echo] = (await once(socket, "message")) as [Buffer];
      expect(sha256(echo)).toBe(sha256(bytes));
    }
    socket.close(1000, String(number));
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    expect({ code, reason: reason.toString() }).toEqual({ code: 1000, reason: String(number) });
  },
};

/** Requests that have reached the local service. */
class Arrivals {
  readonly #waiting = new Map<string, () => void>();

  of(url: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(url, resolve));
  }

  note(url: string): void {
    this.#waiting.get(url)?.();
  }
}
const arrivals = new Arrivals();

test(`1,000 visitors at once each get their own, and leave nothing behind (seed ${SEED})`, async () => {
  await using service = await localService();
  await using world = await startWorld({ tls: "auto", service });
  const random = new Random(SEED);
  const names = Object.keys(DEEDS);
  const failures: string[] = [];
  await Promise.all(
    Array.from({ length: REQUESTS }, async (_, number) => {
      const name = names[number % names.length]!;
      // In another order each time, and all in flight together.
      for (let turns = random.below(5); turns > 0; turns--) await new Promise(setImmediate);
      await DEEDS[name]!(world, number).catch((error: unknown) =>
        failures.push(`${name} (${number}): ${String(error)}`),
      );
    }),
  );
  expect(failures).toEqual([]);

  await vi.waitFor(() => expect(world.server.streams).toBe(0), { timeout: 10_000 });
  const { status, body } = await world.visit("/page/7");
  expect({ status, sha256: sha256(body) }).toEqual({ status: 200, sha256: sha256(bytesOf(7)) });
  // A client with a stream left over would wait for it.
  await world.client.stop(60_000);
  agent.destroy();
});

async function localService() {
  const service = await listeningService(serve);
  const webSockets = new WebSocketServer({ noServer: true });
  service.server.on("upgrade", (incoming: IncomingMessage, socket: Socket, head: Buffer) =>
    webSockets.handleUpgrade(incoming, socket, head, (accepted) => {
      accepted.on("message", (data) => accepted.send(data));
    }),
  );
  return service;
}

function serve(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const [, deed, digits] = incoming.url!.split("/");
  const number = Number(digits);
  arrivals.note(incoming.url!);
  switch (deed) {
    case "page":
      outgoing.setHeader("Content-Length", bytesOf(number).length);
      outgoing.end(bytesOf(number));
      break;
    case "chunks":
      for (let bytes = bytesOf(number); bytes.length > 0; bytes = bytes.subarray(10_000)) {
        outgoing.write(bytes.subarray(0, 10_000));
      }
      outgoing.end();
      break;
    case "echo":
      incoming.pipe(outgoing);
      break;
    case "events":
      void sendEvents(number, outgoing);
      break;
    case "endless":
      sendEndlessly(number, outgoing);
      break;
    default:
      // "silent" never gets an answer.
      if (deed === "refuse") outgoing.writeHead(413, { Connection: "close" }).end("too large");
      break;
  }
}

async function sendEvents(number: number, outgoing: ServerResponse): Promise<void> {
  outgoing.writeHead(200, { "Content-Type": "text/event-stream" });
  for (let i = 0; i < 10; i++) {
    outgoing.write(`data: ${number}.${i}\n\n`);
    await new Promise(setImmediate);
  }
  outgoing.end();
}

function sendEndlessly(number: number, outgoing: ServerResponse): void {
  const chunk = bytesOf(number);
  const go = (): void => {
    while (!outgoing.destroyed && outgoing.write(chunk));
  };
  outgoing.on("drain", go);
  go();
}

async function post(world: World, number: number, chunked: boolean): Promise<void> {
  const bytes = bytesOf(number);
  const outgoing = outgoingTo(
    world,
    `/echo/${number}`,
    "POST",
    chunked ? {} : { "Content-Length": bytes.length },
  );
  for (let at = 0; at < bytes.length; at += 20_000) outgoing.write(bytes.subarray(at, at + 20_000));
  outgoing.end();
  const { status, body } = await read(await answerTo(outgoing));
  expect({ status, sha256: sha256(body) }).toEqual({ status: 200, sha256: sha256(bytes) });
}

const agent = new Agent({ keepAlive: true, maxFreeSockets: 100 });

function outgoingTo(
  world: World,
  path: string,
  method: string,
  headers: Record<string, string | number> = {},
) {
  return request({
    host: "127.0.0.1",
    port: world.httpPort,
    path,
    method,
    agent,
    headers: { Host: "app.localhost", ...headers },
  });
}

function send(world: World, path: string): Promise<IncomingMessage> {
  return answerTo(outgoingTo(world, path, "GET").end());
}

function answerTo(outgoing: ReturnType<typeof request>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once("response", (answer) => {
      answer.on("error", () => {});
      resolve(answer);
    });
    outgoing.on("error", reject);
  });
}

async function read(answer: IncomingMessage): Promise<{ status: number; body: Buffer }> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  return { status: answer.statusCode!, body: Buffer.concat(chunks) };
}

/** From nothing to 200 KiB. */
function bytesOf(number: number): Buffer {
  const random = new Random(number);
  const length = number % 13 === 0 ? random.below(200 * KIB) : random.below(10 * KIB);
  const pattern = random.bytes(251);
  return Buffer.alloc(length + 1, pattern);
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

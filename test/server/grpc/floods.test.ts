import { once } from "node:events";
import { readFile } from "node:fs/promises";
import tls from "node:tls";
import { connect } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { linkService } from "../../../link/contract.ts";
import type { Control } from "../../../link/messages.ts";
import { saying, startLocalWeb, type LocalWeb } from "../../support/local-web.ts";
import {
  createKeyByCommand,
  startClientProcess,
  startServerProcess,
  type Program,
  type RunningServer,
} from "../../support/processes.ts";
import { helloOf, wanted } from "../../support/raw-client.ts";
import { lastingDirectory } from "../../support/temporary-directory.ts";
import { request } from "../../support/world.ts";

const MIB = 1024 * 1024;
/** An idle server has 85; before there were bounds, one of these took it to 1,850 in five seconds. */
const PEAK_BYTES = 400 * MIB;
const PATIENCE_MS = 20_000;
const FLOOD_BYTES = 4 * MIB;
const FRAME_BYTES = 16_384;

let directory: Awaited<ReturnType<typeof lastingDirectory>>;
let web: LocalWeb;
let server: RunningServer;
let honest: Program;
/** The key of the one that means harm. */
let token: string;

beforeAll(async () => {
  directory = await lastingDirectory();
  web = await startLocalWeb(saying("served"));
  server = await startServerProcess(directory.path);
  token = await createKeyByCommand(directory.path, server.grpcPort, ["--name", "bad"]);
  const goodToken = await createKeyByCommand(directory.path, server.grpcPort, ["--name", "good"]);
  const args = ["http", String(web.port), "--subdomain", "good"];
  honest = startClientProcess({ token: goodToken, dataDir: directory.path, tls: true }, args);
  await honest.logged("online");
});
afterAll(async () => {
  for (const part of [honest, server, web, directory]) await part[Symbol.asyncDispose]();
});

// HTTP/2 as RFC 9113 has it, so that it can be said wrongly.
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const CONTINUATION = 9;
const END_STREAM = 1;
const END_HEADERS = 4;

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A field as a literal that is not indexed (RFC 7541 section 6.2.2). */
function field(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}

function callHead(more: Record<string, string> = {}): Buffer {
  const fields = {
    ":method": "POST",
    ":scheme": "https",
    ":path": linkService.Connect.path,
    ":authority": "a",
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  };
  return Buffer.concat(Object.entries(fields).map(([name, value]) => field(name, value)));
}

function data(stream: number, bytes: Buffer): Buffer {
  const frames = [];
  for (let from = 0; from < bytes.length; from += FRAME_BYTES) {
    frames.push(frame(DATA, 0, stream, bytes.subarray(from, from + FRAME_BYTES)));
  }
  return Buffer.concat(frames);
}

/** A gRPC message: a flag, its length, and the batch. */
function message(bytes: Buffer, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function batch(control: Control[]): Buffer {
  return message(linkService.Connect.requestSerialize({ control, data: Buffer.alloc(0) }));
}

function repeated(bytes: Buffer, total = FLOOD_BYTES): Buffer {
  return Buffer.alloc(total - (total % bytes.length), bytes);
}

const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(SETTINGS, 0, 0)]);
const CALL = frame(HEADERS, END_HEADERS, 1, callHead());

/** Frames for so many calls, one behind the other. */
function calls(count: number, each: (stream: number) => Buffer[]): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => each(2 * i + 1)).flat());
}

interface Attacker {
  socket: tls.TLSSocket;
  /** Sends bytes; resolves once they are gone, or the server has cut it. */
  send(bytes: Buffer): Promise<void>;
  closed: Promise<void>;
}

async function attacker(): Promise<Attacker> {
  const options = { host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] };
  const socket = tls.connect({ ...options, port: server.grpcPort }).on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume();
  await Promise.race([once(socket, "secureConnect"), closed]);
  return {
    socket,
    closed,
    async send(bytes) {
      // In pieces, so that this process lives too.
      for (let from = 0; from < bytes.length && !socket.destroyed; from += 64 * 1024) {
        const piece = bytes.subarray(from, from + 64 * 1024);
        const written = new Promise<void>((resolve) => socket.write(piece, () => resolve()));
        await Promise.race([written, closed]);
        await nextTurn();
      }
    },
  };
}

/** One that has a session, so that its first call is stream 1. */
async function attackerInSession(): Promise<Attacker> {
  const online = server.logged("client online", server.lines.filter(isOnline).length + 1);
  const one = await attacker();
  await one.send(
    Buffer.concat([PREFACE, CALL, data(1, batch([helloOf(token, { wanted: [wanted("bad")] })]))]),
  );
  await online;
  return one;
}

function isOnline(line: { message: string }): boolean {
  return line.message === "client online";
}

/** Runs a flood, and meanwhile visits another client's tunnel over and over; returns what came to harm. */
async function harmOf(flood: () => Promise<unknown>): Promise<string[]> {
  const harm: string[] = [];
  const run = { over: false };
  const flooding = flood().finally(() => (run.over = true));
  do {
    const startMs = performance.now();
    const { status, text } = await request(server.httpPort, "/", { host: "good.localhost" });
    const tookMs = Math.round(performance.now() - startMs);
    if (text !== "served") harm.push(`a visitor got ${status}: ${text}`);
    if (tookMs > PATIENCE_MS) harm.push(`a visitor waited ${tookMs} ms`);
    await nextTurn();
  } while (!run.over);
  await flooding;
  if (server.child.exitCode !== null) harm.push("the server has ended");
  const peak = await peakBytes();
  if (peak > PEAK_BYTES) harm.push(`the server took ${Math.round(peak / MIB)} MiB`);
  for (const line of server.lines) if (line.level === "error") harm.push(JSON.stringify(line));
  if (honest.lines.filter(({ message }) => message === "online").length > 1)
    harm.push("the other client was cut off");
  return harm;
}

function refusals(): number {
  return server.lines.filter(({ message }) => message === "client refused").length;
}

async function peakBytes(): Promise<number> {
  const status = await readFile(`/proc/${server.pid}/status`, "utf8");
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)![1]) * 1024;
}

/** Several at once, each on a connection of its own, until all is sent or the server has enough of them. */
function several(count: number, attack: (one: Attacker) => Promise<unknown>): Promise<unknown> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const one = await attacker();
      await attack(one);
      one.socket.destroy();
    }),
  );
}

const BOMB = message(
  gzipSync(Buffer.concat([Buffer.from([0x12, 0x80, 0x80, 0xf0, 0x01]), Buffer.alloc(0x3c0000)])),
  1,
);

const FROM_STRANGERS: [name: string, connections: number, bytes: () => Buffer][] = [
  ["PING frames", 4, () => repeated(frame(PING, 0, 0, Buffer.alloc(8)))],
  ["SETTINGS frames", 4, () => repeated(frame(SETTINGS, 0, 0))],
  [
    "a head that goes on and on in CONTINUATION frames",
    4,
    () =>
      Buffer.concat([
        frame(HEADERS, 0, 1, callHead()),
        repeated(
          frame(
            CONTINUATION,
            0,
            1,
            Buffer.concat(Array.from({ length: 80 }, () => field("x", "y".repeat(100)))),
          ),
        ),
      ]),
  ],
  [
    "calls that are reset at once",
    4,
    () =>
      calls(10_000, (stream) => [
        frame(HEADERS, END_HEADERS, stream, callHead()),
        frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8])),
      ]),
  ],
  [
    "calls of another path",
    4,
    () =>
      calls(5_000, (stream) => [
        frame(HEADERS, END_HEADERS | END_STREAM, stream, callHead({ ":path": "/other" })),
      ]),
  ],
  [
    "calls that end at once",
    4,
    () => calls(5_000, (stream) => [frame(HEADERS, END_HEADERS | END_STREAM, stream, callHead())]),
  ],
  ["messages without content", 4, () => Buffer.concat([CALL, data(1, repeated(message(Buffer.alloc(0))))])],
  [
    "messages that never become whole",
    64,
    () => {
      const beginning = Buffer.concat([Buffer.from([0, 0, 0x3f, 0xff, 0xff]), Buffer.alloc(3 * MIB)]);
      return Buffer.concat([CALL, data(1, beginning)]);
    },
  ],
  [
    "compressed messages of 4 MiB each",
    8,
    () => {
      const head = callHead({ "grpc-encoding": "gzip" });
      const bombs = repeated(BOMB, 60 * BOMB.length);
      return calls(8, (stream) => [frame(HEADERS, END_HEADERS, stream, head), data(stream, bombs)]);
    },
  ],
  [
    "calls that never say Hello",
    300,
    () => calls(8, (stream) => [frame(HEADERS, END_HEADERS, stream, callHead())]),
  ],
];

test.each(FROM_STRANGERS)("strangers with %s hurt nobody", async (_name, connections, bytes) => {
  const flood = Buffer.concat([PREFACE, bytes()]);
  expect(await harmOf(() => several(connections, (one) => one.send(flood)))).toEqual([]);
});

test("hundreds of half TLS handshakes hurt nobody", async () => {
  const harm = await harmOf(async () => {
    const sockets = await Promise.all(
      Array.from({ length: 500 }, async () => {
        const socket = connect(server.grpcPort, "127.0.0.1").on("error", () => {});
        await once(socket, "connect");
        await new Promise((resolve) => socket.write(Buffer.from("16030100c8010000c40303", "hex"), resolve));
        return socket;
      }),
    );
    for (const socket of sockets) socket.destroy();
  });
  expect(harm).toEqual([]);
});

test("clients that read nothing of what they ask for hurt nobody", async () => {
  const harm = await harmOf(() =>
    several(4, (one) => {
      one.socket.pause();
      return one.send(Buffer.concat([PREFACE, repeated(frame(PING, 0, 0, Buffer.alloc(8)))]));
    }),
  );
  expect(harm).toEqual([]);
});

const FROM_A_CLIENT: [name: string, bytes: () => Buffer][] = [
  ["messages without content", () => repeated(message(Buffer.alloc(0)))],
  ["probes, one a message", () => repeated(batch([{ message: "ping", ping: { id: 1 } }]))],
  [
    "probes, thousands a message",
    () => repeated(batch(Array.from({ length: 4_000 }, () => ({ message: "ping", ping: { id: 1 } })))),
  ],
  ["one Drain behind the other", () => repeated(batch([{ message: "drain", drain: { graceMs: 1 } }]))],
  ["Hellos", () => repeated(batch([helloOf(token)]))],
];

test.each(FROM_A_CLIENT)("a client with %s loses its session, and hurts nobody", async (_name, bytes) => {
  const harm = await harmOf(async () => {
    const one = await attackerInSession();
    await one.send(data(1, bytes()));
    await one.closed;
  });
  expect(harm).toEqual([]);
});

test("a thousand wrong keys are refused, and a few lines in the log", async () => {
  const before = refusals();
  const hello = Buffer.concat([
    PREFACE,
    CALL,
    data(1, batch([helloOf(token, { secret: Buffer.alloc(16) })])),
  ]);
  const harm = await harmOf(async () => {
    for (let round = 0; round < 10; round++) {
      await several(100, async (one) => {
        const answer = once(one.socket, "data");
        await one.send(hello);
        await Promise.race([answer, one.closed]);
      });
    }
  });
  expect(harm).toEqual([]);
  expect(refusals() - before).toBeLessThan(5);
});

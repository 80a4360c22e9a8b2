import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request, type ClientRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listeningService } from "../support/listening.ts";
import {
  CLIENT,
  createKeyByCommand,
  startProgram,
  startServerProcess,
  type Program,
  type RunningServer,
} from "../support/processes.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { Random } from "../support/random.ts";

const MIB = 1024 * 1024;
const TOTAL_BYTES = 256 * MIB;
const BLOCK = new Random(11).bytes(MIB);
/** Measured: 130 to 175 MiB, of which an idle process has 85. A body that is kept would add 256. */
const PEAK_BYTES = 256 * MIB;

let tunnel: Tunnel;
let expected: string;
beforeAll(async () => {
  expected = await sha256(Readable.from(blocks()));
  tunnel = await startTunnel();
});
afterAll(() => tunnel[Symbol.asyncDispose]());

interface Tunnel extends AsyncDisposable {
  server: RunningServer;
  client: Program;
}

/** The built commands as processes of their own, with TLS as they come; the local service and visitors live here. */
async function startTunnel(): Promise<Tunnel> {
  const directory = await lastingDirectory();
  const service = await listeningService((incoming, outgoing) => void serve(incoming, outgoing));
  const server = await startServerProcess(directory.path);
  const token = await createKeyByCommand(directory.path, server.grpcPort);
  const args = ["http", String(service.port), "--subdomain", "app", "--key", token];
  const client = startProgram(CLIENT, args, { env: { STATE_DIRECTORY: directory.path } });
  await client.logged("online");
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      for (const part of [client, server, service, directory]) await part[Symbol.asyncDispose]();
    },
  };
}

async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (incoming.method === "GET") Readable.from(blocks()).pipe(outgoing);
  else outgoing.end(await sha256(incoming));
}

test("256 MiB down arrive whole beside readers that stall, and neither end keeps them", async () => {
  const stalled = await Promise.all(Array.from({ length: 8 }, () => answerTo(visit("GET").end())));
  expect(await sha256(await answerTo(visit("GET").end()))).toBe(expected);
  await expectModestPeaks();
  for (const answer of stalled) answer.destroy();
});

test("256 MiB up arrive whole, and neither end keeps them", async () => {
  const upload = visit("POST");
  const answer = answerTo(upload);
  await pipeline(Readable.from(blocks()), upload);
  expect(await text(await answer)).toBe(expected);
  await expectModestPeaks();
});

function visit(method: string): ClientRequest {
  return request({
    host: "127.0.0.1",
    port: tunnel.server.httpPort,
    method,
    headers: { Host: "app.localhost" },
    agent: false,
  });
}

function answerTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => request.once("response", resolve).once("error", reject));
}

async function expectModestPeaks(): Promise<void> {
  const peaks = { server: await peakBytes(tunnel.server.pid), client: await peakBytes(tunnel.client.pid) };
  expect(peaks.server).toBeLessThan(PEAK_BYTES);
  expect(peaks.client).toBeLessThan(PEAK_BYTES);
}

/** The most memory that the process ever had in use. */
async function peakBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)![1]) * 1024;
}

function* blocks(): Generator<Buffer> {
  for (let sent = 0; sent < TOTAL_BYTES; sent += MIB) yield BLOCK;
}

async function sha256(body: Readable): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of body as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}

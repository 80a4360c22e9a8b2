import { describe, expect } from "vitest";
import { pattern } from "../support/byte-pattern.ts";
import { acceptance, whole } from "./acceptance.ts";
import { visitOverHttp } from "./http-visitor.ts";
import { get, ok, request } from "./messages.ts";
import { Firehose, PatternCheck } from "./pattern-stream.ts";
import { percentile95 } from "./percentile.ts";
import { residentBytes } from "./process-use.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";

const MIB = 1024 * 1024;
/** What may be taken of a stalled body: half of what is asked for; measured: 12 MiB, buffers of four sockets included. */
const TAKEN_BYTES = 32 * MIB;
const BODY = { stream: 5, totalBytes: 40 * MIB };
/** What both processes may grow by meanwhile. */
const GROWTH_BYTES = 64 * MIB;
const STALLED = 16;
const CHUNKED = "Transfer-Encoding: chunked";
const BY_LENGTH = `Content-Length: ${BODY.totalBytes}`;
const FAST = ok("x".repeat(64 * 1024));

/** From now on /fast is answered at once, and each other request is the case's. */
function arrivals(tunnel: Tunnel): () => Promise<ServiceRequest> {
  const arrived: ServiceRequest[] = [];
  const waiting: ((request: ServiceRequest) => void)[] = [];
  tunnel.backend.serve((each) => {
    if (each.target === "/fast") return each.connection.send(FAST);
    const wake = waiting.shift();
    if (wake) wake(each);
    else arrived.push(each);
    return undefined;
  });
  return () => {
    const request = arrived.shift();
    return request ? Promise.resolve(request) : new Promise((resolve) => waiting.push(resolve));
  };
}

/** Others come and go until nothing more is taken for a while of their visits; they must all be served. */
async function untilStalled(tunnel: Tunnel, taken: () => number): Promise<void> {
  const visitors = await Promise.all(Array.from({ length: 4 }, () => tunnel.visitor()));
  let before = -1;
  for (let quiet = 0; quiet < 5;) {
    await Promise.all(visitors.map(visitFast));
    quiet = taken() === before ? quiet + 1 : 0;
    before = taken();
  }
}

async function visitFast(visitor: Awaited<ReturnType<Tunnel["visitor"]>>): Promise<void> {
  const answer = await visitor.request(get("/fast")).answer();
  expect([answer.status, answer.body.length]).toEqual([200, 64 * 1024]);
}

/** What both processes use. */
async function memoryOf(tunnel: Tunnel): Promise<number> {
  return (await residentBytes(tunnel.server.pid)) + (await residentBytes(tunnel.client.pid));
}

/** Visits one behind the other. */
async function expectOthersServedInTime(tunnel: Tunnel): Promise<void> {
  const visitor = await tunnel.visitor();
  const times: number[] = [];
  for (let i = 0; i < 60; i++) {
    const startedAt = performance.now();
    await visitFast(visitor);
    times.push(performance.now() - startedAt);
  }
  expect(percentile95(times)).toBeLessThan(500);
}

/** Of a case that moves hundreds of megabytes, on a busy machine. */
const PATIENCE_MS = 60_000;

async function expectVisitorWaitedFor(tunnel: Tunnel, framing: string): Promise<void> {
  const next = arrivals(tunnel);
  await untilStalled(tunnel, () => 0);
  const before = await memoryOf(tunnel);
  const { outgoing, answer } = visitOverHttp(tunnel);
  outgoing.end();
  const { connection } = await next();
  await connection.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
  const hose = new Firehose(connection.socket, { ...BODY, inChunks: framing === CHUNKED });
  await untilStalled(tunnel, () => hose.takenBytes);
  expect(hose.takenBytes).toBeLessThan(TAKEN_BYTES);
  expect((await memoryOf(tunnel)) - before).toBeLessThan(GROWTH_BYTES);

  const check = new PatternCheck(await answer, BODY);
  expect(await check.difference()).toBeUndefined();
}

async function expectServiceWaitedFor(tunnel: Tunnel, framing: string): Promise<void> {
  const next = arrivals(tunnel);
  await untilStalled(tunnel, () => 0);
  const before = await memoryOf(tunnel);
  const visitor = await tunnel.request(request("POST /", [framing]));
  const upload = await next();
  upload.connection.pause();
  const hose = new Firehose(visitor.socket, { ...BODY, inChunks: framing === CHUNKED });
  await untilStalled(tunnel, () => hose.takenBytes);
  expect(hose.takenBytes).toBeLessThan(TAKEN_BYTES);
  expect((await memoryOf(tunnel)) - before).toBeLessThan(GROWTH_BYTES);

  upload.connection.resume();
  expect((await upload.body()).bytes.equals(pattern(BODY.stream, 0, BODY.totalBytes))).toBe(true);
  await upload.connection.send(ok("thanks"));
  expect((await visitor.answer()).status).toBe(200);
}

describe("who does not read is waited for by the sender alone, and loses nothing:", () => {
  acceptance(
    "a visitor of an answer by length",
    ({ tunnel }) => expectVisitorWaitedFor(tunnel, BY_LENGTH),
    PATIENCE_MS,
  );
  whole(
    "a visitor of an answer in chunks",
    ({ tunnel }) => expectVisitorWaitedFor(tunnel, CHUNKED),
    PATIENCE_MS,
  );
  whole(
    "a visitor of an answer that ends by close",
    ({ tunnel }) => expectVisitorWaitedFor(tunnel, "Connection: close"),
    PATIENCE_MS,
  );
  acceptance(
    "a local service of an upload by length",
    ({ tunnel }) => expectServiceWaitedFor(tunnel, BY_LENGTH),
    PATIENCE_MS,
  );
  whole(
    "a local service of an upload in chunks",
    ({ tunnel }) => expectServiceWaitedFor(tunnel, CHUNKED),
    PATIENCE_MS,
  );

  whole(
    "either end of an exchange that answers while it is asked",
    async ({ tunnel }) => {
      const next = arrivals(tunnel);
      const visitor = await tunnel.request(request("POST /", [BY_LENGTH]));
      const upload = await next();
      upload.connection.pause();
      visitor.socket.pause();
      await upload.connection.send(`HTTP/1.1 200 OK\r\n${BY_LENGTH}\r\n\r\n`);
      const up = new Firehose(visitor.socket, BODY);
      const down = new Firehose(upload.connection.socket, BODY);
      await untilStalled(tunnel, () => up.takenBytes + down.takenBytes);
      expect(up.takenBytes).toBeLessThan(TAKEN_BYTES);
      expect(down.takenBytes).toBeLessThan(TAKEN_BYTES);

      const body = pattern(BODY.stream, 0, BODY.totalBytes);
      visitor.socket.resume();
      expect((await visitor.answer()).body.equals(body)).toBe(true);
      upload.connection.resume();
      expect((await upload.body()).bytes.equals(body)).toBe(true);
    },
    PATIENCE_MS,
  );
});

describe(`beside ${STALLED} that stall others are served in time, and both processes stay small:`, () => {
  acceptance(
    "visitors that do not read",
    async ({ tunnel }) => {
      const next = arrivals(tunnel);
      await untilStalled(tunnel, () => 0);
      const before = await memoryOf(tunnel);
      const hoses: Firehose[] = [];
      for (let i = 0; i < STALLED; i++) {
        const visitor = await tunnel.request(get());
        visitor.socket.pause();
        const { connection } = await next();
        await connection.send(`HTTP/1.1 200 OK\r\n${BY_LENGTH}\r\n\r\n`);
        hoses.push(new Firehose(connection.socket, BODY));
      }
      await untilStalled(tunnel, () => sum(hoses));
      await expectOthersServedInTime(tunnel);
      for (const { takenBytes } of hoses) expect(takenBytes).toBeLessThan(TAKEN_BYTES);
      // Twice that of one: the streams of a connection share what their credit grows by, and both ends have a part of it.
      expect((await memoryOf(tunnel)) - before).toBeLessThan(2 * GROWTH_BYTES);
    },
    PATIENCE_MS,
  );

  whole(
    "uploads that are not read",
    async ({ tunnel }) => {
      // They are given up at the end of the case.
      tunnel.allow(/FIN within the body/);
      const next = arrivals(tunnel);
      await untilStalled(tunnel, () => 0);
      const before = await memoryOf(tunnel);
      const hoses: Firehose[] = [];
      for (let i = 0; i < STALLED; i++) {
        const visitor = await tunnel.request(request("POST /", [BY_LENGTH]));
        const { connection } = await next();
        connection.pause();
        hoses.push(new Firehose(visitor.socket, BODY));
      }
      await untilStalled(tunnel, () => sum(hoses));
      await expectOthersServedInTime(tunnel);
      for (const { takenBytes } of hoses) expect(takenBytes).toBeLessThan(TAKEN_BYTES);
      expect((await memoryOf(tunnel)) - before).toBeLessThan(2 * GROWTH_BYTES);
    },
    PATIENCE_MS,
  );

  acceptance("answers that never come", async ({ tunnel }) => {
    const next = arrivals(tunnel);
    for (let i = 0; i < STALLED; i++) {
      await tunnel.request(get());
      await next();
    }
    await expectOthersServedInTime(tunnel);
  });
});

function sum(hoses: readonly Firehose[]): number {
  return hoses.reduce((total, { takenBytes }) => total + takenBytes, 0);
}

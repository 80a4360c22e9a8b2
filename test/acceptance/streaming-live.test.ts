import type { IncomingMessage } from "node:http";
import { describe, expect } from "vitest";
import { Random } from "../support/random.ts";
import type { RawConnection } from "../support/raw-backend.ts";
import { acceptance } from "./acceptance.ts";
import { visitOverHttp } from "./http-visitor.ts";
import { get, HOST, ok, request } from "./messages.ts";
import { Firehose } from "./pattern-stream.ts";
import { percentile95 } from "./percentile.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";

/** Each is read at the other end before the next is sent, so that whoever held one back would stop the case. */
const TOKENS = [
  "The",
  " ",
  "duck",
  "\n\n",
  " said",
  ": ",
  "\u0000",
  "quack",
  ".",
  "x".repeat(20_000),
  "é",
  "!",
];
const LENGTH = TOKENS.join("").length;
const LATE_MS = 150;
const EVENTS = 40;
const CHUNKED = "Transfer-Encoding: chunked";
const BY_LENGTH = `Content-Length: ${LENGTH}`;
const OPEN_SSE = `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${CHUNKED}\r\n\r\n`;
const random = new Random(Date.now());

/** One chunk, not the last. */
function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

function same(text: string): string {
  return text;
}

/** So much of a body in chunks, of whatever sizes: those are nobody's concern but the next hop's (RFC 9112 section 7.1). */
async function unchunked(take: (bytes: number) => Promise<Buffer>, length: number): Promise<string> {
  let text = "";
  while (text.length < length) {
    let size = "";
    while (!size.endsWith("\r\n")) size += (await take(1)).toString("latin1");
    const bytes = await take(Number.parseInt(size, 16) + 2);
    expect(bytes.subarray(-2).toString()).toBe("\r\n");
    text += bytes.toString("latin1", 0, bytes.length - 2);
  }
  return text;
}

/** The next token, framed as `chunk` or `same` does it. */
async function received(
  take: (bytes: number) => Promise<Buffer>,
  token: string,
  framing: typeof chunk,
): Promise<string> {
  if (framing === chunk) return await unchunked(take, token.length);
  return (await take(token.length)).toString("latin1");
}

/** How far apart events are. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2 + random.below(15)));
}

const EVENT_BYTES = "data: 123456789.123\n\n".length;

/** Sends events that say when they were sent, and reads at the other end how late each is. */
async function lateness(
  send: (event: string) => unknown,
  reader: { on(event: "data", listener: (chunk: Buffer) => void): unknown },
): Promise<number[]> {
  const late: number[] = [];
  let rest = "";
  const all = new Promise<void>((resolve) => {
    reader.on("data", (chunk) => {
      const now = performance.now();
      const events = (rest + chunk.toString("latin1")).split("\n\n");
      rest = events.pop()!;
      for (const event of events) late.push(now - Number(event.slice("data: ".length)));
      if (late.length === EVENTS) resolve();
    });
  });
  for (let i = 0; i < EVENTS; i++) {
    await send(
      `data: ${performance
        .now()
        .toFixed(3)
        .padStart(EVENT_BYTES - "data: \n\n".length)}\n\n`,
    );
    await pause();
  }
  await all;
  return late;
}

describe("the head of an answer does not wait for its body", () => {
  acceptance.for([
    ["by length", BY_LENGTH],
    ["in chunks", CHUNKED],
    ["until the end of the connection", "Connection: close"],
  ] as const)("%s", async ([, framing], { tunnel }) => {
    const late: number[] = [];
    for (let i = 0; i < EVENTS; i++) {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get());
      const { connection } = await arrived;
      const sentAt = performance.now();
      await connection.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
      expect((await visitor.head()).status).toBe(200);
      late.push(performance.now() - sentAt);
      expect(visitor.unread).toBe("");
      visitor.close();
    }
    expect(percentile95(late)).toBeLessThan(LATE_MS);
  });

  acceptance("nor for the end of an upload", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", [BY_LENGTH]));
    const asked = await arrived;
    await asked.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    expect((await visitor.head()).status).toBe(200);
    visitor.send(...TOKENS);
    expect((await asked.body()).bytes.toString("latin1")).toBe(TOKENS.join(""));
    await asked.connection.send("after");
    expect((await visitor.bytes(5)).toString()).toBe("after");
  });

  acceptance("nor for what the local service takes its time with before it", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(get());
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    expect((await visitor.head()).status).toBe(103);
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    expect((await visitor.head()).status).toBe(200);
    await connection.send("o");
    expect((await visitor.bytes(1)).toString()).toBe("o");
    await connection.send("k");
    expect((await visitor.bytes(1)).toString()).toBe("k");
  });
});

describe("an answer's bytes leave as they come", () => {
  acceptance.for([
    ["in chunks", "1.1", CHUNKED, chunk, chunk],
    ["by length", "1.1", BY_LENGTH, same, same],
    ["until the end of the connection", "1.1", "Connection: close", same, chunk],
    ["in chunks, to a visitor of HTTP/1.0", "1.0", CHUNKED, chunk, same],
    ["by length, to a visitor of HTTP/1.0", "1.0", BY_LENGTH, same, same],
  ] as const)("%s", async ([, version, framing, sent, framed], { tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(`GET / HTTP/${version}\r\n${HOST}\r\n\r\n`);
    const { connection } = await arrived;
    await connection.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${framing}\r\n\r\n`);
    expect((await visitor.head()).status).toBe(200);
    for (const token of TOKENS) {
      await connection.send(sent(token));
      expect(await received((bytes) => visitor.bytes(bytes), token, framed)).toBe(token);
    }
  });

  acceptance("to a hundred visitors at the same time", async ({ tunnel }) => {
    const streams: ServiceRequest[] = [];
    const all = new Promise<void>((resolve) => {
      tunnel.backend.serve(async (each) => {
        await each.connection.send(OPEN_SSE);
        if (streams.push(each) === 100) resolve();
      });
    });
    const visitors = await Promise.all(Array.from({ length: 100 }, () => tunnel.request(get())));
    await Promise.all(visitors.map((visitor) => visitor.head()));
    await all;
    for (const token of TOKENS.filter((each) => each.length < 100)) {
      await Promise.all(streams.map(({ connection }) => connection.send(chunk(token))));
      for (const visitor of visitors) {
        expect((await visitor.bytes(chunk(token).length)).toString("latin1")).toBe(chunk(token));
      }
    }
  });
});

describe("an upload's bytes leave as they come", () => {
  acceptance.for([
    ["in chunks", CHUNKED, chunk],
    ["by length", BY_LENGTH, same],
  ] as const)("%s", async ([, framing, onWire], { tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", [framing]));
    const { connection, body } = await arrived;
    for (const token of TOKENS) {
      visitor.send(onWire(token));
      expect(await received((bytes) => connection.take(bytes), token, onWire)).toBe(token);
    }
    if (framing === CHUNKED) visitor.send("0\r\n\r\n");
    expect((await body()).bytes.toString("latin1")).toBe(TOKENS.join(""));
    await connection.send(ok("thanks"));
    expect((await visitor.answer()).status).toBe(200);
  });

  acceptance.for([
    ["in chunks, answered in chunks", CHUNKED, chunk, CHUNKED, chunk],
    ["in chunks, answered by length", CHUNKED, chunk, BY_LENGTH, same],
    ["by length, answered in chunks", BY_LENGTH, same, CHUNKED, chunk],
    ["by length, answered by length", BY_LENGTH, same, BY_LENGTH, same],
  ] as const)("and come back before the next one is sent: %s", async (row, { tunnel }) => {
    const [, upFraming, up, downFraming, down] = row;
    tunnel.backend.serve(async ({ connection }) => {
      await connection.send(`HTTP/1.1 200 OK\r\n${downFraming}\r\n\r\n`);
      for (const token of TOKENS) {
        expect(await received((bytes) => connection.take(bytes), token, up)).toBe(token);
        await connection.send(down(token));
      }
      if (upFraming === CHUNKED) await connection.take("0\r\n\r\n".length);
      if (downFraming === CHUNKED) await connection.send("0\r\n\r\n");
    });
    const visitor = await tunnel.request(request("POST /", [upFraming]));
    await visitor.head();
    for (const token of TOKENS) {
      visitor.send(up(token));
      expect(await received((bytes) => visitor.bytes(bytes), token, down)).toBe(token);
    }
    if (upFraming === CHUNKED) visitor.send("0\r\n\r\n");
    if (downFraming === CHUNKED) expect((await visitor.bytes(5)).toString()).toBe("0\r\n\r\n");
    tunnel.backend.answer(ok("in step"));
    visitor.request(get("/next"));
    expect((await visitor.answer()).body.toString()).toBe("in step");
  });
});

describe(`19 events of 20 are there within ${LATE_MS} ms`, () => {
  acceptance("of an answer", async ({ tunnel }) => {
    const { connection, answer } = await openEvents(tunnel);
    const late = await lateness((event) => connection.send(chunk(event)), answer);
    expect(percentile95(late)).toBeLessThan(LATE_MS);
  });

  acceptance("of an upload", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", [`Content-Length: ${EVENTS * EVENT_BYTES}`]));
    const { connection } = await arrived;
    const late = await lateness((event) => visitor.send(event), connection.socket);
    expect(percentile95(late)).toBeLessThan(LATE_MS);
    await connection.send(ok("thanks"));
    expect((await visitor.answer()).status).toBe(200);
  });

  acceptance("of each of twenty answers", async ({ tunnel }) => {
    const streams: ServiceRequest[] = [];
    tunnel.backend.serve(async (each) => {
      await each.connection.send(OPEN_SSE);
      streams.push(each);
    });
    const visitors = await Promise.all(Array.from({ length: 20 }, () => tunnel.request(get("/events"))));
    await Promise.all(visitors.map((visitor) => visitor.head()));
    const event = chunk("data: the same for all\n\n");
    const late: number[] = [];
    for (let i = 0; i < EVENTS; i++) {
      const sentAt = performance.now();
      for (const { connection } of streams) void connection.send(event);
      await Promise.all(
        visitors.map(async (visitor) => {
          expect((await visitor.bytes(event.length)).toString()).toBe(event);
          late.push(performance.now() - sentAt);
        }),
      );
    }
    expect(percentile95(late)).toBeLessThan(LATE_MS);
  });

  acceptance("of an answer beside a download that has stalled", async ({ tunnel }) => {
    const bulk = await openEvents(tunnel);
    const hose = new Firehose(bulk.connection.socket, { stream: 3, totalBytes: 1 << 30, inChunks: true });
    const { connection, answer } = await openEvents(tunnel);
    const late = await lateness((event) => connection.send(chunk(event)), answer);
    expect(percentile95(late)).toBeLessThan(LATE_MS);
    expect(hose.takenBytes).toBeGreaterThan(0);
  });
});

/** An answer of events that has begun, and that nobody reads yet. */
async function openEvents(tunnel: Tunnel): Promise<{ connection: RawConnection; answer: IncomingMessage }> {
  const arrived = tunnel.backend.next();
  const { outgoing, answer } = visitOverHttp(tunnel);
  outgoing.end();
  const { connection } = await arrived;
  await connection.send(OPEN_SSE);
  return { connection, answer: await answer };
}

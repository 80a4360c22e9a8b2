import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { TunnelledService, type ServiceRequest } from "../support/tunnelled-service.ts";

/** Each is acknowledged before the next is sent, so that whoever held one back would stop the test. */
const TOKENS = ["The", " ", "duck", "\n\n", " said", ": ", "\u0000", "quack", "."];

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start("auto");
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

function nextRequest(): Promise<ServiceRequest> {
  return new Promise((resolve) => tunnel.serve((request) => resolve(request)));
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

const LENGTH = TOKENS.join("").length;

describe("an answer's bytes leave as they come", () => {
  test.each([
    ["in chunks", "1.1", "Transfer-Encoding: chunked", chunk, chunk],
    ["by length", "1.1", `Content-Length: ${LENGTH}`, (text: string) => text, (text: string) => text],
    ["by close", "1.1", "Connection: close", (text: string) => text, chunk],
    ["to an HTTP/1.0 visitor", "1.0", "Transfer-Encoding: chunked", chunk, (text: string) => text],
  ])("%s", async (_, version, framing, sent, received) => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(`GET / HTTP/${version}\r\nHost: app.localhost\r\n\r\n`);
    const { connection } = await arrived;
    await connection.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${framing}\r\n\r\n`);
    expect((await visitor.head()).status).toBe(200);
    for (const token of TOKENS) {
      await connection.send(sent(token));
      const expected = received(token);
      expect((await visitor.bytes(expected.length)).toString("latin1")).toBe(expected);
    }
  });
});

describe("an upload's bytes leave as they come", () => {
  test.each([
    ["in chunks", "Transfer-Encoding: chunked", chunk],
    ["by length", `Content-Length: ${LENGTH}`, (text: string) => text],
  ])("%s", async (_, framing, onWire) => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(`POST / HTTP/1.1\r\nHost: app.localhost\r\n${framing}\r\n\r\n`);
    const { connection } = await arrived;
    for (const token of TOKENS) {
      visitor.send(onWire(token));
      const expected = onWire(token);
      expect((await connection.take(expected.length)).toString("latin1")).toBe(expected);
    }
  });
});

test("an echo goes both ways at once, token by token", async () => {
  tunnel.serve(async ({ connection }) => {
    await connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const token of TOKENS) await connection.send(await connection.take(chunk(token).length));
  });
  const visitor = await tunnel.send(
    "POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  await visitor.head();
  for (const token of TOKENS) {
    visitor.send(chunk(token));
    expect((await visitor.bytes(chunk(token).length)).toString("latin1")).toBe(chunk(token));
  }
});

test("a hundred slow streams get their tokens at the same time", async () => {
  const streams: ServiceRequest[] = [];
  const all = new Promise<void>((resolve) => {
    tunnel.serve(async (request) => {
      await request.connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      if (streams.push(request) === 100) resolve();
    });
  });
  const visitors = await Promise.all(
    Array.from({ length: 100 }, () => tunnel.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")),
  );
  await Promise.all(visitors.map((visitor) => visitor.head()));
  await all;
  for (const token of TOKENS) {
    await Promise.all(streams.map(({ connection }) => connection.send(chunk(token))));
    for (const visitor of visitors) {
      expect((await visitor.bytes(chunk(token).length)).toString("latin1")).toBe(chunk(token));
    }
  }
});

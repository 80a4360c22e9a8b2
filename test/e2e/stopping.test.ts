import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startClientProcess, type Program } from "../support/processes.ts";
import { startLocalWeb, type LocalWeb } from "../support/local-web.ts";
import { Relay } from "../support/relay.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { http, startTestClient, startTestServer, type TestServer } from "../support/tunnel-ends.ts";
import type { Answer } from "../support/world.ts";

const STOPPING = "stopping; open requests may finish, a second signal ends at once";

let server: TestServer;
let web: LocalWeb;
let token: string;
let onHeld: (response: ServerResponse) => void = () => {};

beforeAll(async () => {
  server = await startTestServer();
  token = await server.addKey();
  web = await startLocalWeb((request, response) => {
    if (request.url === "/") {
      response.end("served");
      return;
    }
    if (request.url === "/endless") response.write("the beginning");
    onHeld(response);
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await web[Symbol.asyncDispose]();
});

async function startClient(): Promise<Program> {
  const args = ["http", String(web.port), "--subdomain", "app"];
  const client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);
  await client.logged("serving");
  return client;
}

function held(): Promise<ServerResponse> {
  return new Promise((resolve) => {
    onHeld = resolve;
  });
}

/** A visitor in the middle of an answer that has no end. */
async function endlessVisitor(port: number): Promise<RawVisitor> {
  const visitor = await RawVisitor.connect(port);
  visitor.send("GET /endless HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  await visitor.head();
  return visitor;
}

/** The first answer that says that nobody takes new visitors. */
async function firstRefusal(): Promise<Answer> {
  for (;;) {
    const answer = await server.visit("/");
    if (answer.status !== 200) return answer;
  }
}

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s to a client with a request in flight: that finishes, new visitors get 503, and the exit code is 0",
  async (signal) => {
    await using client = await startClient();
    const reached = held();
    const visit = server.visit("/held");
    const response = await reached;
    client.kill(signal);
    await client.logged(STOPPING);
    const refused = await firstRefusal();
    expect(refused.status).toBe(503);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    response.end("finished");
    expect(await visit).toMatchObject({ status: 200, text: "finished" });
    expect(await client.exited).toEqual({ code: 0, signal: null });
    expect(client.lines.at(-1)).toMatchObject({ message: "stopped" });
  },
);

test("SIGTERM to a client that nobody visits ends it at once", async () => {
  await using client = await startClient();
  const startMs = performance.now();
  client.kill("SIGTERM");
  expect(await client.exited).toEqual({ code: 0, signal: null });
  expect(performance.now() - startMs).toBeLessThan(3_000);
});

test("SIGTERM to a client whose server cannot be reached ends it at once", async () => {
  const args = ["http", "1", "--server", "127.0.0.1:1"];
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);
  await client.logged("offline; trying again");
  client.kill("SIGTERM");
  expect(await client.exited).toEqual({ code: 0, signal: null });
});

test("a second signal ends a client at once: an endless answer is cut", async () => {
  await using client = await startClient();
  const visitor = await endlessVisitor(server.httpPort);
  client.kill("SIGTERM");
  await client.logged(STOPPING);
  client.kill("SIGTERM");
  expect(await client.exited).toEqual({ code: 0, signal: null });
  await visitor.ended;
  expect(visitor.unread).not.toContain("\r\n0\r\n");
  visitor.close();
});

test("a client that stops waits for an endless answer as long as its grace, and then cuts it", async () => {
  await using other = await startTestServer();
  await using client = startTestClient(await other.addKey(), { tunnels: [http(web.port, "app")] });
  await client.online();
  const visitor = await endlessVisitor(other.httpPort);
  const startMs = performance.now();
  await client.client.stop(300);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(295);
  expect(await client.ended).toBeUndefined();
  await visitor.ended;
  expect(visitor.unread).not.toContain("\r\n0\r\n");
  visitor.close();
});

test("a server that stops waits for an endless answer as long as its grace, and then cuts it", async () => {
  await using other = await startTestServer();
  await using client = startTestClient(await other.addKey(), { tunnels: [http(web.port, "app")] });
  await client.online();
  const visitor = await endlessVisitor(other.httpPort);
  const startMs = performance.now();
  await other.server.stop(300);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(295);
  await visitor.ended;
  expect(visitor.unread).not.toContain("\r\n0\r\n");
  visitor.close();
  await client.log.logged("offline; trying again");
});

test("a client that stops while it is being replaced, cut off or dialling ends all the same", async () => {
  await using other = await startTestServer({ tuning: { connections: 4 } });
  const key = await other.addKey();
  for (let i = 0; i < 5; i++) {
    const client = startTestClient(key, { tunnels: [http(web.port, "app")] });
    if (i > 0) await client.online();
    // At once: its further connections are being dialled.
    await client.client.stop(1_000);
    expect(await client.ended).toBeUndefined();
  }
});

test("a client that stops over a dead connection does not wait for it, having nobody to serve", async () => {
  await using other = await startTestServer();
  await using relay = await Relay.to(other.grpcPort);
  await using client = startTestClient(await other.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  relay.mode = "hold";
  const startMs = performance.now();
  await client.client.stop(30_000);
  expect(performance.now() - startMs).toBeLessThan(5_000);
  expect(await client.ended).toBeUndefined();
});

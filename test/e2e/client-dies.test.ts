import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startClientProcess, type Program } from "../support/processes.ts";
import { startLocalWeb, type LocalWeb } from "../support/local-web.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startTestServer, type TestServer } from "../support/tunnel-ends.ts";

let server: TestServer;
let web: LocalWeb;
let token: string;
/** Told of each request that the local service leaves unfinished. */
let onHeld: (response: ServerResponse) => void = () => {};

beforeAll(async () => {
  server = await startTestServer();
  token = await server.addKey();
  web = await startLocalWeb((request, response) => {
    if (request.url === "/") {
      response.end("served");
      return;
    }
    if (request.url !== "/held")
      response.writeHead(200, { "Content-Length": 100_000 }).write("the beginning");
    onHeld(response);
  });
  web.server.on("upgrade", (_request, socket: Socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.on("error", () => {}).pipe(socket);
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await web[Symbol.asyncDispose]();
});

async function startClient(dataDir?: string): Promise<Program> {
  const args = ["http", String(web.port), "--subdomain", "app"];
  const client = startClientProcess({ token, dataDir: dataDir ?? (await temporaryDirectory()) }, args);
  await client.logged("serving");
  return client;
}

function offlineSoFar(): number {
  return server.log.lines.filter(({ message }) => message === "client offline").length;
}

function held(): Promise<ServerResponse> {
  return new Promise((resolve) => {
    onHeld = resolve;
  });
}

test("a client killed while a visitor waits: the visitor gets 502 at once", async () => {
  await using client = await startClient();
  const reached = held();
  const visit = server.visit("/held");
  await reached;
  const startMs = performance.now();
  client.kill("SIGKILL");
  expect((await visit).status).toBe(502);
  expect(performance.now() - startMs).toBeLessThan(5_000);
});

test("a client killed in the middle of an answer: the visitor sees a cut, and no false end", async () => {
  await using client = await startClient();
  const visitor = await RawVisitor.connect(server.httpPort);
  visitor.send("GET /begun HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  expect((await visitor.head()).status).toBe(200);
  await visitor.bytes("the beginning".length);
  client.kill("SIGKILL");
  await visitor.ended;
  expect(visitor.unread).toBe("");
  visitor.close();
});

test("a client killed in the middle of a chunked answer: no final chunk comes", async () => {
  await using client = await startClient();
  const reached = held();
  const visitor = await RawVisitor.connect(server.httpPort);
  visitor.send("GET /held HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  (await reached).write("part");
  await visitor.head();
  await visitor.bytes("4\r\npart\r\n".length);
  client.kill("SIGKILL");
  await visitor.ended;
  expect(visitor.unread).toBe("");
  visitor.close();
});

test("a client killed with a WebSocket open: the visitor's socket ends", async () => {
  await using client = await startClient();
  const visitor = await RawVisitor.connect(server.httpPort);
  visitor.send("GET /ws HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  expect((await visitor.head()).status).toBe(101);
  visitor.send("hello");
  expect((await visitor.bytes(5)).toString()).toBe("hello");
  client.kill("SIGKILL");
  await visitor.ended;
  visitor.close();
});

test("a client killed and restarted three times has its name back each time", async () => {
  const dataDir = await temporaryDirectory();
  for (let round = 0; round < 3; round++) {
    await using client = await startClient(dataDir);
    expect((await server.visit("/")).text).toBe("served");
    const gone = server.log.logged("client offline", offlineSoFar() + 1);
    client.kill("SIGKILL");
    await gone;
    expect((await server.visit("/")).status).toBe(503);
  }
});

test("a client restarted while its old self is still believed in takes its place at once", async () => {
  const dataDir = await temporaryDirectory();
  await using frozen = await startClient(dataDir);
  frozen.kill("SIGSTOP");
  await using client = await startClient(dataDir);
  expect((await server.visit("/")).text).toBe("served");
  frozen.kill("SIGCONT");
  expect((await frozen.exited).code).toBe(5);
  expect((await server.visit("/")).text).toBe("served");
  expect(client.child.exitCode).toBeNull();
});

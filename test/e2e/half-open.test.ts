import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { startClientProcess } from "../support/processes.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { Relay } from "../support/relay.ts";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { http, startTestClient, startTestServer } from "../support/tunnel-ends.ts";

/** A dead connection is noticed within 700 ms in place of 25 s. */
const PROBE = { intervalMs: 200, timeoutMs: 500 };
const BODY = "x".repeat(1_000);

test("a black hole between the two is noticed by both: visitors get 502, then 503, and service returns by a new path", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { probe: PROBE } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
    tuning: { probe: PROBE, stepTimeoutMs: 300 },
  });
  await client.online();
  expect((await server.visit("/")).status).toBe(200);

  relay.mode = "hold";
  expect((await server.visit("/")).status).toBe(502);
  await server.log.logged("client offline");
  expect((await server.visit("/")).status).toBe(503);
  await client.log.logged("offline; trying again", 2);

  // What was held dies; what is dialled from now on passes.
  const old = [...relay.connections];
  relay.mode = "pass";
  for (const connection of old) connection.cut();
  await client.online(2);
  expect((await server.visit("/")).status).toBe(200);
});

test("a partition that heals before anyone gave up loses no request, and no session", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { probe: { intervalMs: 100, timeoutMs: 5_000 } } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
    tuning: { probe: { intervalMs: 100, timeoutMs: 5_000 } },
  });
  await client.online();
  relay.mode = "hold";
  const visits = Array.from({ length: 10 }, () => server.visit("/"));
  // How long the partition lasts: several probes go unanswered.
  await new Promise((resolve) => setTimeout(resolve, 300));
  relay.mode = "pass";
  expect((await Promise.all(visits)).map(({ status }) => status)).toEqual(Array(10).fill(200));
  expect(client.log.lines.filter(({ message }) => message === "online")).toHaveLength(1);
});

test("only the client notices a dead connection: its new session takes the place of the old one", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer();
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
    tuning: { probe: PROBE },
  });
  await client.online();
  for (const connection of relay.connections) connection.hold();
  await client.online(2);
  // The server still believed in the old one.
  expect((await server.log.logged("client offline"))["reason"]).toMatch(/taken over/);
  expect((await server.visit("/")).status).toBe(200);
  // The word that it was replaced is held in the black hole; should it arrive, it is for a session that is gone.
  relay.mode = "pass";
  expect((await server.visit("/")).status).toBe(200);
  expect(client.log.lines.filter(({ message }) => message === "online")).toHaveLength(2);
});

test("only the server notices: the client hears of it by the end of the connection, and is back", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { probe: PROBE } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  relay.mode = "hold";
  await server.log.logged("client offline");
  relay.mode = "pass";
  await client.online(2);
  expect((await server.visit("/")).status).toBe(200);
});

test("one of four connections dies: its streams alone end, and it is dialled again", async () => {
  const waiting: ServerResponse[] = [];
  await using web = await startLocalWeb((request, response) => {
    if (request.url === "/quick") response.end("quick");
    else waiting.push(response.writeHead(200, { "Content-Length": BODY.length }));
    if (request.url !== "/quick") response.write(BODY.slice(0, 500));
  });
  await using server = await startTestServer({ tuning: { connections: 4 } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  await server.log.logged("connection opened", 4);

  // One stream on each connection, since each goes to the least loaded.
  const visitors = await Promise.all(
    [0, 1, 2, 3].map(async () => {
      const visitor = await RawVisitor.connect(server.httpPort);
      visitor.send("GET /slow HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
      expect((await visitor.head()).status).toBe(200);
      return visitor;
    }),
  );
  // First looks of the dial have come and gone; those that carry streams are the ones with the most bytes.
  const carrying = [...relay.connections].sort((a, b) => b.bytes - a.bytes).slice(0, 4);
  carrying[0]!.cut();
  const cut = await Promise.race(visitors.map((visitor) => visitor.ended.then(() => visitor)));
  await server.log.logged("connection opened", 5);
  const quick = await Promise.all(Array.from({ length: 8 }, () => server.visit("/quick")));
  expect(quick.map(({ status }) => status)).toEqual(Array(8).fill(200));

  for (const response of waiting) response.end(BODY.slice(500));
  for (const visitor of visitors.filter((visitor) => visitor !== cut)) {
    expect((await visitor.bytes(BODY.length)).toString()).toBe(BODY);
  }
  expect(cut.unread).toBe(BODY.slice(0, 500));
  for (const visitor of visitors) visitor.close();
  expect(client.log.lines.filter(({ message }) => message === "online")).toHaveLength(1);
  expect(server.log.lines.filter(({ message }) => message === "client offline")).toEqual([]);
});

test("one of four connections falls into a black hole: visitors on the others are answered, and it is replaced", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { connections: 4, probe: PROBE } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
    tuning: { probe: PROBE },
  });
  await client.online();
  await server.log.logged("connection opened", 4);
  const carrying = [...relay.connections].sort((a, b) => b.bytes - a.bytes);
  carrying[0]!.hold();
  const answers = await Promise.all(Array.from({ length: 12 }, () => server.visit("/")));
  const statuses = answers.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(9);
  expect(statuses.filter((status) => status !== 200 && status !== 502)).toEqual([]);
  await server.log.logged("connection opened", 5);
  expect((await server.visit("/")).status).toBe(200);
  expect(client.log.lines.filter(({ message }) => message === "online")).toHaveLength(1);
});

test("resets under load, five in a row: no visitor hangs, and service returns", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { connections: 2 } });
  await using relay = await Relay.to(server.grpcPort);
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  const stop = new AbortController();
  const statuses: number[] = [];
  const load = Array.from({ length: 8 }, async () => {
    while (!stop.signal.aborted) statuses.push((await server.visit("/")).status);
  });
  for (let i = 0; i < 5; i++) {
    const served = statuses.filter((status) => status === 200).length;
    while (statuses.filter((status) => status === 200).length < served + 5) await server.visit("/");
    relay.cut();
  }
  stop.abort();
  await Promise.all(load);
  expect(statuses.filter((status) => ![200, 502, 503].includes(status))).toEqual([]);
  await client.online(2);
});

test("a long way between the two costs one round trip a request", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer();
  await using relay = await Relay.to(server.grpcPort, { delayMs: 150 });
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  const startMs = performance.now();
  expect((await server.visit("/")).status).toBe(200);
  const tookMs = performance.now() - startMs;
  expect(tookMs).toBeGreaterThanOrEqual(300);
  expect(tookMs).toBeLessThan(600);
});

test("a client that is frozen: visitors are answered meanwhile, and once thawed it serves again", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tuning: { probe: PROBE } });
  const token = await server.addKey();
  const args = ["http", String(web.port), "--subdomain", "app"];
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);
  await client.logged("serving");
  expect((await server.visit("/")).status).toBe(200);
  client.kill("SIGSTOP");
  expect((await server.visit("/")).status).toBe(502);
  expect((await server.visit("/")).status).toBe(503);
  client.kill("SIGCONT");
  await client.logged("online", 2);
  expect((await server.visit("/")).status).toBe(200);
});

test("a server that is reached through a path which refuses for a while is reached in the end", async () => {
  await using server = await startTestServer();
  await using relay = await Relay.to(server.grpcPort);
  relay.mode = "refuse";
  await using client = startTestClient(await server.addKey(), {
    port: relay.port,
    tunnels: [http(1, "app")],
  });
  await client.log.logged("offline; trying again", 2);
  relay.mode = "pass";
  await client.online();
  expect((await server.visit("/")).status).toBe(502);
});

import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { startLocalWeb, type LocalWeb } from "../support/local-web.ts";
import { CLIENT, createKeyByCommand, SERVER, startProgram, type Program } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { Relay } from "../support/relay.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { request, type Answer } from "../support/world.ts";

/** Modules are read a hundred at a time when a program starts. */
const DESCRIPTORS = 256;
const VISITORS = DESCRIPTORS + 100;
const HELD = "GET /held HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

let web: LocalWeb;
let server: Program;
let httpPort: number;
let grpcPort: number;
let relay: Relay;
let client: Program;
/** Answers that are not complete yet. */
let held: ServerResponse[];

/** @param scarce the program that may open no more than `DESCRIPTORS` */
async function start(scarce: "server" | "client"): Promise<void> {
  held = [];
  web = await startLocalWeb((incoming, response) => {
    if (incoming.url === "/") response.end("served");
    else held.push(response);
    if (incoming.url === "/begun") response.writeHead(200, { "Content-Length": 9 }).write("some");
  });
  const directory = await temporaryDirectory();
  const limit = ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$@"`, "sh"];
  server = startProgram(
    SERVER,
    [`--data-dir=${directory}`, "--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"],
    { through: scarce === "server" ? limit : [] },
  );
  const listening = await server.logged("listening");
  httpPort = portOf(listening["http"]);
  grpcPort = portOf(listening["grpc"]);
  relay = await Relay.to(grpcPort);
  const token = await createKeyByCommand(directory, relay.port);
  client = startProgram(
    CLIENT,
    ["http", String(web.port), "--subdomain=app", `--key=${token}`, `--data-dir=${directory}/client`],
    { through: scarce === "client" ? limit : [] },
  );
  await client.logged("serving");
}
afterEach(async () => {
  for (const part of [client, relay, server, web]) await part[Symbol.asyncDispose]();
});

test(
  "descriptors run out on the server: who is there is served on, further visitors are turned away, one line says so, and it recovers",
  { timeout: 60_000 },
  async () => {
    await start("server");
    const reader = await RawVisitor.connect(httpPort);
    reader.send("GET /begun HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await reader.head();
    await reader.bytes("some".length);

    let turnedAway = 0;
    const visitors = await Promise.all(
      Array.from({ length: VISITORS }, async () => {
        const visitor = await RawVisitor.connect(httpPort);
        void visitor.ended.then(() => turnedAway++);
        const answer = visitor.send(HELD).answer();
        return { visitor, status: answer.then(({ status }) => status).catch(() => undefined) };
      }),
    );
    // The reader's is held too.
    await vi.waitFor(() => expect(held.length - 1 + turnedAway).toBe(VISITORS), { timeout: 10_000 });
    expect(held.length).toBeGreaterThan(100);
    expect(held.length).toBeLessThan(DESCRIPTORS);
    for (let i = 0; i < 10; i++) connect(grpcPort, "127.0.0.1").on("error", () => {});

    held[0]!.end("bytes");
    expect((await reader.bytes("bytes".length)).toString()).toBe("bytes");
    for (const response of held.slice(1)) response.end("served");
    const statuses = await Promise.all(visitors.map(({ status }) => status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(held.length - 1);

    // They are idle now, and make room.
    expect((await visit()).status).toBe(200);
    for (const { visitor } of visitors) visitor.close();
    reader.close();
    await vi.waitFor(async () => expect((await visit()).status).toBe(200), { timeout: 5_000 });
    expect(messages(client, "warn")).toEqual([]);
    expect(messages(server, "info")).not.toContain("client offline");
    expect(messages(server, "warn")).toEqual([
      expect.stringContaining("may open far fewer files than limits.connections"),
      expect.stringContaining("descriptors are short"),
    ]);
  },
);

test(
  "descriptors run out on the client: visitors beyond get 502, those before are answered, and it recovers",
  { timeout: 60_000 },
  async () => {
    await start("client");
    const visits = Array.from({ length: VISITORS }, () => visit("/held"));
    const refused = await Promise.race(visits);
    expect(refused.status).toBe(502);
    await vi.waitFor(() => expect(messages(client, "warn").length + held.length).toBe(VISITORS), {
      timeout: 10_000,
    });
    for (const response of held) response.end("served");
    const statuses = (await Promise.all(visits)).map(({ status }) => status);
    expect(held.length).toBeGreaterThan(100);
    expect(statuses.filter((status) => status === 200)).toHaveLength(held.length);
    expect(statuses.filter((status) => status === 502)).toHaveLength(VISITORS - held.length);
    expect((await visit()).status).toBe(200);
    expect(messages(server, "info")).not.toContain("client offline");
  },
);

const skipped =
  process.platform === "linux" && hasProgram("prlimit") ? "" : " (skipped: no prlimit, which is of Linux)";

test.skipIf(skipped !== "")(
  `a client that is cut off and has no descriptor to dial with keeps trying, and is back once it has some${skipped}`,
  { timeout: 60_000 },
  async () => {
    await start("client");
    const setLimit = (count: number): void =>
      void execFileSync("prlimit", ["--pid", String(client.pid), `--nofile=${count}:`]);
    // Fewer than it has open: what the cut frees does not help.
    setLimit(readdirSync(`/proc/${client.pid}/fd`).length >> 1);
    relay.cut();
    expect(await client.logged("offline; trying again", 2)).toMatchObject({ code: "unreachable" });
    setLimit(DESCRIPTORS);
    await client.logged("online", 2);
    expect((await visit()).status).toBe(200);
  },
);

function visit(path = "/"): Promise<Answer> {
  return request(httpPort, path);
}

function messages(program: Program, level: string): string[] {
  return program.lines.filter((line) => line.level === level).map(({ message }) => message);
}

function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}

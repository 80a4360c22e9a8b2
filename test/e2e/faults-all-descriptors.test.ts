import { readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Crowd } from "../support/crowd.ts";
import { type LocalWeb, startLocalWeb } from "../support/local-web.ts";
import {
  createKeyByCommand,
  type Program,
  runProgram,
  SERVER,
  startClientProcess,
  startProgram,
} from "../support/processes.ts";
import { RawBackend } from "../support/raw-backend.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { request } from "../support/world.ts";
import { hello, serverNames, vector } from "../server/edge/tcp/made-hello.ts";

const DESCRIPTORS = 300;
const HELLO = Buffer.concat([
  Buffer.from([22, 3, 1]),
  vector(2, hello(Buffer.concat([serverNames("tls.localhost")]))),
]);
const SHORT = "descriptors are short";
/** How long an honest visitor or client may take on a busy machine. */
const SECONDS_MS = 30_000;

let directory: Awaited<ReturnType<typeof lastingDirectory>>;
let web: LocalWeb;
let greeter: RawBackend;
let server: Program;
let client: Program;
let ports: { http: number; tls: number; grpc: number; tcp: number };
const crowds: Crowd[] = [];

beforeAll(async () => {
  directory = await lastingDirectory();
  web = await startLocalWeb((incoming, response) => {
    if (incoming.url !== "/held") response.end("served");
  });
  greeter = await RawBackend.start(async (connection) => {
    await connection.send("hello");
    await connection.untilEnded();
    connection.end();
  });
  const config = join(directory.path, "server.yaml");
  await writeFile(
    config,
    JSON.stringify({
      http: { listen: "127.0.0.1:0", domain: "localhost" },
      grpc: { listen: "127.0.0.1:0" },
      tls: { listen: "127.0.0.1:0" },
      tcp: { listen: "127.0.0.1" },
    }),
  );
  server = startProgram(SERVER, ["--data-dir", directory.path, "--config", config], {
    through: ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$@"`, "sh"],
  });
  const { http, tls, grpc } = await server.logged("listening");
  ports = { http: portOf(http), tls: portOf(tls), grpc: portOf(grpc), tcp: 0 };
  const greeting = String(greeter.target.port);
  client = await startClient("steady", [
    { name: "app", type: "http", subdomain: "app", target: String(web.port) },
    { name: "bytes", type: "tcp", target: greeting },
    { name: "tls", type: "tls", hostname: "tls.localhost", target: greeting },
  ]);
  await client.logged("serving", 3);
  ports.tcp = portOf(client.lines.find(({ tunnel }) => tunnel === "bytes")!["url"]);
});
afterAll(async () => {
  for (const crowd of crowds) crowd[Symbol.dispose]();
  for (const part of [client, server, greeter, web, directory]) await part[Symbol.asyncDispose]();
});

test(
  "all descriptors asked for at once: clients and honest visitors get in, keys are read, one warning, and all is given back",
  { timeout: 240_000 },
  async () => {
    expect((await visit("app")).text).toBe("served");
    const restingCount = openFiles();
    await using hog = await startClient("greedy", tcpTunnels(40));
    await hog.logged("serving", 40);
    const floodedAt = performance.now();
    for (const last of [2, 3, 4]) flood(50, last, ports.grpc);
    for (const last of [5, 6])
      flood(50, last, ports.http, "GET /held HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    flood(50, 7, ports.http);
    for (const last of [8, 9]) flood(50, last, ports.tcp);
    flood(50, 10, ports.tls, HELLO.subarray(0, 20));
    flood(50, 11, ports.tls, HELLO);
    // Each port has turned more away than it could take.
    await vi.waitFor(() => expect(Math.min(...turnedAway().values())).toBeGreaterThan(50), {
      timeout: 30_000,
    });

    await using other = await startClient("greedier", tcpTunnels(40));
    expect(await other.logged("offline; trying again")).toMatchObject({ code: "overloaded" });

    for (let round = 0; round < 3; round++) {
      expect((await within(visit("app"))).text).toBe("served");
      expect(await within(greeting(ports.tcp))).toBe("hello");
      expect(await within(greeting(ports.tls, HELLO))).toBe("hello");
      expect(openFiles()).toBeLessThan(DESCRIPTORS);
    }

    await using newcomer = await startClient("late", [webTunnel("late")]);
    await within(newcomer.logged("serving"));
    expect((await within(visit("late"))).text).toBe("served");
    await using latest = await startClient("latest", [webTunnel("latest")]);
    await within(latest.logged("serving"));
    await runProgram(SERVER, ["key", "revoke", "latest", "--data-dir", directory.path]);
    expect(await within(latest.exited)).toMatchObject({ code: 3 });

    for (const crowd of crowds) crowd[Symbol.dispose]();
    for (const each of [hog, other, newcomer]) each.kill("SIGKILL");
    // Ports close some seconds after their client has gone.
    await vi.waitFor(() => expect(openFiles()).toBeLessThanOrEqual(restingCount), { timeout: 30_000 });
    expect((await visit("app")).text).toBe("served");
    const short = server.lines.filter(({ message }) => message.startsWith(SHORT));
    // One a minute, as long as it lasts.
    expect(short.length).toBeGreaterThan(0);
    expect(short.length).toBeLessThanOrEqual(1 + (performance.now() - floodedAt) / 60_000);
    expect(short[0]).toMatchObject({ descriptors: DESCRIPTORS });
    const others = server.lines.filter(
      ({ level, message }) => level !== "info" && !message.startsWith(SHORT),
    );
    expect(others.map(({ message }) => message)).toEqual([
      expect.stringContaining("may open far fewer files than limits.connections"),
      "client refused",
    ]);
    expect(client.lines.filter(({ message }) => message === "online")).toHaveLength(1);
  },
);

/** A client with a key of its own. */
async function startClient(name: string, tunnels: object[]): Promise<Program> {
  const token = await createKeyByCommand(directory.path, ports.grpc, ["--name", name]);
  const dataDir = join(directory.path, name);
  const file = join(directory.path, `${name}.yaml`);
  await writeFile(file, JSON.stringify({ tunnels }));
  return startClientProcess({ token, dataDir, tls: true }, ["--config", file]);
}

function webTunnel(subdomain: string): object {
  return { type: "http", subdomain, target: String(web.port) };
}

/** As many, each at any free port. */
function tcpTunnels(count: number): object[] {
  return Array.from({ length: count }, (_, i) => ({ name: `p${i}`, type: "tcp", target: `${1000 + i}` }));
}

function flood(count: number, last: number, port: number, says: string | Buffer = ""): void {
  crowds.push(new Crowd(count, { port, localAddress: `127.0.0.${last}`, says }));
}

function turnedAway(): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { port, turnedAway } of crowds) counts.set(port, (counts.get(port) ?? 0) + turnedAway);
  return counts;
}

function visit(subdomain: string) {
  return request(ports.http, "/", { host: `${subdomain}.localhost` });
}

/** What a visitor reads first. */
async function greeting(port: number, says?: Buffer): Promise<string> {
  const visitor = await RawVisitor.connect(port);
  if (says) visitor.send(says);
  const text = (await visitor.bytes("hello".length)).toString();
  visitor.close();
  return text;
}

function openFiles(): number {
  return readdirSync(`/proc/${server.pid}/fd`).length;
}

async function within<T>(promise: Promise<T>): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      promise,
      sleep(SECONDS_MS, undefined, { signal: late.signal }).then(() => {
        throw new Error(`nothing within ${SECONDS_MS} ms`);
      }),
    ]);
  } finally {
    late.abort();
  }
}

function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}

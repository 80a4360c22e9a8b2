import type { ServerResponse } from "node:http";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import {
  createKeyByCommand,
  ownLoopbackAddress,
  startClientProcess,
  startServerProcess,
} from "../support/processes.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { request } from "../support/world.ts";

/** A data directory, an address and ports that survive the server, and the key of a client. */
async function place() {
  const directory = await lastingDirectory();
  const address = ownLoopbackAddress();
  const first = await startServerProcess(directory.path, listen(address, 0, 0));
  const { httpPort, grpcPort } = first;
  const token = await createKeyByCommand(directory.path, grpcPort, [
    "--public-address",
    `${address}:${grpcPort}`,
  ]);
  return {
    first,
    token,
    address,
    httpPort,
    start: () => startServerProcess(directory.path, listen(address, httpPort, grpcPort)),
    dataDir: directory.path,
    createKey: (name: string) =>
      createKeyByCommand(directory.path, grpcPort, [
        "--public-address",
        `${address}:${grpcPort}`,
        "--name",
        name,
      ]),
    startClient: (port: number, key = token, dataDir = "client") =>
      startClientProcess({ token: key, dataDir: `${directory.path}/${dataDir}`, tls: true }, [
        "http",
        String(port),
        "--subdomain",
        "app",
      ]),
    visit: (path: string) => request(httpPort, path, { address }),
    [Symbol.asyncDispose]: async () => {
      await first[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

function listen(address: string, httpPort: number, grpcPort: number): string[] {
  return ["--http-listen", `${address}:${httpPort}`, "--grpc-listen", `${address}:${grpcPort}`];
}

test("a client that is started before its server keeps trying, and is served once the server is there", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using world = await place();
  await world.first[Symbol.asyncDispose]();

  await using client = world.startClient(web.port);
  const { server } = await client.logged("connecting");
  const [first, again] = [
    await client.logged("offline; trying again"),
    await client.logged("offline; trying again", 2),
  ];
  expect(first).toMatchObject({
    code: "unreachable",
    reason: expect.stringContaining(`${String(server)} refuses`) as unknown,
    retrySeconds: expect.any(Number) as unknown,
  });
  // Said once.
  expect(again).toMatchObject({ code: "unreachable", retrySeconds: expect.any(Number) as unknown });
  expect(again).not.toHaveProperty("reason");
  await using _server = await world.start();
  await client.logged("serving");
  expect((await world.visit("/")).text).toBe("served");
});

test("a server that is killed and restarted three times has its client back each time", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using world = await place();
  await using client = world.startClient(web.port);
  await client.logged("serving");
  let server = world.first;
  for (let round = 1; round <= 3; round++) {
    server.kill("SIGKILL");
    await server.exited;
    server = await world.start();
    await client.logged("serving", round + 1);
    expect((await world.visit("/")).text).toBe("served");
  }
  expect(client.child.exitCode).toBeNull();
  expect(client.output()).not.toContain(world.token);
  await server[Symbol.asyncDispose]();
});

test("a server that is told to stop lets a request finish, tells its client, and has it back when it returns", async () => {
  const { promise: waiting, resolve: asked } = latch();
  let slowResponse: ServerResponse | undefined;
  await using web = await startLocalWeb((request, response) => {
    if (request.url === "/slow") {
      slowResponse = response;
      asked();
    } else {
      response.end("served");
    }
  });
  await using world = await place();
  await using client = world.startClient(web.port);
  await client.logged("serving");
  const slow = world.visit("/slow");
  await waiting;

  world.first.kill("SIGTERM");
  await client.logged("the server is about to stop; open requests may finish");
  await expect(world.visit("/")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  slowResponse!.end("finished");
  expect(await slow).toMatchObject({ status: 200, text: "finished" });
  expect(await world.first.exited).toEqual({ code: 0, signal: null });
  await world.first.logged("stopped");

  await client.logged("offline; trying again");
  await using _server = await world.start();
  await client.logged("serving", 2);
  expect((await world.visit("/")).text).toBe("served");
});

test("a second signal ends the server at once, requests or not", async () => {
  const { promise: waiting, resolve: asked } = latch();
  await using web = await startLocalWeb(() => asked());
  await using world = await place();
  await using client = world.startClient(web.port);
  await client.logged("serving");
  const visit = world.visit("/").catch((error: NodeJS.ErrnoException) => error.code);
  await waiting;
  world.first.kill("SIGTERM");
  await client.logged("the server is about to stop; open requests may finish");
  world.first.kill("SIGINT");
  expect(await world.first.exited).toEqual({ code: 0, signal: null });
  expect(await visit).toBe("ECONNRESET");
});

test.each(["SIGKILL", "SIGTERM"] as const)(
  "a name stays its owner's over a restart by %s, though another key asks for it first",
  async (signal) => {
    await using web = await startLocalWeb(saying("the owner's"));
    await using other = await startLocalWeb(saying("the other's"));
    await using world = await place();
    const stranger = await world.createKey("stranger");
    await using owner = world.startClient(web.port);
    await owner.logged("serving");
    if (signal === "SIGKILL") await untilSaved(world.dataDir, "app.localhost");
    // It is away while the server restarts.
    owner.kill("SIGKILL");
    await owner.exited;
    world.first.kill(signal);
    await world.first.exited;

    await using _server = await world.start();
    await using thief = world.startClient(other.port, stranger, "thief");
    const refusal = await thief.logged("offline; trying again");
    expect(refusal).toMatchObject({
      code: "name_taken",
      reason: expect.stringContaining("app.localhost is taken by another key") as unknown,
    });
    await using back = world.startClient(web.port);
    await back.logged("serving");
    expect((await world.visit("/")).text).toBe("the owner's");
    // It keeps trying.
    await thief.logged("offline; trying again", 2);
    expect(thief.child.exitCode).toBeNull();
    const { mode } = await stat(join(world.dataDir, "reservations.json"));
    expect(mode & 0o777).toBe(0o600);
  },
  // Seven programs start one after the other.
  120_000,
);

test("a damaged reservations.json is one warning, and the server starts", async () => {
  await using world = await place();
  world.first.kill("SIGTERM");
  await world.first.exited;
  await writeFile(join(world.dataDir, "reservations.json"), '{"version":1,"last_ports":[');
  await using server = await world.start();
  const warnings = server.lines.filter(
    ({ level, message }) => level === "warn" && /reservations/.test(message),
  );
  expect(warnings).toMatchObject([
    { message: expect.stringContaining("reservations.json is not usable") as unknown },
  ]);
});

/** The server has written to its file that this name is held. */
async function untilSaved(dataDir: string, name: string): Promise<void> {
  const file = join(dataDir, "reservations.json");
  await vi.waitFor(async () => expect(await readFile(file, "utf8")).toContain(name), { timeout: 20_000 });
}

function latch(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

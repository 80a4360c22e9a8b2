import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  createKeyByCommand,
  ownLoopbackAddress,
  runProgram,
  type RunningServer,
  SERVER,
  startClientProcess,
  startServerProcess,
} from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** Local services that say their port and what they hear first. */
async function startServices(ports: number[]): Promise<string> {
  const host = ownLoopbackAddress();
  for (const port of ports) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (data) => socket.write(`${port} heard ${data.toString()}`));
    });
    server.listen(port, host);
    onTestFinished(() => void server.close());
    await once(server, "listening");
  }
  return host;
}

async function startServer(
  config: string,
): Promise<{ server: RunningServer; file: string; dataDir: string }> {
  const dataDir = await temporaryDirectory();
  const file = join(dataDir, "config.yaml");
  await writeFile(
    file,
    `http: { listen: "127.0.0.1:0" }\ngrpc: { listen: "127.0.0.1:0", tls: off }\n${config}`,
    {
      mode: 0o600,
    },
  );
  const server = await startServerProcess(dataDir, ["--config", file]);
  return { server, file, dataDir };
}

/** What a visitor hears who says something; undefined if the connection ends without a word. */
async function visit(host: string, port: number, words = "hello"): Promise<string | undefined> {
  const socket = connect({ host, port });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => {});
  socket.write(words);
  return await new Promise((resolve) => {
    socket.once("data", (data) => resolve(data.toString()));
    socket.once("close", () => resolve(undefined));
  });
}

test("a key of the config serves its ports by itself, each to its own target and within the tunnel's options", async () => {
  const host = ownLoopbackAddress();
  const target = await startServices([6000, 6001, 6002, 7000, 7001]);
  const { server, file, dataDir } = await startServer(`tcp: { listen: ${host} }
keys:
  - name: home
    secret: ${"s".repeat(22)}
    tunnels:
      - { name: range, type: tcp, ports: 8000-8002, target: "${target}:6000-6002" }
      - { name: told, type: tcp, port: 9000, target: "${target}:7000", proxy_protocol: v1 }
      - { name: narrow, type: tcp, port: 9001, target: "${target}:7001", connections: 1 }
`);
  await using _server = server;
  const { output } = await runProgram(SERVER, [
    "key",
    "show",
    "home",
    "--json",
    "--config",
    file,
    "--data-dir",
    dataDir,
    "--public-address",
    `127.0.0.1:${server.grpcPort}`,
  ]);
  const { key: token } = JSON.parse(output) as { key: string };
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, []);
  await client.logged("serving", 3);

  expect(await Promise.all([8000, 8001, 8002].map((port) => visit(host, port)))).toEqual([
    "6000 heard hello",
    "6001 heard hello",
    "6002 heard hello",
  ]);
  expect(await visit(host, 9000)).toMatch(/^7000 heard PROXY TCP4 127\.0\.0\.1 /);
  expect(await visit(host, 9001)).toBe("7001 heard hello");
  // The first one is still there.
  expect(await visit(host, 9001)).toBeUndefined();
});

test("a key made by command serves its ports, and of the free ones none that is written to a key", async () => {
  const host = ownLoopbackAddress();
  const target = await startServices([2022]);
  const { server, file, dataDir } = await startServer(`tcp: { listen: ${host}, ports: 2300-2301 }\n`);
  await using _server = server;
  const create = (...args: string[]) =>
    createKeyByCommand(dataDir, server.grpcPort, ["--config", file, ...args]);
  const mapped = await create(
    "--name",
    "mapped",
    "--port",
    "2300",
    "--tunnel",
    `ssh=tcp:${target}:2022@2222`,
    "--tunnel",
    `any=tcp:${target}:2022`,
  );
  await using client = startClientProcess({ token: mapped, dataDir: await temporaryDirectory() }, []);
  const urls = [await client.logged("serving"), await client.logged("serving", 2)].map(({ url }) =>
    String(url),
  );
  // 2300 is to be asked for by number; of the free ones 2301 is left.
  expect(urls).toEqual(["tcp://localhost:2222", "tcp://localhost:2301"]);
  for (const port of [2222, 2301]) expect(await visit(host, port)).toBe("2022 heard hello");
});

import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type ListenOptions, type Socket } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CLIENT, type Program, runProgram, startClientProcess } from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startTestServer } from "../support/tunnel-ends.ts";

/** A local service that greets with its name, says what it hears, and ends when its visitor does. */
async function startEcho(name: string, where: ListenOptions): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(`${name}: `);
    socket.pipe(socket);
  });
  server.listen(where);
  await once(server, "listening");
  return {
    port: (server.address() as Partial<AddressInfo>).port ?? 0,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

/** Two of them at neighbouring ports. */
async function startNeighbours(): Promise<AsyncDisposable & { port: number }> {
  for (;;) {
    const first = await startEcho("first", { host: "127.0.0.1", port: 0 });
    try {
      const second = await startEcho("second", { host: "127.0.0.1", port: first.port + 1 });
      return {
        port: first.port,
        async [Symbol.asyncDispose]() {
          await first[Symbol.asyncDispose]();
          await second[Symbol.asyncDispose]();
        },
      };
    } catch {
      await first[Symbol.asyncDispose]();
    }
  }
}

/** What a visitor of a port hears who says this and is done. */
async function hear(port: number, said: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  socket.end(said);
  let heard = "";
  for await (const chunk of socket) heard += String(chunk);
  return heard;
}

/** What the client says that it serves; the port is the first of the url's. */
async function served(client: Program, count = 1): Promise<{ url: string; target: string; port: number }> {
  const { url, target } = (await client.logged("serving", count)) as unknown as Record<
    "url" | "target",
    string
  >;
  return { url, target, port: Number(/:(\d+)(?:-\d+)?$/.exec(url)?.[1]) };
}

test("`tcp PORT` serves it at a free port, and at the same one the next time", async () => {
  await using echo = await startEcho("service", { host: "127.0.0.1", port: 0 });
  await using server = await startTestServer();
  const ends = { token: await server.addKey(), dataDir: await temporaryDirectory() };
  const args = ["tcp", String(echo.port)];
  const ports: number[] = [];
  for (let i = 0; i < 2; i++) {
    await using client = startClientProcess(ends, args);
    const { url, target, port } = await served(client);
    expect(url).toBe(`tcp://localhost:${port}`);
    expect(target).toBe(`localhost:${echo.port}`);
    expect(await hear(port, "hello")).toBe("service: hello");
    ports.push(port);
    client.kill("SIGTERM");
    expect((await client.exited).code).toBe(0);
  }
  expect(ports[1]).toBe(ports[0]);
  expect(ports[0]).toBeGreaterThanOrEqual(20_000);
});

test("`tcp FROM-TO` serves as many ports in a row, by number with --port, each at its own", async () => {
  await using neighbours = await startNeighbours();
  await using server = await startTestServer();
  const ends = { token: await server.addKey(), dataDir: await temporaryDirectory() };
  const range = `${neighbours.port}-${neighbours.port + 1}`;

  const client = startClientProcess(ends, ["tcp", range]);
  const { url, target, port } = await served(client);
  expect(url).toBe(`tcp://localhost:${port}-${port + 1}`);
  expect(target).toBe(`localhost:${range}`);
  expect(await hear(port, "a")).toBe("first: a");
  expect(await hear(port + 1, "b")).toBe("second: b");
  client.kill("SIGTERM");
  await client.exited;

  // A target with one port names the first.
  for (const text of [range, String(neighbours.port)]) {
    await using again = startClientProcess(ends, ["tcp", text, "--port", `${port}-${port + 1}`]);
    expect(await served(again)).toEqual({ url, target, port });
    expect(await hear(port + 1, "c")).toBe("second: c");
  }
});

test("`tcp unix:PATH --proxy-protocol v1` tells the service at a UNIX socket who visits", async () => {
  const dataDir = await temporaryDirectory();
  const path = join(dataDir, "service.sock");
  await using _ = await startEcho("service", { path });
  await using server = await startTestServer();
  const args = ["tcp", `unix:${path}`, "--proxy-protocol", "v1", "--name", "greeter"];
  await using client = startClientProcess({ token: await server.addKey(), dataDir }, args);
  const { target, port } = await served(client);
  expect(target).toBe(`unix:${path}`);
  expect(client.lines.find(({ message }) => message === "serving")).toMatchObject({ tunnel: "greeter" });
  expect(await hear(port, "hello")).toMatch(
    new RegExp(`^service: PROXY TCP4 127\\.0\\.0\\.1 127\\.0\\.0\\.1 \\d+ ${port}\r\nhello$`),
  );
});

test("`udp TARGET` asks for ports of UDP", async () => {
  await using server = await startTestServer();
  const ends = { token: await server.addKey(), dataDir: await temporaryDirectory() };
  await using client = startClientProcess(ends, ["udp", "10.0.0.1:27015-27017"]);
  const { url, target, port } = await served(client);
  expect(url).toBe(`udp://localhost:${port}-${port + 2}`);
  expect(target).toBe("10.0.0.1:27015-27017");
});

test("`tls TARGET` asks for a hostname, which a server without tls.listen refuses", async () => {
  await using server = await startTestServer();
  const ends = { token: await server.addKey(), dataDir: await temporaryDirectory() };
  await using client = startClientProcess(ends, ["tls", "443"]);
  expect((await client.exited).code).toBe(4);
  expect(client.output()).toContain("This server takes no TLS visitors");
});

test("a port outside the key's rights is refused, with the reason", async () => {
  await using server = await startTestServer();
  const ends = { token: await server.addKey(), dataDir: await temporaryDirectory() };
  await using client = startClientProcess(ends, ["tcp", "22", "--port", "2222"]);
  expect((await client.exited).code).toBe(4);
  expect(client.output()).toContain("This key may not use the TCP port 2222.");
});

test("a client.yaml serves tunnels of several kinds at once", async () => {
  await using echo = await startEcho("service", { host: "127.0.0.1", port: 0 });
  await using server = await startTestServer();
  const dataDir = await temporaryDirectory();
  const file = join(dataDir, "client.yaml");
  await writeFile(
    file,
    `plaintext: true
tunnels:
  - { name: web, type: http, target: ${echo.port}, subdomain: web }
  - { name: ssh, type: tcp, target: "localhost:${echo.port}" }
  - { name: game, type: udp, target: 27015-27016 }
`,
  );
  const token = await server.addKey();
  await using client = startClientProcess({ token, dataDir }, ["--config", file]);
  const web = await served(client);
  const ssh = await served(client, 2);
  const game = await served(client, 3);
  expect(web).toMatchObject({
    url: `http://web.localhost:${server.httpPort}/`,
    target: `localhost:${echo.port}`,
  });
  expect(ssh).toMatchObject({ url: `tcp://localhost:${ssh.port}`, target: `localhost:${echo.port}` });
  expect(game).toMatchObject({
    url: `udp://localhost:${game.port}-${game.port + 1}`,
    target: "localhost:27015-27016",
  });
  expect(await hear(ssh.port, "hello")).toBe("service: hello");
});

test("the help of every command fits a terminal of 80 columns", async () => {
  for (const command of [[], ["http"], ["tcp"], ["udp"], ["tls"]]) {
    const { code, output } = await runProgram(CLIENT, [...command, "--help"]);
    expect(code).toBe(0);
    expect(output).toContain(`Usage: tunnel-client ${command.join("")}`);
    expect(output.split("\n").filter((line) => line.length > 80)).toEqual([]);
  }
});

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import { FEATURES } from "../../link/contract.ts";
import type { Open, Tunnel, Welcome } from "../../link/messages.ts";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { startClientProcess } from "../support/processes.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { RawServer, welcome, type RawCall } from "../support/raw-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import {
  http,
  mapped,
  startTestClient,
  startTestServer,
  type TestClient,
  type TestClientOptions,
} from "../support/tunnel-ends.ts";

const TAKES_STATES: Partial<Welcome> = { features: ["of_a_later_version", "tunnel_states"] };

/** A client of a server that is played by hand and welcomes to these tunnels. */
async function clientOf(
  tunnels: Partial<Tunnel>[],
  more: Partial<Welcome>,
  options: TestClientOptions = {},
): Promise<{ call: RawCall; client: TestClient } & AsyncDisposable> {
  const server = await RawServer.start((call) => call.say([welcome(tunnels, more)]));
  const key = { keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port: server.port };
  const client = startTestClient(encodeAccessKey(key), options);
  return {
    call: await server.call(1),
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A port at which nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

test("a reason with a target of a long hostname is cut to what the server takes", async () => {
  const label = "n".repeat(63);
  const host = `${label}.${label}.${label}.${"n".repeat(43)}.localhost`;
  await using world = await clientOf([{ id: 3, target: `${host}:${await freePort()}` }], TAKES_STATES, {
    allow: [`${host}:1-65535`],
  });
  const { tunnelStates } = await world.call.heard.message("tunnelStates");
  const { reason } = tunnelStates.tunnels[0]!;
  expect(Buffer.byteLength(reason)).toBe(256);
  expect(reason).toMatch(/^n+\..*…$/);
});

test("a server that takes it is told of each tunnel whether it is allowed, and answers", async () => {
  await using web = await startLocalWeb(saying("served"));
  const nobody = await freePort();
  const tunnels: Partial<Tunnel>[] = [
    { id: 3, target: `127.0.0.1:${web.port}` },
    { id: 5, target: `127.0.0.1:${nobody}` },
    { id: 7, target: "10.0.0.1:80" },
    { id: 9, target: "127.0.0.1:53", kind: "UDP" },
    { id: 11, target: "no target" },
  ];
  await using world = await clientOf(tunnels, TAKES_STATES);
  const { tunnelStates } = await world.call.heard.message("tunnelStates");
  expect(tunnelStates.tunnels).toEqual([
    { tunnel: 3, allowed: true, answer: "ANSWERS", reason: "" },
    {
      tunnel: 5,
      allowed: true,
      answer: "NO_ANSWER",
      reason: `127.0.0.1:${nobody} refuses connections; does the service run?`,
    },
    { tunnel: 7, allowed: false, answer: "NOT_LOOKED_AT", reason: "" },
    { tunnel: 9, allowed: true, answer: "NOT_LOOKED_AT", reason: "" },
  ]);
  expect(web.connections()).toBe(0);
});

test("what the server adds to typed tunnels is told not to be allowed", async () => {
  await using web = await startLocalWeb(saying("served"));
  const target = `127.0.0.1:${web.port}`;
  await using world = await clientOf(
    [{ request: 0, target }, { target }, { request: 1, target }],
    TAKES_STATES,
    {
      tunnels: [http(web.port, "app")],
    },
  );
  const { tunnelStates } = await world.call.heard.message("tunnelStates");
  expect(tunnelStates.tunnels.map(({ allowed }) => allowed)).toEqual([true, false, false]);
});

test("a server of before, which does not say that it takes it, is told nothing, and served", async () => {
  const nobody = await freePort();
  await using world = await clientOf([{ target: `127.0.0.1:${nobody}` }], {});
  await world.client.log.logged(nothingAnswersAt(nobody));
  world.call.say([{ message: "ping", ping: { id: 1 } }]);
  await world.call.heard.message("pong");
  expect(world.call.heard.all("tunnelStates")).toEqual([]);
});

test.each([
  ["a server of before, which would take it for a breach, gets a reset", [], "reset"],
  ["a server that takes it gets it as it is", ["wide_statuses"], "accept"],
] as const)("of an answer with a status of 799 %s", async (_what, features, message) => {
  const device = createServer((socket) =>
    socket.once("data", () => socket.end("HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n")),
  );
  device.listen(0, "127.0.0.1");
  await once(device, "listening");
  onTestFinished(() => void device.close());
  const { port } = device.address() as AddressInfo;
  await using world = await clientOf([{ target: `127.0.0.1:${port}` }], { features: [...features] });
  const open: Open = {
    stream: 2,
    tunnel: 1,
    kind: "HTTP",
    requestId: "r",
    visitor: "203.0.113.7:4711",
    head: Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n"),
    end: true,
  };
  await world.client.online();
  world.call.say([{ message: "open", open }]);
  const heard = await world.call.heard.message(message);
  expect(heard).toMatchObject(
    message === "reset"
      ? { reset: { stream: 2, code: "BAD_RESPONSE" } }
      : { accept: { stream: 2, head: Buffer.from("HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n") } },
  );
});

test("tunnels that the server changes are looked at again, the last of many changes alone", async () => {
  const nobody = await freePort();
  const options = { tuning: { lookPauseMs: 100 } };
  await using world = await clientOf([{ target: `127.0.0.1:${nobody}` }], TAKES_STATES, options);
  await world.call.heard.message("tunnelStates");
  world.call.say(
    Array.from({ length: 16 }, (_, id) => {
      const tunnel = { id, name: "app", kind: "HTTP" as const, url: "http://a/", target: "10.0.0.1:80" };
      return { message: "tunnels" as const, tunnels: { tunnels: [tunnel] } };
    }),
  );
  const { tunnelStates } = await world.call.heard.message("tunnelStates", 2);
  expect(tunnelStates.tunnels).toMatchObject([{ tunnel: 15, allowed: false }]);
});

test("a client of before, without features, is served", async () => {
  await using server = await startTestServer();
  using client = new RawClient(server.grpcPort);
  client.hello(await server.addKey(), { wanted: [wanted("app")] });
  expect((await client.welcomed()).features).toEqual(FEATURES);
});

test("both logs name what the client does not allow, and what does not answer", async () => {
  const nobody = await freePort();
  await using web = await startLocalWeb(saying("served"), "127.0.0.2");
  await using server = await startTestServer();
  const token = await server.addKey({
    mapped: [
      mapped("app", "app.localhost", `127.0.0.1:${nobody}`),
      mapped("nas", "nas.localhost", `127.0.0.2:${web.port}`),
      { name: "ssh", kind: "TCP", port: 0, ports: 1, target: "127.0.0.1:22" },
    ],
  });
  const args = ["--allow", "none", "--allow", `127.0.0.1:${nobody}`, "--allow", `127.0.0.2:${web.port}`];
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);

  expect(await client.logged(nothingAnswersAt(nobody))).toMatchObject({
    level: "warn",
    tunnel: "app",
    detail: `127.0.0.1:${nobody} refuses connections; does the service run?`,
  });
  expect(
    await client.logged(
      "not serving 127.0.0.1:22, which the server names and this client does not allow: its visitors are cut off. " +
        "To allow it: --allow 127.0.0.1:22",
    ),
  ).toMatchObject({ level: "warn", tunnel: "ssh" });
  expect(await server.log.logged(`nothing answers the client at 127.0.0.1:${nobody} yet`)).toMatchObject({
    level: "info",
    key: "test",
    tunnel: "app",
  });
  expect(
    await server.log.logged("the client does not allow 127.0.0.1:22: start it with --allow 127.0.0.1:22"),
  ).toMatchObject({ level: "warn", key: "test", tunnel: "ssh" });

  const serving = client.lines.filter(({ message }) => message === "serving");
  expect(serving.map(({ tunnel }) => tunnel)).toEqual(["app", "nas"]);
  expect((await server.visit("/", { host: "nas.localhost" })).text).toBe("served");
  expect((await server.visit("/")).status).toBe(502);
});

test("http PORT, as a process, dials nothing else, and its log says what the server adds", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using other = await startLocalWeb(saying("other"));
  const server = await RawServer.start((call) =>
    call.say([
      welcome(
        [
          { request: 0, target: `127.0.0.1:${web.port}` },
          { name: "added", target: `127.0.0.1:${other.port}` },
        ],
        TAKES_STATES,
      ),
    ]),
  );
  const token = encodeAccessKey({
    keyId: randomBytes(8),
    secret: randomBytes(16),
    host: "127.0.0.1",
    port: server.port,
  });
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, [
    "http",
    String(web.port),
  ]);
  await client.printed(`not serving 127.0.0.1:${other.port}, which the server names`);
  const { tunnelStates } = await (await server.call(1)).heard.message("tunnelStates");
  expect(tunnelStates.tunnels).toMatchObject([
    { tunnel: 1, allowed: true, answer: "ANSWERS" },
    { tunnel: 2, allowed: false },
  ]);
  expect(other.connections()).toBe(0);
  await server[Symbol.asyncDispose]();
});

function nothingAnswersAt(port: number): string {
  return `nothing answers at 127.0.0.1:${port} yet: its visitors get a 502 until the service runs`;
}

import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import type { WantedTunnel } from "../../client/wanted-tunnel.ts";
import { freePort } from "../../bench/free-port.ts";
import type { PortRange } from "../../link/port-range.ts";
import type { ServerTuning } from "../../server/server.ts";
import { RawBackend } from "../support/raw-backend.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { publicPort, startTcpTunnel } from "../support/tcp-tunnel.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { startTestClient, startTestServer, type TestServer } from "../support/tunnel-ends.ts";

const MINUTE_MS = 60_000;
const FREE_PORTS: PortRange = { from: 20_000, to: 29_999 };

/** A server whose keys may ask for these ports. */
function startServer(
  ports: PortRange | undefined,
  options: { tuning?: ServerTuning; dataDir?: string } = {},
): Promise<TestServer> {
  return startTestServer({
    ...options,
    config: (config) => (config.tcp = { host: "127.0.0.1", trustedProxies: [], ...(ports && { ports }) }),
  });
}

function wanted(target: { host: string; port: number }, more: Partial<WantedTunnel> = {}): WantedTunnel {
  return { kind: "TCP", target, ...more };
}

/** Says "hello" to whoever comes. */
function startGreeter(): Promise<RawBackend> {
  return RawBackend.start((connection) => connection.send("hello"));
}

async function expectServed(port: number, host?: string): Promise<void> {
  const visitor = await RawVisitor.connect(port, host);
  expect((await visitor.bytes(5)).toString()).toBe("hello");
  visitor.abort();
}

/** Another program's. */
async function takePort(): Promise<{ other: Server; port: number }> {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  return { other, port: (other.address() as AddressInfo).port };
}

function dialled(port: number): Promise<unknown> {
  return RawVisitor.connect(port).then(
    (visitor) => {
      visitor.close();
      return "taken";
    },
    ({ code }: NodeJS.ErrnoException) => code,
  );
}

test("a port that another program has is refused with the reason, in both logs, and opened once it is free", async () => {
  await using service = await startGreeter();
  const { other, port } = await takePort();
  await using server = await startServer({ from: port, to: port });
  await using client = startTestClient(await server.addKey(), {
    tunnels: [wanted(service.target, { port })],
  });
  const why = expect.stringMatching(new RegExp(`TCP port ${port} .*another program on the server has it`));
  expect(await client.log.logged("offline; trying again")).toMatchObject({ code: "port_taken", reason: why });
  expect(await server.log.logged("client refused")).toMatchObject({ code: "port_taken", reason: why });
  other.close();
  await client.online();
  await expectServed(port);
});

test("where other programs have all free ports, a client is told so until one is free", async () => {
  await using service = await startGreeter();
  const { other, port } = await takePort();
  await using server = await startServer({ from: port, to: port });
  await using client = startTestClient(await server.addKey(), { tunnels: [wanted(service.target)] });
  expect(await client.log.logged("offline; trying again")).toMatchObject({
    code: "port_taken",
    reason: expect.stringContaining("no free TCP port"),
  });
  other.close();
  expect(await publicPort(client)).toBe(port);
  await expectServed(port);
});

describe("a port is refused for good", () => {
  test.each([
    ["that the key may not use", (free: number) => ({ from: free, to: free }), /may not use the TCP port/],
    ["where the server gives none away", () => undefined, /may not use the TCP port/],
  ])("%s", async (_, range, words) => {
    const port = await freePort();
    await using server = await startServer(range(port === 65_535 ? port - 1 : port + 1));
    const client = startTestClient(await server.addKey(), {
      tunnels: [wanted({ host: "127.0.0.1", port: 1 }, { port })],
    });
    expect(await client.ended).toMatchObject({
      code: "name_refused",
      exitCode: 4,
      message: expect.stringMatching(words),
    });
    expect(await dialled(port)).toBe("ECONNREFUSED");
  });

  test("that another key's client has, and for ten minutes that it had", async () => {
    let nowMs = 0;
    await using service = await startGreeter();
    const port = await freePort();
    await using server = await startServer({ from: port, to: port }, { tuning: { now: () => nowMs } });
    const startMs = (nowMs = 11 * MINUTE_MS);
    const theirs = await server.addKey({ name: "theirs" });
    const options = { tunnels: [wanted(service.target, { port })] };
    const holder = startTestClient(await server.addKey({ name: "holder" }), options);
    await holder.online();
    const refused = { code: "name_refused", message: expect.stringContaining("taken by another key") };
    expect(await startTestClient(theirs, options).ended).toMatchObject(refused);
    await holder.client.stop(0);
    await server.log.logged("client offline");
    nowMs = startMs + 10 * MINUTE_MS;
    expect(await startTestClient(theirs, options).ended).toMatchObject(refused);
    nowMs = startMs + 10 * MINUTE_MS + 1;
    await using taker = startTestClient(theirs, options);
    await taker.online();
    await expectServed(port);
  });
});

test("a client that asks for two ports, one of which is taken, opens neither", async () => {
  const { other, port: taken } = await takePort();
  const free = await freePort();
  const target = { host: "127.0.0.1", port: 1 };
  await using server = await startServer({ from: Math.min(free, taken), to: Math.max(free, taken) });
  await using client = startTestClient(await server.addKey(), {
    tunnels: [wanted(target, { port: free }), wanted(target, { port: taken })],
  });
  await client.log.logged("offline; trying again");
  expect(await dialled(free)).toBe("ECONNREFUSED");
  other.close();
});

describe("any free port", () => {
  test("is the same again after a restart of the client, and of the server", async () => {
    await using service = await startGreeter();
    const options = { tunnels: [wanted(service.target)] };
    const ports = new Set<number>();
    await using directory = await lastingDirectory();
    let token: string | undefined;
    for (let restart = 0; restart < 2; restart++) {
      await using server = await startServer(FREE_PORTS, { dataDir: directory.path });
      token ??= await server.addKey();
      for (let i = 0; i < 2; i++) {
        await using client = startTestClient(token, { ...options, port: server.grpcPort });
        const port = await publicPort(client);
        ports.add(port);
        await expectServed(port);
        await client.client.stop(0);
      }
    }
    expect(ports.size).toBe(1);
  });

  test("is the same for a client that comes back, even if the one that it would have liked is free by then", async () => {
    await using service = await startGreeter();
    const options = { tunnels: [wanted(service.target)] };
    const liked = await portGivenFirst(options);
    const other = createServer().listen(liked, "127.0.0.1");
    await once(other, "listening");
    await using server = await startServer(FREE_PORTS);
    const token = await server.addKey();
    const client = startTestClient(token, options);
    const port = await publicPort(client);
    expect(port).not.toBe(liked);
    other.close();
    client.cut();
    await using back = startTestClient(token, options);
    expect(await publicPort(back)).toBe(port);
    await expectServed(port);
  });

  test("is another one for another client of the key, and both serve", async () => {
    await using service = await startGreeter();
    await using server = await startServer(FREE_PORTS);
    const token = await server.addKey();
    const options = { tunnels: [wanted(service.target)] };
    await using one = startTestClient(token, { ...options, clientId: "one" });
    await using two = startTestClient(token, { ...options, clientId: "two" });
    const ports = [await publicPort(one), await publicPort(two)];
    expect(new Set(ports).size).toBe(2);
    for (const port of ports) await expectServed(port);
  });
});

/** By a server of its own. */
async function portGivenFirst(options: { tunnels: WantedTunnel[] }): Promise<number> {
  await using server = await startServer(FREE_PORTS);
  await using client = startTestClient(await server.addKey(), options);
  return await publicPort(client);
}

test("a range of ports leads to a range of the target's, each to its own", async () => {
  await using row = await startRow(3);
  await using tunnel = await startTcpTunnel(row.target, { ports: 3 });
  for (const offset of [2, 0, 1]) {
    const visitor = await tunnel.visit(tunnel.port + offset);
    expect((await visitor.rest()).text).toBe(`service ${offset}`);
    visitor.close();
  }
});

/** Services on ports one behind the other, each of which says which it is. */
async function startRow(
  count: number,
): Promise<AsyncDisposable & { target: { host: string; port: number } }> {
  const [host, port] = ["127.0.0.1", await freePort()];
  const servers = Array.from({ length: count }, (_, i) =>
    createServer((socket) => socket.on("error", () => {}).end(`service ${i}`)).listen(port + i, host),
  );
  const listening = await Promise.allSettled(servers.map((server) => once(server, "listening")));
  const close = (): void => servers.forEach((server) => server.close());
  if (listening.every(({ status }) => status === "fulfilled"))
    return { target: { host, port }, [Symbol.asyncDispose]: async () => close() };
  close();
  return await startRow(count);
}

const hasIPv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);

test("where no address is said, a port is open to IPv4, and to IPv6 where there is one", async () => {
  await using service = await startGreeter();
  await using tunnel = await startTcpTunnel(service.target, { config: ({ tcp }) => void delete tcp.host });
  await expectServed(tunnel.port, "127.0.0.1");
  expect(await tunnel.visited()).toMatchObject({ visitor: expect.stringMatching(/^127\.0\.0\.1:[0-9]+$/) });
  if (!hasIPv6) return;
  await expectServed(tunnel.port, "::1");
  expect(await tunnel.visited(2)).toMatchObject({ visitor: expect.stringMatching(/^\[::1\]:[0-9]+$/) });
});

test("clients that ask for any free port have the same ones after the server has restarted, whoever comes first", async () => {
  await using service = await startGreeter();
  await using directory = await lastingDirectory();
  const from = await freePort();
  const range = { from: Math.min(from, 65_534), to: Math.min(from, 65_534) + 1 };
  const options = { dataDir: directory.path };
  const tunnels = [wanted(service.target)];
  const ports = new Map<string, number>();
  let token = "";
  {
    await using server = await startServer(range, options);
    token = await server.addKey();
    await using one = startTestClient(token, { clientId: "one", tunnels });
    ports.set("one", await publicPort(one));
    await using two = startTestClient(token, { clientId: "two", tunnels });
    ports.set("two", await publicPort(two));
  }
  // Each of them is alone with the server once, and finds both ports free to open.
  for (const [clientId, port] of ports) {
    await using server = await startServer(range, options);
    await using client = startTestClient(token, { clientId, tunnels, port: server.grpcPort });
    expect(await publicPort(client)).toBe(port);
  }
});

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { parseTarget, type Target } from "../../link/target.ts";
import { makeCertificate } from "../support/certificates.ts";
import { startWorld, type World } from "../support/world.ts";

interface Service extends AsyncDisposable {
  target: Target;
  cert: string;
}

/** A service that speaks TLS by itself, and says its name and the protocol that was agreed on. */
async function startService(name: string, protocols: string[] = []): Promise<Service> {
  const { cert, key } = await makeCertificate();
  const server: Server = createServer({ cert, key, ALPNProtocols: protocols }, (socket: TLSSocket) => {
    socket.on("error", () => {});
    socket.end(`${name} ${String(socket.alpnProtocol)}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    target: parseTarget(String((server.address() as AddressInfo).port)) as Target,
    cert,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

/** One TLS port, and a tunnel for each of the services. */
function startTls(services: Record<string, Service>, hostnames: string[] = []): Promise<World> {
  return startWorld({
    service: { host: "127.0.0.1", port: 9 },
    hostnames,
    tunnels: Object.entries(services).map(([hostname, { target }]) => ({ kind: "TLS", hostname, target })),
    config: (config) => {
      config.tls = { listen: { host: "127.0.0.1", port: 0 }, trustedProxies: [] };
    },
  });
}

/** What a visitor reads, and whose certificate it sees; rejects with what its TLS says. */
async function visit(world: World, servername: string | undefined, protocols: string[] = []) {
  const socket = connect({
    host: "127.0.0.1",
    port: world.server.tlsPort!,
    ...(servername !== undefined && { servername }),
    ALPNProtocols: protocols,
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  const cert = socket.getPeerX509Certificate()!.toString();
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return { text: Buffer.concat(chunks).toString(), cert };
}

test("hostnames share a port, and each visitor speaks TLS with the service itself", async () => {
  await using one = await startService("one", ["h2", "http/1.1"]);
  await using two = await startService("two");
  await using world = await startTls({ "one.localhost": one, "two.localhost": two });
  const first = await visit(world, "ONE.localhost", ["http/1.1"]);
  expect(first.text).toBe("one http/1.1");
  expect(first.cert.trim()).toBe(one.cert.trim());
  expect((await visit(world, "two.localhost")).text).toBe("two false");
  expect(await world.logged("server", "connection")).toMatchObject({
    kind: "tls",
    hostname: "one.localhost",
  });
});

test("a wildcard and whatever is left take the names that nobody else has; who names none gets the latter", async () => {
  await using shop = await startService("shop");
  await using rest = await startService("rest");
  await using world = await startTls({ "*.shop.test": shop, "*": rest }, ["*.shop.test", "*"]);
  expect((await visit(world, "a.shop.test")).text).toBe("shop false");
  expect((await visit(world, "elsewhere.test")).text).toBe("rest false");
  expect((await visit(world, undefined)).text).toBe("rest false");
});

test("a name that no tunnel has gets TLS's own answer to that", async () => {
  await using one = await startService("one");
  await using world = await startTls({ "one.localhost": one });
  await expect(visit(world, "two.localhost")).rejects.toMatchObject({
    code: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
  });
  await expect(visit(world, undefined)).rejects.toMatchObject({ code: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" });
});

async function raw(world: World, bytes: Buffer): Promise<Socket> {
  const socket = connectTcp({ host: "127.0.0.1", port: world.server.tlsPort!, allowHalfOpen: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.end(bytes);
  return socket;
}

test.each([
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: one.localhost\r\n\r\n"), "BAD_CLIENT_HELLO"],
  ["a hello that is cut short", Buffer.from("1603010200010001fc0303", "hex"), "CONNECTION_LOST"],
  ["nothing", Buffer.alloc(0), "CONNECTION_LOST"],
])("%s ends the connection, and the log says why", async (_, bytes, failure) => {
  await using one = await startService("one");
  await using world = await startTls({ "one.localhost": one });
  const socket = await raw(world, bytes);
  await new Promise((resolve) => socket.once("close", resolve));
  expect(await world.logged("server", "connection")).toMatchObject({ kind: "tls", failure });
  expect(world.server.streams).toBe(0);
});

test("who does not say in time whom it wants is cut off", async () => {
  await using one = await startService("one");
  await using world = await startWorld({
    service: { host: "127.0.0.1", port: 9 },
    tunnels: [{ kind: "TLS", hostname: "one.localhost", target: one.target }],
    config: (config) => {
      config.tls = { listen: { host: "127.0.0.1", port: 0 }, trustedProxies: [] };
      config.limits.headTimeoutMs = 50;
    },
  });
  const socket = connectTcp({ host: "127.0.0.1", port: world.server.tlsPort! });
  socket.on("error", () => {});
  socket.write(Buffer.from("1603010200", "hex"));
  await new Promise((resolve) => socket.once("close", resolve));
  expect(await world.logged("server", "connection")).toMatchObject({ failure: "TIMEOUT" });
});

import { expect, test, vi } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import type { TunnelRequest } from "../../../link/messages.ts";
import type { PortRange } from "../../../link/port-range.ts";
import type { Key } from "../../../server/access/key.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { publicNamesOf } from "../../../server/routing/place.ts";
import type { SessionTunnel } from "../../../server/sessions/naming.ts";
import { type Registration, Registry } from "../../../server/sessions/registry.ts";
import type { Session } from "../../../server/sessions/session.ts";
import { FakePorts, namingRules } from "../../support/naming-rules.ts";
import { recordingLog } from "../../support/world.ts";

const HOME = keyOf("home");
const OTHER = keyOf("other");
const TURN_MS = 0;

function keyOf(name: string): Key {
  return { id: name, name, hostnames: [], tunnels: [], source: "config" };
}

function registrationOf(wanted: TunnelRequest[], clientId = "client", key = HOME): Registration {
  return { key, clientId, wanted, maxConnections: 1, network: "n" };
}

function namesOf({ tunnels }: Session): string[] {
  return tunnels.flatMap(publicNamesOf);
}

function tcp(more: Partial<TunnelRequest> = {}): TunnelRequest {
  const none = { name: "", hostname: "", subdomain: "", hostHeader: "", timeoutMs: 0 };
  return { ...none, kind: "TCP", target: "127.0.0.1:22", ...more };
}

class Server {
  readonly ports: FakePorts;
  readonly registry: Registry;

  constructor({
    free,
    holdMs = TURN_MS,
    ports = new FakePorts(),
  }: { free?: PortRange; holdMs?: number; ports?: FakePorts } = {}) {
    this.ports = ports;
    this.registry = new Registry({
      rules: namingRules(free && { freePorts: () => free }),
      opener: this.ports,
      holdMs,
      log: recordingLog().log,
      limits: limitOptions.parse({}),
    });
  }

  async prepare(wanted: TunnelRequest[], clientId = "client", key = HOME): Promise<readonly SessionTunnel[]> {
    return await this.registry.prepare(registrationOf(wanted, clientId, key));
  }

  async register(wanted: TunnelRequest[], clientId = "client", key = HOME): Promise<Session> {
    const registration = registrationOf(wanted, clientId, key);
    return this.registry.register(registration, await this.registry.prepare(registration));
  }

  /** The ports of a client have closed, if they do. */
  async afterHold(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, TURN_MS + 5));
  }
}

test("ports open with a session, and close once its client has left", async () => {
  const server = new Server();
  const session = await server.register([
    tcp({ port: 20_001 }),
    tcp({ port: 20_003, ports: 2, kind: "UDP" }),
  ]);
  expect(server.ports.names).toEqual(["tcp:20001", "udp:20003", "udp:20004"]);
  session.end();
  await server.afterHold();
  expect(server.ports.names).toEqual([]);
});

test("a client that comes back takes over its open ports, and they stay open", async () => {
  const server = new Server();
  const first = await server.register([tcp({ port: 20_001 })]);
  const second = await server.register([tcp({ port: 20_001 })]);
  first.end();
  await server.afterHold();
  expect(server.ports.names).toEqual(["tcp:20001"]);
  second.end();
  await server.afterHold();
  expect(server.ports.names).toEqual([]);
});

test("a client gets the same free port each time, and two clients two", async () => {
  const server = new Server();
  const first = await server.register([tcp()]);
  const other = await server.register([tcp()], "another");
  expect(namesOf(first)).not.toEqual(namesOf(other));
  expect(first.tunnels[0]!.url).toBe(`tcp://example.com:${namesOf(first)[0]!.slice(4)}`);
  first.end();
  await server.afterHold();
  expect(namesOf(await server.register([tcp()]))).toEqual(namesOf(first));
});

test("its port is kept for a client that has left, also from clients with the same key", async () => {
  const server = new Server({ free: { from: 20_000, to: 20_001 } });
  const first = await server.register([tcp()]);
  first.end();
  const other = await server.register([tcp()], "another");
  expect(namesOf(other)).not.toEqual(namesOf(first));
  await expect(server.register([tcp()], "third")).rejects.toMatchObject({ code: "port_taken" });
  expect(namesOf(await server.register([tcp()]))).toEqual(namesOf(first));
});

test("ports with a number come first, and several are found in a row", async () => {
  const server = new Server({ free: { from: 20_000, to: 20_004 } });
  const tunnels = await server.prepare([tcp({ ports: 2 }), tcp({ port: 20_002 })]);
  const [chosen, named] = tunnels.map(publicNamesOf);
  expect(named).toEqual(["tcp:20002"]);
  expect([
    ["tcp:20000", "tcp:20001"],
    ["tcp:20003", "tcp:20004"],
  ]).toContainEqual(chosen);
});

test("free ports that other programs have are passed over", async () => {
  const server = new Server({ free: { from: 20_000, to: 20_002 } });
  server.ports.taken.set("tcp:20000", "EADDRINUSE").set("tcp:20002", "EADDRINUSE");
  expect(namesOf(await server.register([tcp()]))).toEqual(["tcp:20001"]);
});

test.each([
  ["EADDRINUSE", "port_taken", "another program on the server has it"],
  ["EACCES", "name_refused", "CAP_NET_BIND_SERVICE"],
  ["EMFILE", "port_taken", "EMFILE"],
])("at %s all of a client's ports close again, and it is told why", async (code, error, words) => {
  const server = new Server();
  server.ports.taken.set("tcp:20005", code);
  const wanted = [tcp({ port: 20_001 }), tcp({ port: 20_005 })];
  await expect(server.register(wanted)).rejects.toMatchObject({
    code: error,
    message: expect.stringContaining(words),
  });
  expect(server.ports.names).toEqual([]);
});

test("ports of a client that is gone before it is registered are closed", async () => {
  const server = new Server();
  const wanted = [tcp({ port: 20_001 })];
  server.registry.abandon(registrationOf(wanted), await server.prepare(wanted));
  expect(server.ports.names).toEqual([]);
});

test("of two clients on their way to the same port, one that does not come leaves it to the other", async () => {
  const server = new Server();
  const [first, second] = await Promise.all([
    server.prepare([tcp({ port: 20_001 })]),
    server.prepare([tcp({ port: 20_001 })], "another"),
  ]);
  server.registry.abandon(registrationOf([]), first);
  expect(server.ports.names).toEqual(["tcp:20001"]);
  server.registry.abandon(registrationOf([], "another"), second);
  expect(server.ports.names).toEqual([]);
});

test("a port is not opened for a client whose other name is taken", async () => {
  const server = new Server();
  await server.register([tcp({ port: 20_001 })]);
  const wanted = [tcp({ port: 20_001 }), tcp({ port: 20_002 })];
  await expect(server.register(wanted, "thief", OTHER)).rejects.toMatchObject({ code: "name_taken" });
  expect(server.ports.names).toEqual(["tcp:20001"]);
});

test("clients that ask at once get different ports", async () => {
  const server = new Server();
  const names = await Promise.all(
    ["a", "b", "c", "d", "e"].map(async (clientId) => namesOf(await server.register([tcp()], clientId))[0]!),
  );
  expect(new Set(names).size).toBe(5);
  expect(server.ports.names).toEqual(names.toSorted());
});

test("a visitor's port leads to the client, with the offset of one of several", async () => {
  const server = new Server();
  await server.register([tcp({ port: 20_001, ports: 2, name: "range" })]);
  expect(server.registry.findPortRoute("TCP", 20_002)).toMatchObject({ tunnel: "range", key: "home" });
  expect(server.registry.findPortRoute("UDP", 20_002)).toBeUndefined();
  expect(server.registry.findPortRoute("TCP", 20_003)).toBeUndefined();
});

test("a hostname that one key serves over HTTP is not another's over TLS", async () => {
  const server = new Server();
  await server.register([{ ...tcp(), kind: "HTTP", subdomain: "app" }]);
  const wanted: TunnelRequest[] = [{ ...tcp(), kind: "TLS", subdomain: "app" }];
  await expect(server.register(wanted, "thief", OTHER)).rejects.toMatchObject({ code: "name_taken" });
  expect(namesOf(await server.register(wanted))).toEqual(["tls:app.example.com"]);
});

/** Where ports open in a later turn of the event loop, as real ones do on a busy machine. */
class CountedPorts extends FakePorts {
  /** How many opened or closed, by turn. */
  readonly turns: number[] = [];
  #counting = false;

  override open(kind: string, port: number): Promise<void> {
    this.#count();
    return super.open(kind, port);
  }

  override close(kind: string, port: number): void {
    this.#count();
    super.close(kind, port);
  }

  #count(): void {
    if (!this.#counting) {
      this.#counting = true;
      this.turns.push(0);
      setImmediate(() => (this.#counting = false));
    }
    this.turns[this.turns.length - 1]!++;
  }
}

test("ports open and close at most 32 in a turn of the event loop", async () => {
  const ports = new CountedPorts();
  const server = new Server({ free: { from: 20_000, to: 21_999 }, ports });
  const session = await server.register([tcp({ port: 20_000, ports: 700 }), tcp({ ports: 300 })]);
  expect(ports.names).toHaveLength(1_000);
  expect(Math.max(...ports.turns)).toBeLessThanOrEqual(64);
  expect(ports.turns.length).toBeGreaterThanOrEqual(16);
  const before = ports.turns.length;
  session.end();
  await vi.waitFor(() => expect(ports.names).toEqual([]));
  expect(Math.max(...ports.turns)).toBeLessThanOrEqual(64);
  expect(ports.turns.length - before).toBeGreaterThanOrEqual(16);
});

test("a client with one port does not wait for clients with a thousand", async () => {
  const ports = new CountedPorts();
  const server = new Server({ free: { from: 20_000, to: 29_999 }, ports });
  const crowd = Array.from({ length: 6 }, (_, i) =>
    server.prepare([tcp({ port: 20_000 + i * 1_000, ports: 1_000 })], `crowd-${i}`, keyOf(`crowd-${i}`)),
  );
  await server.prepare([tcp({ port: 26_000 })], "single");
  expect(ports.names.length).toBeLessThan(500);
  await Promise.all(crowd);
  expect(ports.names).toHaveLength(6_001);
});

test("two clients that want the same ports at once get them opened once", async () => {
  const ports = new CountedPorts();
  const server = new Server({ free: { from: 20_000, to: 29_999 }, ports });
  const wanted = [tcp({ port: 20_000, ports: 100 })];
  await Promise.all([server.prepare(wanted), server.prepare(wanted, "another")]);
  expect(ports.names).toHaveLength(100);
});

test("a server that has ended closes no port later", async () => {
  const server = new Server({ holdMs: 1 });
  await server.register([tcp({ port: 20_001 })]);
  server.registry.end();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(server.ports.names).toEqual(["tcp:20001"]);
});

test("a server that can open no further port says so, and does not try every free one", async () => {
  const server = new Server({ free: { from: 20_001, to: 20_100 } });
  let tries = 0;
  server.ports.open = () => {
    tries++;
    return Promise.reject(new TunnelError("overloaded", "no further port"));
  };
  await expect(server.prepare([tcp()])).rejects.toMatchObject({
    code: "overloaded",
    message: "no further port",
  });
  expect(tries).toBe(1);
});

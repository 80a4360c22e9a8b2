import { expect, test } from "vitest";
import type { TunnelError } from "../../../link/errors.ts";
import type { TunnelRequest } from "../../../link/messages.ts";
import type { Key, KeyTunnel } from "../../../server/access/key.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { type Registration, Registry } from "../../../server/sessions/registry.ts";
import { FakePorts, namingRules, ownedBy } from "../../support/naming-rules.ts";
import { wanted } from "../../support/raw-client.ts";
import { recordingLog } from "../../support/recording-log.ts";

const HOME = keyOf("home");
const WORK = keyOf("work");
const TUNNELS: KeyTunnel[] = [
  { name: "many", kind: "TCP", port: 1000, ports: 1000, target: "127.0.0.1:1" },
  { name: "web", kind: "HTTP", hostname: "web.test", target: "127.0.0.1:1" },
  { name: "app", kind: "HTTP", hostname: "app.test", target: "127.0.0.1:1" },
];

function keyOf(name: string, tunnels: KeyTunnel[] = []): Key {
  return { id: name.padEnd(16, "0"), name, hostnames: [], tunnels, source: "store" };
}

function http(...names: string[]): TunnelRequest[] {
  return names.map((name) => wanted(name));
}

function tcp(ports: number, port = 0): TunnelRequest {
  return wanted("", { kind: "TCP", subdomain: "", port, ports });
}

function registrationOf(wanted: TunnelRequest[], key = HOME, clientId = "client"): Registration {
  return { key, clientId, wanted, maxConnections: 1, network: "n" };
}

/** A server that lets a key have two names and ten ports. */
function serverWith() {
  const mapped = keyOf("mapped", TUNNELS);
  const ports = new FakePorts();
  const registry = new Registry({
    rules: namingRules({ ...ownedBy([mapped]), freePorts: () => ({ from: 20_000, to: 20_099 }) }),
    opener: ports,
    holdMs: 0,
    log: recordingLog().log,
    limits: { ...limitOptions.parse({}), namesPerKey: 2, portsPerKey: 10 },
  });
  const register = async (...of: Parameters<typeof registrationOf>) => {
    const registration = registrationOf(...of);
    return registry.register(registration, await registry.prepare(registration));
  };
  return { registry, ports, mapped, register };
}

function limit(code: "name_refused" | "overloaded", option: string) {
  return expect.objectContaining({ code, message: expect.stringContaining(option) }) as TunnelError;
}

test("a client that asks for more than its key may have is refused for good, with the limit", async () => {
  const { ports, register } = serverWith();
  await expect(register(http("a", "b", "c"))).rejects.toThrow(
    limit("name_refused", "asks for 3 names; all clients of one key may have 2 (limits.names_per_key)"),
  );
  await expect(register([tcp(6), tcp(5, 20_010)])).rejects.toThrow(
    limit("name_refused", "asks for 11 ports; all clients of one key may have 10 (limits.ports_per_key)"),
  );
  expect(ports.names).toEqual([]);
});

test("all clients of a key share its names and ports, and one that leaves makes room", async () => {
  const { ports, register } = serverWith();
  const first = await register([...http("a"), tcp(8)], HOME, "first");
  await expect(register(http("b", "c"), HOME, "second")).rejects.toThrow(
    limit("overloaded", "limits.names_per_key"),
  );
  await expect(register([tcp(3)], HOME, "second")).rejects.toThrow(
    limit("overloaded", "limits.ports_per_key"),
  );
  expect(ports.names).toHaveLength(8);
  await register([...http("b", "c"), tcp(3)], WORK);
  first.end();
  await register([...http("d", "e"), tcp(3)], HOME, "second");
});

test("a client that comes back before its old session has ended does not count twice", async () => {
  const { register } = serverWith();
  for (let i = 0; i < 3; i++) {
    const { tunnels } = await register([...http("a", "b"), tcp(4), tcp(6, 20_050)]);
    expect(tunnels).toHaveLength(4);
  }
});

test("clients on their way count, until they have gone", async () => {
  const { registry, ports, register } = serverWith();
  const first = registrationOf([tcp(6)], HOME, "first");
  const tunnels = await registry.prepare(first);
  await expect(register([tcp(6)], HOME, "second")).rejects.toThrow(
    limit("overloaded", "limits.ports_per_key"),
  );
  registry.abandon(first, tunnels);
  await register([tcp(6)], HOME, "second");
  expect(ports.names).toHaveLength(6);
});

test("what the server maps to a key counts for nothing", async () => {
  const { mapped, register } = serverWith();
  const session = await register([], mapped);
  expect(session.tunnels).toHaveLength(3);
  await register([...http("a", "b"), tcp(10)], mapped, "second");
});

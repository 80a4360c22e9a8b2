import { expect, test } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import type { Key } from "../../../server/access/key.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { Registry } from "../../../server/sessions/registry.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { wanted } from "../../support/raw-client.ts";
import { FakePorts, namingRules } from "../../support/naming-rules.ts";

const MINUTE_MS = 60_000;
const HOME = key("home");
const WORK = key("work");

function key(name: string, hostnames: string[] = []): Key {
  return { id: name.padEnd(16, "0"), name, hostnames, tunnels: [], source: "store" };
}

function registryWith(limits: { sessionsPerKey?: number; sessionsPerAddress?: number }) {
  const clock = { now: 0 };
  const { log, lines } = recordingLog();
  const rules = namingRules();
  const registry = new Registry({
    rules,
    opener: new FakePorts(),
    holdMs: 0,
    log,
    limits: { ...limitOptions.parse({}), ...limits },
    now: () => clock.now,
  });
  const register = async (key: Key, subdomain: string, network = "203.0.113.7") => {
    const registration = {
      key,
      clientId: subdomain,
      wanted: [wanted(subdomain)],
      maxConnections: 4,
      network,
    };
    return registry.register(registration, await registry.prepare(registration));
  };
  return { clock, registry, register, lines };
}

function overloaded(option: string) {
  return expect.objectContaining({ code: "overloaded", message: expect.stringContaining(option) }) as Error;
}

test("a key has so many sessions, and another key has its own", async () => {
  const { register } = registryWith({ sessionsPerKey: 2 });
  await register(HOME, "a");
  await register(HOME, "b");
  await expect(register(HOME, "c")).rejects.toThrow(overloaded("limits.sessions_per_key"));
  await register(WORK, "d");
});

test("an address has so many sessions, whatever their keys, and another address has its own", async () => {
  const { register } = registryWith({ sessionsPerAddress: 2 });
  await register(HOME, "a");
  await register(WORK, "b");
  await expect(register(WORK, "c")).rejects.toThrow(overloaded("limits.sessions_per_address"));
  await register(WORK, "c", "203.0.113.8");
});

test("a session that ends makes room for another", async () => {
  const { register } = registryWith({ sessionsPerKey: 1, sessionsPerAddress: 1 });
  (await register(HOME, "a")).end();
  (await register(WORK, "b")).end();
  expect((await register(HOME, "c")).tunnels.length).toBe(1);
});

test("a session that replaces another does not count twice", async () => {
  const { register, lines } = registryWith({ sessionsPerKey: 2, sessionsPerAddress: 2 });
  await register(HOME, "a");
  await register(HOME, "b");
  for (let i = 0; i < 5; i++) await register(HOME, "a");
  await expect(register(HOME, "c")).rejects.toThrow(overloaded("limits.sessions_per_key"));
  expect(lines.filter(({ message }) => message === "client offline").length).toBe(5);
});

test("who is refused for want of room has ended nobody", async () => {
  const { registry, register, lines } = registryWith({ sessionsPerAddress: 1 });
  await register(HOME, "a");
  const elsewhere = await register(HOME, "b", "203.0.113.8");
  await expect(register(HOME, "b")).rejects.toThrow(overloaded("limits.sessions_per_address"));
  expect(registry.find(elsewhere.token, HOME, "b")).toBe(elsewhere);
  expect(lines.filter(({ message }) => message === "client offline")).toEqual([]);
});

test("a name that is taken, or kept, is another key's only if it is written to that too", async () => {
  const { clock, register, lines } = registryWith({});
  clock.now = 11 * MINUTE_MS;
  const refused = expect.objectContaining({ code: "name_refused" }) as Error;
  const successor = key("successor", ["a.example.com"]);
  await register(HOME, "a");
  await expect(register(WORK, "a")).rejects.toThrow(refused);
  await register(successor, "a");
  expect(lines.filter(({ message }) => message === "client offline")).toHaveLength(1);
  // Nor back again.
  await expect(register(HOME, "a")).rejects.toThrow(refused);
});

test("a key that is revoked keeps no names", async () => {
  const { registry, register } = registryWith({});
  (await register(HOME, "gone")).end();
  const session = await register(HOME, "live");
  registry.revoke(new Set([HOME.id]), new TunnelError("key_revoked", "revoked"));
  expect(registry.find(session.token, HOME, "live")).toBeUndefined();
  await register(WORK, "gone");
  await register(WORK, "live");
});

test("in the first ten minutes a name of another key is refused for now, and later for good", async () => {
  const { clock, register } = registryWith({});
  await register(HOME, "a");
  (await register(HOME, "b")).end();
  clock.now = 10 * MINUTE_MS;
  for (const name of ["a", "b"])
    await expect(register(WORK, name)).rejects.toMatchObject({ code: "name_taken", permanent: false });
  await register(HOME, "b");
  clock.now++;
  for (const name of ["a", "b"])
    await expect(register(WORK, name)).rejects.toMatchObject({ code: "name_refused", permanent: true });
});

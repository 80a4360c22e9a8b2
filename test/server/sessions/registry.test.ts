import { expect, test } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import type { Key } from "../../../server/access/key-ring.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { Registry } from "../../../server/sessions/registry.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { wanted } from "../../support/raw-client.ts";
import { FakePorts, namingRules } from "../../support/naming-rules.ts";
import { nameTunnels } from "../../../server/sessions/naming.ts";

const HOME = key("home");
const WORK = key("work");

function key(name: string, hostnames: string[] = []): Key {
  return { id: name.padEnd(16, "0"), name, hostnames, tunnels: [], source: "store" };
}

function registryWith(limits: { sessionsPerKey?: number; sessionsPerAddress?: number }) {
  const { log, lines } = recordingLog();
  const rules = namingRules();
  const registry = new Registry({
    rules,
    opener: new FakePorts(),
    holdMs: 0,
    log,
    limits: { ...limitOptions.parse({}), ...limits },
    now: () => 0,
  });
  const register = (key: Key, subdomain: string, network = "203.0.113.7") => {
    const registration = {
      key,
      clientId: subdomain,
      wanted: [wanted(subdomain)],
      maxConnections: 4,
      network,
    };
    return registry.register(registration, nameTunnels(key, subdomain, registration.wanted, rules));
  };
  return { registry, register, lines };
}

function overloaded(option: string) {
  return expect.objectContaining({ code: "overloaded", message: expect.stringContaining(option) }) as Error;
}

test("a key has so many sessions, and another key has its own", () => {
  const { register } = registryWith({ sessionsPerKey: 2 });
  register(HOME, "a");
  register(HOME, "b");
  expect(() => register(HOME, "c")).toThrow(overloaded("limits.sessions_per_key"));
  register(WORK, "d");
});

test("an address has so many sessions, whatever their keys, and another address has its own", () => {
  const { register } = registryWith({ sessionsPerAddress: 2 });
  register(HOME, "a");
  register(WORK, "b");
  expect(() => register(WORK, "c")).toThrow(overloaded("limits.sessions_per_address"));
  register(WORK, "c", "203.0.113.8");
});

test("a session that ends makes room for another", () => {
  const { register } = registryWith({ sessionsPerKey: 1, sessionsPerAddress: 1 });
  register(HOME, "a").end();
  register(WORK, "b").end();
  expect(register(HOME, "c").tunnels.length).toBe(1);
});

test("a session that replaces another does not count twice", () => {
  const { register, lines } = registryWith({ sessionsPerKey: 2, sessionsPerAddress: 2 });
  register(HOME, "a");
  register(HOME, "b");
  for (let i = 0; i < 5; i++) register(HOME, "a");
  expect(() => register(HOME, "c")).toThrow(overloaded("limits.sessions_per_key"));
  expect(lines.filter(({ message }) => message === "client offline").length).toBe(5);
});

test("who is refused for want of room has ended nobody", () => {
  const { registry, register, lines } = registryWith({ sessionsPerAddress: 1 });
  register(HOME, "a");
  const elsewhere = register(HOME, "b", "203.0.113.8");
  expect(() => register(HOME, "b")).toThrow(overloaded("limits.sessions_per_address"));
  expect(registry.find(elsewhere.token, HOME, "b")).toBe(elsewhere);
  expect(lines.filter(({ message }) => message === "client offline")).toEqual([]);
});

test("a name that is taken, or kept, is another key's only if it is written to that too", () => {
  const { register, lines } = registryWith({});
  const refused = expect.objectContaining({ code: "name_refused" }) as Error;
  const successor = key("successor", ["a.example.com"]);
  register(HOME, "a");
  expect(() => register(WORK, "a")).toThrow(refused);
  register(successor, "a");
  expect(lines.filter(({ message }) => message === "client offline")).toHaveLength(1);
  // Nor back again.
  expect(() => register(HOME, "a")).toThrow(refused);
});

test("a key that is revoked keeps no names", () => {
  const { registry, register } = registryWith({});
  register(HOME, "gone").end();
  const session = register(HOME, "live");
  registry.revoke(new Set([HOME.id]), new TunnelError("key_revoked", "revoked"));
  expect(registry.find(session.token, HOME, "live")).toBeUndefined();
  register(WORK, "gone");
  register(WORK, "live");
});

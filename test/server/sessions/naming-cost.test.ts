import { expect, test } from "vitest";
import type { TunnelRequest } from "../../../link/messages.ts";
import type { Key, KeyTunnel } from "../../../server/access/key.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { Registry } from "../../../server/sessions/registry.ts";
import { nameTunnels } from "../../../server/sessions/naming.ts";
import { FakePorts, namingRules, ownedBy } from "../../support/naming-rules.ts";
import { wanted } from "../../support/raw-client.ts";
import { recordingLog } from "../../support/recording-log.ts";

const MAX_MS = 5;
const HELLOS = 60;
const ALL_PORTS = { from: 1, to: 65_535 };

/** May have any port, and any name beneath two domains. */
const WIDE: Key = {
  ...keyOf("wide"),
  hostnames: ["*.example.com", "*.wild.test"],
  ports: [ALL_PORTS],
};
/** Has been given every second port by itself. */
const ODD: Key = {
  ...keyOf("odd"),
  ports: Array.from({ length: 30_000 }, (_, i) => ({ from: 2 * i + 1, to: 2 * i + 1 })),
};
/** Has all ports mapped. */
const MAPPED = keyOf(
  "mapped",
  (["TCP", "UDP"] as const).flatMap((kind) =>
    Array.from({ length: 65 }, (_, i): KeyTunnel => {
      const port = 1 + i * 1_000;
      return { name: `${kind}${port}`, kind, port, ports: 1_000, target: "127.0.0.1:1" };
    }),
  ),
);
const RULES = namingRules({
  ...ownedBy([WIDE, ODD]),
  freePorts: () => ({ from: 20_000, to: 29_999 }),
});

function keyOf(name: string, tunnels: KeyTunnel[] = []): Key {
  return { id: name.padEnd(16, "0"), name, hostnames: [], tunnels, source: "config" };
}

function tcp(port: number, ports: number): TunnelRequest {
  return wanted("", { kind: "TCP", subdomain: "", port, ports });
}

function many(requestOf: (i: number) => TunnelRequest): TunnelRequest[] {
  return Array.from({ length: 256 }, (_, i) => requestOf(i));
}

/** As long as names may be, of labels as short as they may be. */
function deepName(i: number, label: string): string {
  const end = `x${i}.wild.test`;
  return label.repeat(Math.floor((253 - end.length) / label.length)) + end;
}

function meanMs(work: () => void): number {
  // What is compiled once is no client's doing.
  for (let i = 0; i < 5; i++) work();
  const before = process.cpuUsage();
  for (let i = 0; i < HELLOS; i++) work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / HELLOS;
}

test.each<[string, Key, TunnelRequest[]]>([
  ["256 names as deep as they may be", WIDE, many((i) => wanted("", { hostname: deepName(i, "a.") }))],
  [
    "as many with as many letters beyond ASCII as it may have",
    WIDE,
    many((i) => wanted("", { hostname: deepName(i, i < 32 ? "xn--tda." : "a.") })),
  ],
  ["256 subdomains", WIDE, many((i) => wanted(`${i}-`.padEnd(63, "a")))],
  ["256 generated names", WIDE, many((i) => wanted("", { target: `127.0.0.1:${i + 1}` }))],
  ["2,000 ports in 256 ranges", WIDE, many((i) => tcp(20_000 + i * 7, 7))],
  ["tunnels that are mapped, with all ports that there are", MAPPED, []],
])("naming a Hello with %s costs less than 5 ms", (_what, key, requests) => {
  expect(nameTunnels(key, "client", requests, RULES).length).toBeGreaterThan(100);
  expect(meanMs(() => nameTunnels(key, "client", requests, RULES))).toBeLessThan(MAX_MS);
});

test("a Hello that wants 256 times 1,000 ports is refused in less than 5 ms, and opens none", async () => {
  const ports = new FakePorts();
  const registry = new Registry({
    rules: RULES,
    opener: ports,
    holdMs: 0,
    log: recordingLog().log,
    limits: limitOptions.parse({}),
  });
  const requests = many(() => tcp(20_000, 1_000));
  const registration = { key: WIDE, clientId: "client", wanted: requests, maxConnections: 1, network: "n" };
  const before = process.cpuUsage();
  for (let i = 0; i < HELLOS; i++)
    await expect(registry.prepare(registration)).rejects.toMatchObject({ code: "name_refused" });
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1_000 / HELLOS).toBeLessThan(MAX_MS);
  expect(ports.names).toEqual([]);
});

test("a client may have so many names with letters beyond ASCII", () => {
  const requests = Array.from({ length: 33 }, (_, i) => wanted(`bücher-${i}`));
  expect(nameTunnels(WIDE, "client", requests.slice(1), RULES)).toHaveLength(32);
  expect(() => nameTunnels(WIDE, "client", requests, RULES)).toThrow(
    "asks for 33 names with letters beyond ASCII; one client may have 32",
  );
});

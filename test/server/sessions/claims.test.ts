import { expect, test } from "vitest";
import type { Place, PortPlace } from "../../../server/routing/place.ts";
import { Claims } from "../../../server/sessions/claims.ts";
import type { SessionTunnel } from "../../../server/sessions/naming.ts";
import { Session } from "../../../server/sessions/session.ts";
import type { Reservation } from "../../../server/store/reservations.ts";
import { recordingLog } from "../../support/recording-log.ts";

const LOG = recordingLog().log;
const MINUTE_MS = 60_000;
const LEFT_MS = 5_000;

function claimsAt(nowMs = 0) {
  const clock = { now: nowMs };
  let changes = 0;
  const claims = new Claims(
    () => clock.now,
    () => changes++,
  );
  return { claims, clock, changes: () => changes };
}

function sessionOf(places: Place[], { keyId = "home", clientId = "client", isMapped = false } = {}): Session {
  const tunnels = places.map((place, i): SessionTunnel => ({
    id: i + 1,
    request: isMapped ? undefined : i,
    name: `tunnel-${i}`,
    url: "",
    target: "",
    ...place,
  }));
  return new Session({
    keyId,
    keyName: keyId,
    clientId,
    tunnels,
    asked: { names: 0, ports: 0 },
    maxConnections: 1,
    network: "n",
    maxStreams: 1,
    now: () => 0,
    log: LOG,
    onDraining: () => {},
    onEnded: () => {},
  });
}

function host(hostname: string): Place {
  return { kind: "HTTP", hostname };
}

function tcp(port: number, ports = 1): PortPlace {
  return { kind: "TCP", port, ports };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function saved(claims: Claims): Reservation[] {
  return [...claims.reservations()];
}

test("2,000 sessions with 256 names each that leave together take less than a second of processor time", () => {
  const { claims } = claimsAt();
  const sessions = Array.from({ length: 2_000 }, (_, i) =>
    sessionOf(
      Array.from({ length: 256 }, (_, j) => host(`name-${j}.client-${i}.test`)),
      { keyId: `key-${i % 4}` },
    ),
  );
  for (const session of sessions) claims.take(session);
  const before = process.cpuUsage();
  for (const session of sessions) claims.withdraw(session);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1_000).toBeLessThan(1_000);
  // The last 1,024 of each key.
  expect(claims.hostHolder("name-0.client-1980.test")).toBeUndefined();
  expect(claims.hostHolder("name-255.client-1984.test")).toMatchObject({
    keyId: "key-0",
    session: undefined,
  });
  // To make half a million claims takes longer than to drop them.
}, 120_000);

test("of what a key leaves behind 1,024 names are kept, ports counted by one", () => {
  const { claims } = claimsAt();
  for (const port of [1_000, 2_000]) {
    const session = sessionOf([tcp(port, 1_000)]);
    claims.take(session);
    claims.withdraw(session);
  }
  expect(claims.portHolder("TCP", 1_999)).toBeUndefined();
  expect(claims.portHolder("TCP", 2_000)).toMatchObject({ keyId: "home" });
});

test("a client that takes some ports of a range leaves the others kept for the one before", () => {
  const { claims } = claimsAt();
  const first = sessionOf([tcp(6_000, 10)], { clientId: "first" });
  claims.take(first);
  claims.withdraw(first);
  const second = sessionOf([tcp(6_003, 2), tcp(6_009)], { clientId: "second" });
  claims.take(second);
  const holders = Array.from({ length: 10 }, (_, i) => claims.portHolder("TCP", 6_000 + i)?.clientId);
  expect(holders.map((holder) => holder?.[0]).join("")).toBe("fffssffffs");
  expect([...claims.portHolders(tcp(5_999, 12))].map(({ from, to }) => [from, to])).toEqual([
    [6_000, 6_002],
    [6_003, 6_004],
    [6_005, 6_008],
    [6_009, 6_009],
  ]);
  expect(saved(claims)).toMatchObject([
    { clientId: "first", places: [tcp(6_000, 3), tcp(6_005, 4)] },
    { clientId: "second", places: [tcp(6_003, 2), tcp(6_009)] },
  ]);
});

test("a kept name is forgotten after ten minutes, and that is a change", () => {
  const { claims, clock, changes } = claimsAt();
  const session = sessionOf([host("app.test"), tcp(2_222)]);
  claims.take(session);
  claims.withdraw(session);
  clock.now = 10 * MINUTE_MS;
  claims.forgetExpired();
  expect(saved(claims)).toHaveLength(1);
  const before = changes();
  clock.now++;
  claims.forgetExpired();
  expect(saved(claims)).toEqual([]);
  expect(changes()).toBeGreaterThan(before);
  expect(claims.hostRoute("app.test")).toBeUndefined();
  expect(claims.portRoute("TCP", 2_222)).toBeUndefined();
});

test("what was held, and what was kept, is kept for ten minutes from the next start", () => {
  const before = claimsAt(1_000_000);
  const left = sessionOf([host("left.test")], { clientId: "left" });
  before.claims.take(left);
  before.claims.withdraw(left);
  before.clock.now += LEFT_MS;
  before.claims.take(sessionOf([host("held.test"), { kind: "TLS", hostname: "held.test" }, tcp(2_222, 3)]));
  before.claims.take(sessionOf([host("mapped.test")], { isMapped: true }));
  before.claims.take(sessionOf([host("revoked.test")], { keyId: "revoked" }));

  const { claims, clock } = claimsAt();
  claims.restore(saved(before.claims), (keyId) => (keyId === "revoked" ? undefined : `the key ${keyId}`));
  for (const name of ["left.test", "held.test", "tls:held.test"])
    expect(claims.hostHolder(name)).toMatchObject({ keyId: "home", session: undefined });
  expect(claims.portHolder("TCP", 2_224)).toMatchObject({ clientId: "client" });
  expect(claims.hostHolder("revoked.test")).toBeUndefined();
  // Nobody else may have those that the server maps, whoever is there.
  expect(claims.hostHolder("mapped.test")).toBeUndefined();
  // Visitors wait for the client for a moment, as for any that has just left.
  expect(claims.hostRoute("held.test")).toMatchObject({
    key: "the key home",
    whenBack: expect.any(Function),
  });
  clock.now = 10 * MINUTE_MS;
  expect(claims.hostHolder("held.test")).toBeDefined();
  clock.now++;
  expect(claims.hostHolder("held.test")).toBeUndefined();
});

test("a key that is revoked has nothing kept, also of before the start", () => {
  const { claims } = claimsAt();
  claims.restore(
    [{ keyId: "home", clientId: "client", places: [host("app.test"), tcp(2_222, 5)] }],
    () => "home",
  );
  claims.forget(new Set(["home"]));
  expect(claims.hostHolder("app.test")).toBeUndefined();
  expect(claims.portHolder("TCP", 2_226)).toBeUndefined();
  expect(saved(claims)).toEqual([]);
});

test("a visitor who waits for a port of several is called when its client is back, and others are not", async () => {
  const { claims } = claimsAt();
  const session = sessionOf([tcp(6_000, 3)]);
  claims.take(session);
  await nextTurn();
  claims.withdraw(session);
  const called: number[] = [];
  for (const port of [6_000, 6_002]) claims.portRoute("TCP", port)!.whenBack!(() => called.push(port));
  claims.take(sessionOf([tcp(6_001, 2)]));
  await nextTurn();
  expect(called).toEqual([6_002]);
});

import { randomBytes } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import { FEATURES } from "../../../link/contract.ts";
import { TunnelError } from "../../../link/errors.ts";
import type { Control, Hello } from "../../../link/messages.ts";
import { UnreadBudget } from "../../../link/unread-budget.ts";
import type { DoorLimits } from "../../../server/access/client-limits.ts";
import type { Key } from "../../../server/access/key.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { serveConnection } from "../../../server/sessions/handshake.ts";
import { Registry } from "../../../server/sessions/registry.ts";
import { memoryCarriers } from "../../support/memory-carrier.ts";
import { wanted } from "../../support/raw-client.ts";
import { RawPeer } from "../../support/raw-peer.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { turnsUntil } from "../../support/turns.ts";
import { FakePorts, namingRules } from "../../support/naming-rules.ts";

const KEY_ID = randomBytes(8);
const SECRET = randomBytes(16);
const KEY: Key = { id: KEY_ID.toString("hex"), name: "home", hostnames: [], tunnels: [], source: "store" };
const HERE = "203.0.113.7";
const PING: Control = { message: "ping", ping: { id: 1 } };

/** A server's door, on a clock that stands still, for clients that are played by hand. */
function doorWith(doorLimits: Partial<DoorLimits> = {}) {
  const clock = { now: 1_000_000 };
  const { log, lines } = recordingLog();
  const opener = new FakePorts();
  const registry = new Registry({
    rules: namingRules(),
    opener,
    holdMs: 0,
    log,
    limits: limitOptions.parse({}),
    doorLimits,
    now: () => clock.now,
  });
  const room = { forClients: true };
  let looks = 0;
  let port = 1_024;
  /** What every look waits for, as for the file of the keys. */
  const gate = { open: Promise.resolve() };
  const key = { revoked: false };
  const knock = (address = HERE): RawPeer => {
    const [near, far] = memoryCarriers();
    const peer = new RawPeer(far);
    const caller = Object.assign(near, { becomeClient: () => room.forClients });
    serveConnection(caller, `${address}:${port++}`, {
      registry,
      unreadBudget: new UnreadBudget(),
      log,
      async authenticate(keyId, secret) {
        looks++;
        await gate.open;
        return isKey(keyId, secret) ? KEY : undefined;
      },
      isStillGood: (keyId, secret) => isKey(keyId, secret) && !key.revoked,
    });
    return peer;
  };
  /** What a Hello is answered: `welcome`, or the code of the refusal. */
  const answerTo = async (hello: Partial<Hello>, address = HERE): Promise<string> => {
    const peer = knock(address);
    peer.say([helloWith(hello)]);
    const answer = await firstAnswer(peer);
    peer.carrier.abort();
    return answer;
  };
  const warnings = () => lines.filter(({ level }) => level === "warn");
  return { clock, room, gate, key, knock, answerTo, looks: () => looks, warnings, registry, opener };
}

afterEach(() => void vi.useRealTimers());

function isKey(keyId: Buffer, secret: Buffer): boolean {
  return keyId.equals(KEY_ID) && secret.equals(SECRET);
}

function helloWith(hello: Partial<Hello>) {
  return {
    message: "hello" as const,
    hello: {
      protocolMin: 1,
      protocolMax: 1,
      keyId: KEY_ID,
      secret: SECRET,
      clientId: "played-by-hand",
      version: "0",
      sessionToken: "",
      wanted: [wanted(`app-${randomBytes(4).toString("hex")}`)],
      streamCredit: 256 * 1024,
      ...hello,
    },
  };
}

async function firstAnswer(peer: RawPeer): Promise<string> {
  await turnsUntil(() => peer.heard.length > 0 || peer.over);
  const answer = peer.heard[0];
  if (answer?.message === "refused") return answer.refused.code;
  return answer?.message ?? "nothing";
}

const wrong = () => ({ secret: randomBytes(16) });
const unknown = () => ({ keyId: randomBytes(8), secret: randomBytes(16) });

test("ten wrong keys are told so at once; then the server looks at none for a while, at the right one neither", async () => {
  const { clock, answerTo, looks } = doorWith();
  for (let i = 0; i < 10; i++) expect(await answerTo(wrong())).toBe("key_refused");
  expect(looks()).toBe(10);
  expect(await answerTo(wrong())).toBe("overloaded");
  expect(await answerTo({})).toBe("overloaded");
  expect(looks()).toBe(10);
  clock.now += 2_000;
  expect(await answerTo({})).toBe("welcome");
});

test("the refusal says what happened and when to try again", async () => {
  const { clock, answerTo, knock } = doorWith();
  for (let i = 0; i < 10; i++) await answerTo(unknown());
  clock.now += 500;
  const peer = knock();
  peer.say([helloWith({})]);
  await firstAnswer(peer);
  expect(peer.heard[0]).toMatchObject({ refused: { message: expect.stringContaining("Try again in 2 s") } });
});

test("of a thousand wrong keys that are looked at together, ten are told so", async () => {
  const { answerTo, gate, looks } = doorWith({ callsPerAddress: 2_000 });
  let openGate: (() => void) | undefined;
  gate.open = new Promise((resolve) => (openGate = resolve));
  const answers = Array.from({ length: 1_000 }, () => answerTo(wrong()));
  const right = answerTo({});
  await turnsUntil(() => looks() === 1_001);
  openGate?.();
  const told = await Promise.all(answers);
  expect(told.filter((answer) => answer === "key_refused").length).toBe(10);
  expect(told.filter((answer) => answer === "overloaded").length).toBe(990);
  // Who guesses right among them is not told either.
  expect(await right).toBe("overloaded");
});

test("wrong keys from one address leave another its tries", async () => {
  const { answerTo } = doorWith();
  for (let i = 0; i < 15; i++) await answerTo(unknown());
  expect(await answerTo({}, "203.0.113.8")).toBe("welcome");
});

test("strangers who try a key's id from everywhere keep out whoever is new, and nobody who was there", async () => {
  const { answerTo } = doorWith();
  expect(await answerTo({}, "198.51.100.1")).toBe("welcome");
  for (let i = 0; i < 30; i++) await answerTo(wrong(), `192.0.2.${i}`);
  expect(await answerTo({}, "198.51.100.1")).toBe("welcome");
  expect(await answerTo({}, "198.51.100.2")).toBe("overloaded");
});

test("a flood of wrong keys is one line in the log", async () => {
  const { answerTo, warnings } = doorWith();
  for (let i = 0; i < 50; i++) await answerTo(wrong());
  expect(warnings()).toMatchObject([{ message: "client refused", code: "key_refused" }]);
  expect(JSON.stringify(warnings())).not.toContain(KEY.id);
});

test("a client with a good key is told that there is no room for its connection, and may come again", async () => {
  const door = doorWith();
  door.room.forClients = false;
  expect(await door.answerTo({})).toBe("overloaded");
  expect(door.warnings()[0]).toMatchObject({
    code: "overloaded",
    reason: expect.stringContaining("LimitNOFILE="),
  });
  door.room.forClients = true;
  expect(await door.answerTo({})).toBe("welcome");
});

test("a right key that is refused again and again is slowed, and its sessions get their further connections", async () => {
  const { clock, answerTo, knock } = doorWith();
  const peer = knock();
  peer.say([helloWith({})]);
  await turnsUntil(() => peer.heard.length > 0);
  const [welcome] = peer.heard;
  if (welcome?.message !== "welcome") throw new Error("no welcome");
  const { sessionToken } = welcome.welcome;

  const bad = () => answerTo({ wanted: [wanted("a.b")] });
  for (let i = 0; i < 60; i++) expect(await bad()).toBe("name_refused");
  expect(await bad()).toBe("overloaded");
  expect(await answerTo({})).toBe("overloaded");
  expect(await answerTo({ sessionToken })).toBe("welcome");
  expect(await answerTo({}, "203.0.113.8")).toBe("welcome");
  clock.now += 100;
  expect(await answerTo({})).toBe("welcome");
});

test("an address has so many calls that have not been let in; each that is, or that ends, makes room", async () => {
  const { knock } = doorWith({ callsPerAddress: 2 });
  const [first, second] = [knock(), knock()];
  expect(await firstAnswer(greeted(knock()))).toBe("overloaded");
  expect(await firstAnswer(greeted(knock("203.0.113.8")))).toBe("welcome");

  expect(await firstAnswer(greeted(first))).toBe("welcome");
  const third = knock();
  expect(await firstAnswer(greeted(knock()))).toBe("overloaded");

  second.carrier.abort();
  await turnsUntil(() => second.over);
  expect(await firstAnswer(greeted(knock()))).toBe("welcome");
  expect(await firstAnswer(greeted(third))).toBe("welcome");
});

test("all addresses together have so many calls that have not been let in", async () => {
  const { knock, warnings } = doorWith({ calls: 5 });
  for (let i = 0; i < 5; i++) knock(`203.0.113.${i}`);
  const turnedAway = knock("198.51.100.1");
  expect(await firstAnswer(turnedAway)).toBe("overloaded");
  await turnsUntil(() => turnedAway.over);
  expect(warnings()).toMatchObject([{ code: "overloaded", peer: expect.stringContaining("198.51.100.1") }]);
});

test("no timer is left of a call that was turned away", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { knock } = doorWith({ calls: 0 });
  const peer = knock();
  await turnsUntil(() => peer.over);
  expect(vi.getTimerCount()).toBe(0);
});

test("what a call that was turned away says is not heard", async () => {
  const { knock, looks } = doorWith({ calls: 0 });
  expect(await firstAnswer(greeted(knock()))).toBe("overloaded");
  expect(looks()).toBe(0);
});

test("a second Drain on one connection ends it", async () => {
  const { knock } = doorWith();
  const peer = greeted(knock());
  await firstAnswer(peer);
  const drain = () => peer.say([{ message: "drain", drain: { graceMs: 1 } }, PING]);
  drain();
  await turnsUntil(() => peer.heard.some(({ message }) => message === "pong"));
  expect(peer.over).toBe(false);
  drain();
  await turnsUntil(() => peer.over);
});

const STATES: Control = {
  message: "tunnelStates",
  tunnelStates: { tunnels: [{ tunnel: 1, allowed: true, answer: "ANSWERS", reason: "" }] },
};

test("a Welcome says that the server takes the states of tunnels, and the session goes on behind them", async () => {
  const { knock } = doorWith();
  const peer = greeted(knock());
  await firstAnswer(peer);
  expect(peer.heard[0]).toMatchObject({ welcome: { features: FEATURES } });
  peer.say([STATES, PING]);
  await turnsUntil(() => peer.heard.some(({ message }) => message === "pong"));
  expect(peer.over).toBe(false);
});

test("a client of before or after, with no features or others, is served", async () => {
  const { answerTo } = doorWith();
  expect(await answerTo({})).toBe("welcome");
  expect(await answerTo({ features: [] })).toBe("welcome");
  expect(await answerTo({ features: ["tunnel_states", "of_a_later_version"] })).toBe("welcome");
});

test.each([
  ["too many", Array<string>(33).fill("x")],
  ["too long", ["x".repeat(65)]],
])("features that are %s are no features", async (_what, features) => {
  const { answerTo } = doorWith();
  expect(await answerTo({ features })).toBe("protocol");
});

test("a flood of states ends its own connection, and no other", async () => {
  const { knock } = doorWith();
  const other = greeted(knock());
  const peer = greeted(knock());
  await firstAnswer(peer);
  peer.say(Array.from({ length: 17 }, () => STATES));
  await turnsUntil(() => peer.over);
  expect(other.over).toBe(false);
});

test("states of more tunnels than the session has end its connection", async () => {
  const { knock } = doorWith();
  const peer = greeted(knock());
  await firstAnswer(peer);
  const tunnels = Array.from({ length: 2 }, (_, i) => ({
    tunnel: i + 1,
    allowed: true,
    answer: "ANSWERS" as const,
    reason: "",
  }));
  peer.say([{ message: "tunnelStates", tunnelStates: { tunnels } }]);
  await turnsUntil(() => peer.over);
  expect(peer.heard.map(({ message }) => message)).toEqual(["welcome"]);
});

test("states before the Welcome end the call", async () => {
  const { knock } = doorWith();
  const peer = knock();
  peer.say([STATES]);
  await turnsUntil(() => peer.over);
  expect(peer.heard.some(({ message }) => message === "welcome")).toBe(false);
});

test("a key that is revoked while the client's port opens gets no session, and the port closes", async () => {
  const { key, knock, registry, opener } = doorWith();
  const peer = knock();
  const opening = new Promise<() => void>((resolve) => {
    opener.wait = () => new Promise<void>((open) => resolve(open));
  });
  peer.say([helloWith({ wanted: [wanted("app", { kind: "TCP", port: 20_001 })] })]);
  const open = await opening;
  key.revoked = true;
  registry.revoke(new Set([KEY.id]), new TunnelError("key_revoked", "gone"));
  open();
  expect(await firstAnswer(peer)).toBe("key_revoked");
  expect(opener.names).toEqual([]);
  expect(registry.findPortRoute("TCP", 20_001)).toBeUndefined();
});

test("a connection whose key is revoked while it is looked at joins nothing", async () => {
  const { gate, key, knock } = doorWith();
  const first = greeted(knock());
  await firstAnswer(first);
  const welcome = first.heard[0];
  const sessionToken = welcome?.message === "welcome" ? welcome.welcome.sessionToken : "";
  let openGate: (() => void) | undefined;
  gate.open = new Promise((resolve) => (openGate = resolve));
  const second = knock();
  second.say([helloWith({ sessionToken })]);
  key.revoked = true;
  openGate?.();
  expect(await firstAnswer(second)).toBe("key_revoked");
});

function greeted(peer: RawPeer): RawPeer {
  peer.say([helloWith({})]);
  return peer;
}

import { expect, test } from "vitest";
import type { TunnelError } from "../../../link/errors.ts";
import type { Control } from "../../../link/messages.ts";
import { guarded } from "../../../server/access/guarded-carrier.ts";
import { memoryCarriers } from "../../support/memory-carrier.ts";
import { turn } from "../../support/turns.ts";

const PING: Control = { message: "ping", ping: { id: 1 } };
const PONG: Control = { message: "pong", pong: { id: 1 } };
const STATES: Control = { message: "tunnelStates", tunnelStates: { tunnels: [] } };
const CREDIT: Control = { message: "credit", credit: { stream: 2, bytes: 1 } };

/** A guarded carrier, and what came through it. */
function guardedEnd() {
  const clock = { now: 0 };
  const [near, far] = memoryCarriers();
  const heard: string[] = [];
  const breaches: TunnelError[] = [];
  const carrier = guarded(near, {
    now: () => clock.now,
    onBreach: (error) => breaches.push(error),
  });
  carrier.receive({
    control: (messages) => heard.push(...messages.map(({ message }) => message)),
    data: (slice) => heard.push(slice.toString()),
    batchEnd: () => heard.push("|"),
    closed: () => heard.push("closed"),
  });
  const say = async (control: Control[], data = ""): Promise<void> => {
    far.send({ control, data: [Buffer.from(data)] }, () => {});
    await turn();
    await turn();
  };
  return { clock, heard, breaches, say, far };
}

test("what a client says passes as it came, to its end", async () => {
  const { heard, breaches, say, far } = guardedEnd();
  await say([CREDIT], "bytes");
  await say([PING]);
  await say([], "more");
  far.end();
  await turn();
  expect(heard).toEqual(["credit", "bytes", "|", "ping", "|", "more", "|", "closed"]);
  expect(breaches).toEqual([]);
});

test("a batch without content is a breach, and nothing behind it passes", async () => {
  const { heard, breaches, say } = guardedEnd();
  await say([]);
  await say([CREDIT], "bytes");
  expect(breaches.map(({ code }) => code)).toEqual(["protocol"]);
  expect(heard).toEqual([]);
});

test("a thousand probes and answers at once, then a hundred a second, and no more", async () => {
  const { clock, breaches, say } = guardedEnd();
  await say(Array.from({ length: 1_000 }, (_, i) => (i % 2 === 0 ? PING : PONG)));
  for (let second = 0; second < 5; second++) {
    clock.now += 1_000;
    await say(Array.from({ length: 100 }, () => PING));
  }
  expect(breaches).toEqual([]);
  await say([PING]);
  expect(breaches.map(({ code }) => code)).toEqual(["protocol"]);
});

test("sixteen times at once what has become of its tunnels, then once a second, and no more", async () => {
  const { clock, heard, breaches, say } = guardedEnd();
  for (let i = 0; i < 8; i++) await say([STATES, STATES]);
  for (let second = 0; second < 5; second++) {
    clock.now += 1_000;
    await say([STATES]);
  }
  expect(breaches).toEqual([]);
  await say([STATES]);
  expect(breaches.map(({ code }) => code)).toEqual(["protocol"]);
  expect(heard.filter((event) => event === "tunnelStates").length).toBe(21);
});

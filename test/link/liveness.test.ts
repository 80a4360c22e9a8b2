import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { keepAlive } from "../../link/liveness.ts";
import { linkPair, openStream } from "../support/link-pair.ts";

const KIB = 1024;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

function pass(ms: number): Promise<unknown> {
  return vi.advanceTimersByTimeAsync(ms);
}

test("an idle link that answers lives on", async () => {
  const { server, client } = linkPair({ record: true });
  using _probes = keepAlive(server.link);
  await pass(24 * 3600 * 1000);
  expect(server.over).toBeUndefined();
  expect(client.over).toBeUndefined();
  const probes = (24 * 3600) / 15;
  expect(server.carrier.sent.length).toBeGreaterThan(probes - 5);
  expect(server.carrier.sent.length).toBeLessThanOrEqual(probes);
});

test.each([0, 1, 7_500, 14_999, 15_000, 15_001, 20_000, 29_000])(
  "a path that dies after %i ms is noticed within 25 s",
  async (diesAfterMs) => {
    const { server, client } = linkPair();
    using _probes = keepAlive(server.link);
    await pass(diesAfterMs);
    server.carrier.lose();
    client.carrier.lose();
    await pass(25_100);
    expect(server.over!.error).toMatchObject({ code: "lost", message: expect.stringContaining("10 s") });
  },
);

test("a path that is dead from the start is noticed within 25 s", async () => {
  const { server } = linkPair({ hold: true });
  using _probes = keepAlive(server.link);
  await pass(25_100);
  expect(server.over!.error).toMatchObject({ code: "lost" });
});

test("a full pipe that moves, however slowly, is not dead", async () => {
  const pair = linkPair({ recording: { keep: false } });
  const opening = openStream(pair);
  await pass(10);
  const { near, nearHandler } = await opening;
  nearHandler.onEvent = (event) => {
    if (event === "drained") while (near.write(Buffer.alloc(32 * KIB)));
  };
  pair.server.carrier.hold();
  while (near.write(Buffer.alloc(32 * KIB)));
  using _probes = keepAlive(pair.server.link);
  // One batch in 9 s: probes and answers stand in the queue for longer than they may take.
  for (let i = 0; i < 40; i++) {
    await pass(9_000);
    pair.server.carrier.release(1);
  }
  expect(pair.server.over).toBeUndefined();
  await pass(25_000);
  expect(pair.server.over!.error).toMatchObject({ code: "lost" });
});

test("an end that only receives, and whose answers are late, is not dead", async () => {
  const pair = linkPair({ recording: { keep: false } });
  using _probes = keepAlive(pair.server.link);
  pair.server.carrier.hold();
  for (let i = 0; i < 20; i++) {
    pair.client.link.say({ message: "drain", drain: { graceMs: i } });
    await pass(8_000);
  }
  expect(pair.server.over).toBeUndefined();
});

test("a full pipe into which nothing moves is dead", async () => {
  const pair = linkPair();
  const opening = openStream(pair);
  await pass(10);
  const { near } = await opening;
  pair.server.carrier.hold();
  for (let i = 0; i < 4; i++) near.write(Buffer.alloc(64 * KIB));
  using _probes = keepAlive(pair.server.link);
  await pass(25_100);
  expect(pair.server.over!.error).toMatchObject({ code: "lost" });
});

test("a path that takes what is sent and answers nothing is dead", async () => {
  const pair = linkPair();
  pair.server.carrier.lose();
  using _probes = keepAlive(pair.server.link);
  const chatter = setInterval(() => pair.server.link.say({ message: "drain", drain: { graceMs: 1 } }), 333);
  await pass(25_100);
  clearInterval(chatter);
  expect(pair.server.over!.error).toMatchObject({ code: "lost" });
});

test("a process that was frozen reads what has been waiting before it judges", async () => {
  const { server, client } = linkPair();
  using _probes = keepAlive(server.link);
  client.carrier.hold();
  await pass(15_010);
  // The answer is there, and the time is up: in a thawed process the timer runs first, then what was waiting.
  setTimeout(() => client.carrier.deliverNow(), 9_990);
  await pass(60_000);
  expect(server.over).toBeUndefined();
});

test("a probe on a closed link does nothing, and leaves no timer", async () => {
  const { server } = linkPair();
  keepAlive(server.link);
  server.link.close();
  await pass(15_010);
  expect(vi.getTimerCount()).toBe(0);
  expect(server.over).toEqual({ error: undefined });
});

test.each([0, 14_999, 15_001, 20_000, 25_000, 29_000])(
  "disposed after %i ms, its timers are gone",
  async (ms) => {
    const { server } = linkPair();
    const probes = keepAlive(server.link);
    await pass(ms);
    await pass(1);
    probes[Symbol.dispose]();
    // What the carrier still has to deliver.
    await pass(10);
    expect(vi.getTimerCount()).toBe(0);
  },
);

test("disposed while a verdict is due, it judges no more", async () => {
  const { server } = linkPair({ hold: true });
  const probes = keepAlive(server.link);
  await pass(24_998);
  vi.advanceTimersToNextTimer();
  probes[Symbol.dispose]();
  await pass(60_000);
  expect(server.over).toBeUndefined();
});

test("interval and timeout can be chosen", async () => {
  const { server } = linkPair({ hold: true });
  using _probes = keepAlive(server.link, { intervalMs: 100, timeoutMs: 50 });
  await pass(149);
  expect(server.over).toBeUndefined();
  await pass(10);
  expect(server.over!.error).toMatchObject({ code: "lost" });
});

import { expect, test, vi } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import type { Control } from "../../../link/messages.ts";
import { Session } from "../../../server/sessions/session.ts";
import { linkPair, openRequest, roundTrip, type LinkEnd } from "../../support/link-pair.ts";
import { linkAndRawPeer } from "../../support/raw-peer.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { RecordingHandler } from "../../support/recording-handler.ts";
import { turnsUntil } from "../../support/turns.ts";

interface Pair {
  server: LinkEnd;
  client: LinkEnd;
}

/** A session with so many connections, on a clock that stands still, whose other ends take what comes. */
function sessionWith(connections: number, { maxStreams = 100 } = {}) {
  const clock = { now: 1_000_000 };
  const ended: string[] = [];
  const session = new Session({
    keyId: "00000000000000aa",
    keyName: "home",
    clientId: "client",
    tunnels: [],
    asked: { names: 0, ports: 0 },
    maxConnections: connections,
    network: "203.0.113.7",
    maxStreams,
    now: () => clock.now,
    log: recordingLog().log,
    onDraining: () => {},
    onEnded: (reason) => ended.push(reason),
  });
  const pairs = Array.from({ length: connections }, (): Pair => linkPair());
  for (const { server } of pairs) session.add(server.link);
  const open = () => session.open(openRequest(), new RecordingHandler());
  return { session, clock, ended, pairs, open };
}

function streamsOf(pairs: Pair[]): number[] {
  return pairs.map(({ server }) => server.link.streams);
}

/** Whatever was said on these connections has been answered. */
async function settled(pairs: Pair[]): Promise<void> {
  await Promise.all(pairs.map(({ server }) => roundTrip(server)));
}

test("streams are spread over the connections", () => {
  const { pairs, open } = sessionWith(4);
  for (let i = 0; i < 10; i++) open();
  expect(streamsOf(pairs)).toEqual([3, 3, 2, 2]);
});

test("a connection that has swallowed a stream gets no more of them after a while, until it answers", async () => {
  const { clock, pairs, open } = sessionWith(3);
  const [dead, ...alive] = pairs as [Pair, ...Pair[]];
  dead.server.carrier.hold();
  for (let i = 0; i < 3; i++) open();
  expect(streamsOf(pairs)).toEqual([1, 1, 1]);
  await settled(alive);

  clock.now += 2_501;
  for (let i = 0; i < 10; i++) open();
  expect(streamsOf(pairs)).toEqual([1, 6, 6]);

  dead.server.carrier.release();
  await settled(pairs);
  for (let i = 0; i < 5; i++) open();
  expect(streamsOf(pairs)).toEqual([6, 6, 6]);
});

test("a connection whose requests all wait for an answer is as good as any, as long as it lives", async () => {
  const { clock, pairs, open } = sessionWith(2);
  for (let i = 0; i < 2; i++) open();
  await settled(pairs);
  // Nobody has answered, as with long polls; the clients themselves are there.
  clock.now += 60_000;
  for (let i = 0; i < 4; i++) open();
  expect(streamsOf(pairs)).toEqual([3, 3]);
});

test("a connection on which something arrives lives, even if its answer to the probe is late", async () => {
  const { clock, pairs, open } = sessionWith(2);
  const [slow, other] = pairs as [Pair, Pair];
  slow.server.carrier.hold();
  for (let i = 0; i < 2; i++) open();
  await settled([other]);
  clock.now += 2_501;
  slow.client.link.say({ message: "drain", drain: { graceMs: 1 } });
  await slow.server.until(() => slow.server.messages.length > 0);
  for (let i = 0; i < 2; i++) open();
  expect(streamsOf(pairs)).toEqual([2, 2]);
});

test("when no connection answers, visitors are spread over all of them", () => {
  const { clock, pairs, open } = sessionWith(2);
  for (const { server } of pairs) server.carrier.hold();
  for (let i = 0; i < 2; i++) open();
  clock.now += 10_000;
  for (let i = 0; i < 4; i++) open();
  expect(streamsOf(pairs)).toEqual([3, 3]);
});

test("a connection is asked once a second at most, and not again before it has answered", async () => {
  const { session, clock, open } = sessionWith(0, { maxStreams: 1_000 });
  const { end, peer } = linkAndRawPeer();
  session.add(end.link);
  const asks = () => peer.heard.filter(({ message }) => message === "ping");
  const asksAfterVisitors = async (): Promise<number> => {
    const before = peer.batches;
    for (let i = 0; i < 20; i++) open();
    await turnsUntil(() => peer.batches > before);
    return asks().length;
  };
  const answer = async (): Promise<void> => {
    const before = end.link.received;
    const last = asks().at(-1) as Extract<Control, { message: "ping" }>;
    peer.say([{ message: "pong", pong: last.ping }]);
    await turnsUntil(() => end.link.received > before);
  };
  expect(await asksAfterVisitors()).toBe(1);
  clock.now += 60_000;
  expect(await asksAfterVisitors()).toBe(1);
  await answer();
  expect(await asksAfterVisitors()).toBe(2);
  await answer();
  clock.now += 999;
  expect(await asksAfterVisitors()).toBe(2);
  clock.now += 1;
  expect(await asksAfterVisitors()).toBe(3);
});

test("one session serves so many visitors, and the next one is refused with a code", () => {
  const { pairs, open } = sessionWith(2, { maxStreams: 5 });
  const streams = Array.from({ length: 5 }, () => open());
  expect(open).toThrow(
    expect.objectContaining({
      code: "overloaded",
      message: expect.stringContaining("limits.streams_per_session"),
    }),
  );
  streams[0]!.reset("CANCELLED");
  open();
  expect(streamsOf(pairs).reduce((sum, streams) => sum + streams)).toBe(5);
});

test("a session ends with its last connection, and says whether its client had said that it goes", () => {
  const crashed = sessionWith(2);
  for (const { server } of crashed.pairs) crashed.session.remove(server.link);
  expect(crashed.ended).toEqual(["the connection was lost"]);

  const left = sessionWith(2);
  left.session.drained();
  for (const { server } of left.pairs) left.session.remove(server.link);
  expect(left.ended).toEqual(["it left"]);

  const broken = sessionWith(1);
  broken.session.drained();
  broken.session.remove(broken.pairs[0]!.server.link, new TunnelError("lost", "the connection is dead"));
  expect(broken.ended).toEqual(["the connection is dead"]);

  const stopped = sessionWith(1);
  stopped.session.end();
  expect(stopped.ended).toEqual(["this server is stopping"]);
});

test("no timer is left of a session that was ended, once its connections are gone", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { session, pairs } = sessionWith(2);
  session.end(new TunnelError("replaced", "Another client has come."));
  for (const { server } of pairs) server.link.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("a connection that stays although its session was ended is cut in time, for the same reason", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { session, pairs } = sessionWith(1);
  const [{ server }] = pairs as [Pair];
  server.carrier.hold();
  session.end(new TunnelError("key_revoked", "The key is gone."));
  vi.advanceTimersByTime(400);
  expect(server.over?.error?.code).toBe("key_revoked");
  vi.useRealTimers();
});

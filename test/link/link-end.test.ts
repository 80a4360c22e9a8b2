import { afterEach, describe, expect, test, vi } from "vitest";
import { TunnelError } from "../../link/errors.ts";
import { linkPair, openRequest, openStream, roundTrip } from "../support/link-pair.ts";
import { linkAndRawPeer, open } from "../support/raw-peer.ts";
import { RecordingHandler } from "../support/recording-handler.ts";
import { turn, turnsUntil } from "../support/turns.ts";

const KIB = 1024;

afterEach(() => {
  vi.useRealTimers();
});

test("everything said before the end arrives, and then a clean end at both ends", async () => {
  const pair = linkPair();
  const streams = await Promise.all(Array.from({ length: 30 }, () => openStream(pair)));
  for (const { near } of streams) {
    near.write(Buffer.alloc(200 * KIB));
    near.end(Buffer.from("t: 1\r\n"));
  }
  pair.server.link.say({ message: "refused", refused: { code: "replaced", message: "bye" } });
  pair.server.link.end();
  await pair.client.until(() => pair.client.over !== undefined);
  await pair.server.until(() => pair.server.over !== undefined);
  for (const { farHandler } of streams) {
    expect(farHandler.receivedBytes).toBe(200 * KIB);
    expect(farHandler.events).toEqual(["data", "end t: 1\r\n", "reset LINK_LOST"]);
  }
  expect(pair.client.messages).toHaveLength(1);
  expect([pair.server.over, pair.client.over]).toEqual([{ error: undefined }, { error: undefined }]);
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
});

test("an end may be said twice, and a close behind it", async () => {
  const pair = linkPair();
  pair.server.link.end();
  pair.server.link.end();
  await pair.server.until(() => pair.server.over !== undefined);
  pair.server.link.end();
  pair.server.link.close(new TunnelError("internal", "too late"));
  expect(pair.server.over).toEqual({ error: undefined });
});

test("what is said behind the end no longer reaches a carrier that has ended", async () => {
  const { end, peer } = linkAndRawPeer({ recording: { consume: false } });
  peer.say([open(1)]);
  const { stream } = await end.arrival();
  const carrierEnd = vi.spyOn(end.carrier, "end").mockImplementationOnce(() => {
    end.carrier.end();
    // The memory carrier throws if something follows its end, and if it is ended twice.
    queueMicrotask(() => {
      stream.write(Buffer.from("late"));
      end.link.say({ message: "drain", drain: { graceMs: 1 } });
      end.link.ping(() => {});
      stream.reset("SHUTTING_DOWN");
    });
  });
  end.link.end();
  stream.accept(Buffer.from("200"));
  await end.until(() => end.over !== undefined);
  expect(carrierEnd).toHaveBeenCalled();
  expect(peer.heard.map(({ message }) => message)).toEqual(["accept"]);
  expect(end.over).toEqual({ error: undefined });
});

test("a peer that never reads is cut after 5 seconds", async () => {
  vi.useFakeTimers();
  const pair = linkPair();
  const { handler } = pair.server.open();
  pair.server.carrier.hold();
  pair.server.link.end();
  await vi.advanceTimersByTimeAsync(4_990);
  expect(pair.server.over).toBeUndefined();
  await vi.advanceTimersByTimeAsync(20);
  expect(pair.server.over).toEqual({ error: undefined });
  expect(handler.events).toEqual(["reset LINK_LOST"]);
  await vi.advanceTimersByTimeAsync(10);
  expect(pair.client.over!.error).toMatchObject({ code: "lost" });
  expect(vi.getTimerCount()).toBe(0);
});

test("an end that goes well leaves no timer behind", async () => {
  vi.useFakeTimers();
  const pair = linkPair();
  pair.server.link.end();
  await vi.advanceTimersByTimeAsync(100);
  expect(pair.server.over).toEqual({ error: undefined });
  expect(vi.getTimerCount()).toBe(0);
});

describe.each(["closed", "ending"])("on a link that is %s", (state) => {
  test("a stream that is opened fails in the next turn, and says nothing to the other end", async () => {
    const pair = linkPair({ record: true });
    const before = await openStream(pair);
    if (state === "closed") pair.server.link.close();
    else pair.server.link.end();
    const sent = pair.server.carrier.sent.length;
    const { stream, handler } = pair.server.open();
    stream.write(Buffer.alloc(300 * KIB));
    stream.end();
    expect(handler.events).toEqual([]);
    await handler.until(({ failure }) => failure !== undefined);
    expect(handler.events).toEqual(["reset LINK_LOST"]);
    await pair.client.until(() => pair.client.over !== undefined);
    expect(pair.client.over!.error?.code).toBe(state === "closed" ? "lost" : undefined);
    await pair.server.until(() => pair.server.over !== undefined);
    expect(pair.client.arrivals).toHaveLength(1);
    expect(pair.server.carrier.sent).toHaveLength(sent);
    expect(before.nearHandler.failure).toBe("LINK_LOST");
  });

  test("one that is reset before the next turn hears nothing", async () => {
    const pair = linkPair();
    if (state === "closed") pair.server.link.close();
    else pair.server.link.end();
    const { stream, handler } = pair.server.open();
    stream.reset("CANCELLED");
    await turn();
    await turn();
    expect(handler.events).toEqual([]);
    await pair.client.until(() => pair.client.over !== undefined);
    expect(pair.client.over!.error?.code).toBe(state === "closed" ? "lost" : undefined);
  });
});

test("close tells every stream with the error's words, then the link's handler, once", async () => {
  const pair = linkPair();
  const { nearHandler } = await openStream(pair);
  const told: string[] = [];
  nearHandler.onEvent = () => told.push("stream");
  pair.server.closed = () => told.push("link");
  pair.server.link.close(new TunnelError("lost", "the connection is dead"));
  pair.server.link.close(new TunnelError("lost", "again"));
  expect(told).toEqual(["stream", "link"]);
  expect(nearHandler.detail).toBe("the connection is dead");
  await pair.client.until(() => pair.client.over !== undefined);
  await turn();
  expect(told).toEqual(["stream", "link"]);
});

describe("a link may be closed from inside a callback while a batch is being handled", () => {
  test.each(["interim", "accepted", "data", "end", "drained", "reset"])("%s", async (callback) => {
    const pair = linkPair({ slice: 7 });
    const others = await Promise.all([openStream(pair), openStream(pair)]);
    const { stream, handler } = pair.server.open();
    const { stream: far } = await pair.client.arrival(2);
    handler.onEvent = (event) => {
      if (!event.startsWith(callback) || pair.server.link.closed) return;
      pair.server.link.close();
      // Whatever is done now leads nowhere, and hurts nobody.
      others[0].near.write(Buffer.alloc(100 * KIB));
      others[0].near.reset("CANCELLED");
      stream.end();
      pair.server.open({}, {});
    };
    if (callback === "drained") stream.write(Buffer.alloc(400 * KIB));
    far.interim(Buffer.from("103"));
    far.accept(Buffer.from("200"));
    far.write(Buffer.alloc(50 * KIB));
    others[0].far.write(Buffer.alloc(50 * KIB));
    if (callback === "end") far.end(Buffer.from("t: 1\r\n"));
    if (callback === "reset") far.reset("INTERNAL");
    await pair.server.until(() => pair.server.over !== undefined);
    const events = others.map(({ nearHandler }) => nearHandler.events.length);
    await pair.client.until(() => pair.client.over !== undefined);
    expect(others.map(({ nearHandler }) => nearHandler.events.length)).toEqual(events);
    expect(others.map(({ nearHandler }) => nearHandler.events.at(-1))).toEqual([
      "reset LINK_LOST",
      "reset LINK_LOST",
    ]);
    expect(handler.events.filter((event) => event === "reset LINK_LOST")).toHaveLength(
      callback === "reset" ? 0 : 1,
    );
    expect(pair.server.link.streams).toBe(0);
  });

  test("opened and message", async () => {
    const { end, peer } = linkAndRawPeer();
    end.onOpened = (stream) => {
      RecordingHandler.on(stream);
      end.link.close();
    };
    peer.say([open(1), open(3), { message: "ping", ping: { id: 1 } }]);
    await turnsUntil(() => peer.over);
    expect(peer.heard).toEqual([]);
    expect(end.link.streams).toBe(0);
  });

  test("the end of the last stream", async () => {
    const pair = linkPair();
    const { near, far, farHandler } = await openStream(pair);
    pair.server.link.whenNoStreams(() => pair.server.link.close());
    far.end();
    await roundTrip(pair.client);
    // The chunk with the end is what closes the link, while its batch is being made.
    near.write(Buffer.from("last"));
    near.end();
    await pair.client.until(() => pair.client.over !== undefined);
    expect(farHandler.failure).toBe("LINK_LOST");
    expect(pair.server.over).toEqual({ error: undefined });
  });
});

test("a stream may be opened from inside closed: it fails in the next turn", async () => {
  const pair = linkPair();
  const late = new RecordingHandler();
  pair.server.closed = () => {
    pair.server.link.open(openRequest(), late);
  };
  pair.server.link.close();
  expect(late.events).toEqual([]);
  await late.until(({ failure }) => failure !== undefined);
  expect(late.events).toEqual(["reset LINK_LOST"]);
});

test("whenNoStreams calls back at once, or when the last one is over, once", async () => {
  const pair = linkPair();
  const calls: string[] = [];
  pair.server.link.whenNoStreams(() => calls.push("none"));
  expect(calls).toEqual(["none"]);
  const first = await openStream(pair);
  const second = await openStream(pair);
  pair.server.link.whenNoStreams(() => calls.push("last"));
  first.near.reset("CANCELLED");
  expect(calls).toEqual(["none"]);
  second.far.reset("CANCELLED");
  await second.nearHandler.until(({ failure }) => failure !== undefined);
  expect(calls).toEqual(["none", "last"]);
  (await openStream(pair)).near.reset("CANCELLED");
  expect(calls).toEqual(["none", "last"]);
});

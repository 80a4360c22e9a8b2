import { describe, expect, test } from "vitest";
import { END } from "../../link/chunks.ts";
import type { ResetCode } from "../../link/messages.ts";
import type { LinkStream } from "../../link/stream.ts";
import { linkPair, type LinkEnd, openStream, roundTrip } from "../support/link-pair.ts";
import { accept, chunk, linkAndRawPeer, open } from "../support/raw-peer.ts";
import type { RecordingHandler } from "../support/recording-handler.ts";
import { turnsUntil } from "../support/turns.ts";

const KIB = 1024;

interface Situation {
  near: LinkStream;
  nearHandler: RecordingHandler;
  far: LinkStream;
  farHandler: RecordingHandler;
}

type Pair = ReturnType<typeof linkPair>;

/** How far a stream has come, seen from both ends, with everything that was said delivered. */
const STATES: Record<string, (pair: Pair) => Promise<Situation>> = {
  "before the answer": async (pair) => opened(pair),
  "before the answer, behind the request's end": async (pair) => {
    const situation = await opened(pair);
    situation.near.end();
    await situation.farHandler.until(({ ended }) => ended);
    return situation;
  },
  "behind an interim answer": async (pair) => {
    const situation = await opened(pair);
    situation.far.interim(Buffer.from("103"));
    await situation.nearHandler.until(({ events }) => events.length === 1);
    return situation;
  },
  "behind the answer": async (pair) => openStream(pair),
  "amid data both ways": async (pair) => {
    const situation = await openStream(pair);
    situation.near.write(Buffer.alloc(200 * KIB));
    situation.far.write(Buffer.alloc(200 * KIB));
    await situation.nearHandler.until((h) => h.receivedBytes > 0);
    await situation.farHandler.until((h) => h.receivedBytes > 0);
    return situation;
  },
  "out of credit both ways": async (pair) => {
    const situation = await openStream(pair);
    situation.near.handler.data = () => {};
    situation.far.handler.data = () => {};
    situation.near.write(Buffer.alloc(500 * KIB));
    situation.far.write(Buffer.alloc(500 * KIB));
    await roundTrip(pair.server);
    await roundTrip(pair.server);
    return situation;
  },
  "behind the opener's end": async (pair) => {
    const situation = await openStream(pair);
    situation.near.end();
    await situation.farHandler.until(({ ended }) => ended);
    return situation;
  },
  "behind the other's end": async (pair) => {
    const situation = await openStream(pair);
    situation.far.end();
    await situation.nearHandler.until(({ ended }) => ended);
    return situation;
  },
  "with an end that waits for credit": async (pair) => {
    const situation = await openStream(pair, { near: { consume: false } });
    situation.far.write(Buffer.alloc(500 * KIB));
    situation.far.end(Buffer.from("t: 1\r\n"));
    await situation.nearHandler.until((h) => h.receivedBytes === 256 * KIB);
    return situation;
  },
};

async function opened(pair: Pair): Promise<Situation> {
  const { stream: near, handler: nearHandler } = pair.server.open();
  const { stream: far, handler: farHandler } = await pair.client.arrival();
  return { near, nearHandler, far, farHandler };
}

describe.each(Object.entries(STATES))("%s", (_, reach) => {
  test.each(["the opener", "the other end"])(
    "a reset by %s is told to the other, and to nobody else",
    async (who) => {
      const pair = linkPair();
      const { near, nearHandler, far, farHandler } = await reach(pair);
      const [mine, mineHandler, theirs, theirsHandler, end] =
        who === "the opener"
          ? ([near, nearHandler, far, farHandler, pair.server] as const)
          : ([far, farHandler, near, nearHandler, pair.client] as const);
      const before = mineHandler.events.length;
      mine.reset("TIMEOUT", "took too long");
      useUp(mine);
      await theirsHandler.until(({ failure }) => failure !== undefined);
      expect([theirsHandler.failure, theirsHandler.detail]).toEqual(["TIMEOUT", "took too long"]);
      const atReset = theirsHandler.events.length;
      useUp(theirs);
      await roundTrip(end);
      await roundTrip(end);
      expect(theirsHandler.events.length).toBe(atReset);
      expect(theirsHandler.events.at(-1)).toBe("reset TIMEOUT");
      expect(mineHandler.events.length).toBe(before);
      expectBothAlive(pair);
    },
  );

  test("resets that cross tell nobody anything", async () => {
    const pair = linkPair();
    const { near, nearHandler, far, farHandler } = await reach(pair);
    const before = [nearHandler.events.length, farHandler.events.length];
    near.reset("CANCELLED");
    far.reset("INTERNAL");
    await roundTrip(pair.server);
    expect([nearHandler.events.length, farHandler.events.length]).toEqual(before);
    expectBothAlive(pair);
  });

  test("a link that breaks tells both ends, once", async () => {
    const pair = linkPair();
    const { nearHandler, farHandler } = await reach(pair);
    pair.server.link.close();
    await pair.client.until(() => pair.client.over !== undefined);
    for (const { events } of [nearHandler, farHandler]) {
      expect(events.filter((event) => event.startsWith("reset"))).toEqual(["reset LINK_LOST"]);
      expect(events.at(-1)).toBe("reset LINK_LOST");
    }
    expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
  });
});

test("behind both ends a reset means nothing any more", async () => {
  const pair = linkPair();
  const { near, nearHandler, far, farHandler } = await openStream(pair);
  near.end();
  far.end();
  await nearHandler.until(({ ended }) => ended);
  await farHandler.until(({ ended }) => ended);
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
  near.reset("CANCELLED");
  far.reset("CANCELLED");
  await roundTrip(pair.server);
  expect(nearHandler.events).toEqual(["accepted yes", "end"]);
  expect(farHandler.events).toEqual(["end"]);
});

test("a reset drops what is queued, and the stream beside it is not delayed", async () => {
  const pair = linkPair();
  const dropped = await openStream(pair);
  const other = await openStream(pair);
  pair.server.carrier.hold();
  for (let i = 0; i < 8; i++) dropped.near.write(Buffer.alloc(1024 * KIB));
  dropped.near.reset("CANCELLED");
  other.near.write(Buffer.from("other"));
  pair.server.carrier.release();
  await other.farHandler.until((h) => h.receivedBytes > 0);
  expect(dropped.farHandler.failure).toBe("CANCELLED");
  // What left before the reset was said, at most.
  expect(dropped.farHandler.receivedBytes).toBeLessThanOrEqual(256 * KIB);
  other.far.reset("CANCELLED");
  await roundTrip(pair.server);
  expectBothAlive(pair);
});

test("a stream that is opened and reset in one turn is seen and gone", async () => {
  const pair = linkPair();
  const { stream } = pair.server.open();
  stream.write(Buffer.from("never sent"));
  stream.reset("CANCELLED");
  const { handler } = await pair.client.arrival();
  await handler.until(({ failure }) => failure !== undefined);
  expect(handler.events).toEqual(["reset CANCELLED"]);
  await roundTrip(pair.server);
  expectBothAlive(pair);
});

test("a code that this version does not know counts as internal", async () => {
  const { end, peer } = linkAndRawPeer();
  const { stream, handler } = end.open();
  await turnsUntil(() => peer.batches === 1);
  // As it comes from proto-loader.
  const code = 77 as unknown as ResetCode;
  peer.say([{ message: "reset", reset: { stream: stream.id, code, detail: "from the future" } }]);
  await handler.until(({ failure }) => failure !== undefined);
  expect([handler.failure, handler.detail]).toEqual(["INTERNAL", "from the future"]);
  expect(end.over).toBeUndefined();
});

test("late words about a stream that is over are no breach", async () => {
  const { end, peer } = linkAndRawPeer();
  const { stream, handler } = end.open();
  stream.reset("CANCELLED");
  peer.say([open(1)]);
  const arrival = await end.arrival();
  arrival.stream.reset("CANCELLED");
  peer.say(
    [
      accept(2),
      { message: "interim", interim: { stream: 2, head: Buffer.from("103") } },
      { message: "credit", credit: { stream: 2, bytes: 1000 } },
      { message: "credit", credit: { stream: 1, bytes: 1000 } },
      { message: "reset", reset: { stream: 2, code: "INTERNAL", detail: "" } },
      { message: "reset", reset: { stream: 1, code: "INTERNAL", detail: "" } },
      { message: "tunnels", tunnels: { tunnels: [] } },
    ],
    Buffer.concat([chunk(2, 0, "late"), chunk(1, END, "late"), chunk(2, END), chunk(1, 0, "later")]),
  );
  peer.say([{ message: "drain", drain: { graceMs: 0 } }]);
  await end.until(() => end.messages.length === 2);
  expect(handler.events).toEqual([]);
  expect(arrival.handler.events).toEqual([]);
  expect(end.over).toBeUndefined();
  expect(end.link.streams).toBe(0);
});

describe("a handler may reset its stream from inside any callback", () => {
  test.each(["interim", "accepted", "data", "end", "drained"])("%s", async (callback) => {
    const pair = linkPair({ slice: 5 });
    const { stream, handler } = pair.server.open();
    handler.onEvent = (event) => {
      if (event.startsWith(callback)) stream.reset("CANCELLED", callback);
    };
    const { stream: far, handler: farHandler } = await pair.client.arrival();
    if (callback === "drained") stream.write(Buffer.alloc(400 * KIB));
    far.interim(Buffer.from("103"));
    far.accept(Buffer.from("200"));
    far.write(Buffer.from("some data in several slices"));
    if (callback === "end") far.end(Buffer.from("t: 1\r\n"));
    await farHandler.until(({ failure }) => failure !== undefined);
    expect(farHandler.detail).toBe(callback);
    expect(handler.events.at(-1)).toMatch(callback);
    await roundTrip(pair.server);
    expectBothAlive(pair);
  });

  test("opened", async () => {
    const pair = linkPair();
    pair.client.onOpened = (stream) => stream.reset("UNKNOWN_TUNNEL");
    const { handler } = pair.server.open({ end: true });
    await handler.until(({ failure }) => failure !== undefined);
    expect(handler.events).toEqual(["reset UNKNOWN_TUNNEL"]);
    expectBothAlive(pair);
  });

  test("and open another from inside a reset", async () => {
    const pair = linkPair();
    const { stream, handler } = await openedStream(pair.server);
    let second: RecordingHandler | undefined;
    handler.onEvent = () => {
      second = pair.server.open({ end: true }).handler;
    };
    (await pair.client.arrival()).stream.reset("REFUSED");
    await handler.until(({ failure }) => failure !== undefined);
    (await pair.client.arrival(1)).stream.accept(Buffer.from("200"), true);
    await second!.until(({ ended }) => ended);
    expect(stream.id).toBe(2);
    expectBothAlive(pair);
  });
});

async function openedStream(end: LinkEnd): Promise<{ stream: LinkStream; handler: RecordingHandler }> {
  const opened = end.open();
  await roundTrip(end);
  return opened;
}

/** Tries everything on a stream that is over: nothing may come of it. */
function useUp(stream: LinkStream): void {
  stream.accept(Buffer.from("late"));
  stream.interim(Buffer.from("late"));
  expect(stream.write(Buffer.from("late"))).toBe(true);
  stream.consumed(0);
  stream.end();
  stream.end(Buffer.from("late: 1\r\n"));
  stream.reset("INTERNAL", "late");
}

function expectBothAlive({ server, client }: Pair): void {
  expect([server.link.streams, client.link.streams]).toEqual([0, 0]);
  expect([server.over, client.over]).toEqual([undefined, undefined]);
}

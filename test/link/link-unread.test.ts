import { describe, expect, test } from "vitest";
import { INITIAL_WINDOW_BYTES, MIN_WINDOW_BYTES } from "../../link/credit.ts";
import type { LinkStream, StreamFailure } from "../../link/stream.ts";
import { UnreadBudget } from "../../link/unread-budget.ts";
import { linkPair, openStream, roundTrip } from "../support/link-pair.ts";
import { accept, chunk, linkAndRawPeer, open, type RawPeer } from "../support/raw-peer.ts";
import { RecordingHandler } from "../support/recording-handler.ts";
import { turn, turnsUntil } from "../support/turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const CHUNK = Buffer.alloc(64 * KIB, "0123456789abcdef");

/** Keeps what it is sent and reads none of it, like a socket that nobody empties. */
class Hoarder extends RecordingHandler {
  readonly #onChange: (bytes: number) => void;
  hoardedBytes = 0;

  constructor(onChange: (bytes: number) => void = () => {}) {
    super({ consume: false, keep: false });
    this.#onChange = onChange;
  }

  override data(bytes: Buffer): void {
    this.hoardedBytes += bytes.length;
    this.#onChange(bytes.length);
    super.data(bytes);
  }

  override reset(code: StreamFailure, detail: string): void {
    this.#onChange(-this.hoardedBytes);
    this.hoardedBytes = 0;
    super.reset(code, detail);
  }
}

/** As `Hoarder`, and answerable for its bytes behind the end. */
class LateReader extends Hoarder {
  readonly readsBehindEnd = true;
}

describe("4,000 streams that use all their credit and are never read", () => {
  const LIMIT = 16 * MIB;

  test("hold no more than the limit, and cost the link nothing, nor the stream that is read", async () => {
    const budget = new UnreadBudget(LIMIT);
    const { end, peer } = linkAndRawPeer({ limits: { budget } });
    let hoarded = 0;
    let most = 0;
    const hoarders: Hoarder[] = [];
    const reading = new RecordingHandler({ keep: false });
    end.onOpened = (stream) => {
      stream.handler =
        stream.id === 1
          ? reading
          : new Hoarder((bytes) => {
              hoarded += bytes;
              most = Math.max(most, hoarded, budget.heldBytes);
            });
      if (stream.id === 1) reading.stream = stream;
      else hoarders.push(stream.handler as Hoarder);
    };
    peer.say([open(1)]);
    let read = INITIAL_WINDOW_BYTES;
    let sent = 0;
    for (let i = 0; i < 4_000; i++) {
      const id = 3 + 2 * i;
      const all = Array<Buffer>(INITIAL_WINDOW_BYTES / CHUNK.length).fill(chunk(id, 0, CHUNK));
      // The one that is read sends as fast as it is given credit: 64 KiB between two of the others, if it can.
      const bytes = Math.min(read - sent, CHUNK.length);
      if (bytes > 0) all.push(chunk(1, 0, CHUNK.subarray(0, bytes)));
      sent += bytes;
      peer.say([open(id)], Buffer.concat(all));
      await turnsUntil(() => hoarders.length === i + 1);
      await turn();
      read = INITIAL_WINDOW_BYTES;
      for (const control of peer.heard) {
        if (control.message === "credit" && control.credit.stream === 1) read += control.credit.bytes;
      }
      peer.heard.splice(0, peer.heard.length, ...peer.heard.filter(isCreditOfOne));
    }
    // The last chunk is counted once it has been looked at.
    expect(most).toBeGreaterThan(LIMIT * 0.9);
    expect(most).toBeLessThanOrEqual(LIMIT + 2 * CHUNK.length);
    expect(hoarders.filter(({ failure }) => failure === "OVERLOADED").length).toBeGreaterThan(3_900);
    expect(end.over).toBeUndefined();
    expect(reading.failure).toBeUndefined();
    expect(reading.receivedBytes).toBe(sent);
    // It went on in steps of a small window all along.
    expect(sent).toBeGreaterThan(4_000 * (MIN_WINDOW_BYTES / 2));
    end.link.close();
    expect([hoarded, budget.heldBytes]).toEqual([0, 0]);
  }, 60_000);

  test("tell their sender why they end", async () => {
    const { end, peer } = linkAndRawPeer({
      limits: { budget: new UnreadBudget(MIB) },
      recording: { consume: false },
    });
    for (const id of [1, 3, 5, 7]) fill(peer, id);
    await turnsUntil(() => peer.heard.length > 0);
    expect(peer.heard[0]).toEqual({
      message: "reset",
      reset: { stream: 1, code: "OVERLOADED", detail: "too much lies unread" },
    });
    expect(end.arrivals[0]!.handler.failure).toBe("OVERLOADED");
  });
});

describe("what is counted", () => {
  test("a byte that keeps a batch of a megabyte in memory counts as that", async () => {
    const budget = new UnreadBudget();
    const { end, peer } = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    const batch = [chunk(1, 0, "x"), ...Array<Buffer>(16).fill(chunk(3, 0, CHUNK))];
    end.onOpened = (stream) => {
      if (stream.id === 1) stream.handler = new Hoarder();
      else stream.reset("CANCELLED");
    };
    peer.say([open(1), open(3)], Buffer.concat(batch));
    await turnsUntil(() => budget.heldBytes > 0);
    expect(budget.heldBytes).toBeGreaterThan(MIB);
  });

  test("under pressure nothing keeps its batch, so that it counts as itself", async () => {
    const budget = new UnreadBudget();
    budget.add(200 * MIB);
    const { end, peer } = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    end.onOpened = (stream) => {
      if (stream.id === 1) stream.handler = new Hoarder();
      else stream.reset("CANCELLED");
    };
    const batch = [chunk(1, 0, "x"), ...Array<Buffer>(16).fill(chunk(3, 0, CHUNK))];
    peer.say([open(1), open(3)], Buffer.concat(batch));
    await turnsUntil(() => budget.heldBytes > 200 * MIB);
    expect(budget.heldBytes).toBeLessThan(200 * MIB + KIB);
  });

  test("bytes one by one count as what each of them takes", async () => {
    const budget = new UnreadBudget();
    const { peer } = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    peer.say([open(1)], Buffer.concat(Array<Buffer>(10_000).fill(chunk(1, 0, "x"))));
    await turnsUntil(() => budget.heldBytes > 0);
    expect(budget.heldBytes).toBeGreaterThan(10_000 * 400);
  });

  test("large heads count for as long as their streams live, and the stream of one too many is never served", async () => {
    const budget = new UnreadBudget(MIB);
    const { end, peer } = linkAndRawPeer({ limits: { budget } });
    const head = Buffer.alloc(200 * KIB, "h");
    for (let id = 1; id < 200; id += 2) peer.say([open(id, { head, end: true })]);
    await turnsUntil(() => peer.heard.filter(({ message }) => message === "reset").length > 90);
    expect(budget.heldBytes).toBeLessThanOrEqual(MIB);
    expect(end.link.streams).toBeLessThanOrEqual(5);
    expect(end.over).toBeUndefined();
    for (const { stream } of end.arrivals) stream.reset("CANCELLED");
    expect(budget.heldBytes).toBe(0);
  });

  test("usual heads do not count", async () => {
    const budget = new UnreadBudget();
    const { end, peer } = linkAndRawPeer({ limits: { budget } });
    peer.say([open(1, { head: Buffer.alloc(4 * KIB) })]);
    await end.arrival();
    expect(budget.heldBytes).toBe(0);
  });
});

describe("under pressure", () => {
  test("new streams start with 16 KiB, which the other end keeps to, and move on as they are read", async () => {
    const budget = new UnreadBudget();
    const pair = linkPair({ recording: { keep: false }, limits: { budget } });
    budget.add(200 * MIB);
    const answering = new RecordingHandler({ keep: false, consume: false });
    const stream = pair.server.link.open(
      { tunnel: 1, kind: "HTTP", requestId: "r", visitor: "v", head: Buffer.from("head"), end: false },
      answering,
    );
    const { stream: far, open } = await pair.client.arrival();
    expect(open.credit).toBe(MIN_WINDOW_BYTES);
    far.accept(Buffer.from("200"));
    far.write(Buffer.alloc(3 * MIN_WINDOW_BYTES));
    far.end();
    await answering.until((h) => h.receivedBytes > 0);
    await roundTrip(pair.client);
    expect(answering.receivedBytes).toBe(MIN_WINDOW_BYTES);

    answering.stream = stream;
    answering.onEvent = (event) => {
      if (event === "data") stream.consumed(MIN_WINDOW_BYTES / 4);
    };
    for (let i = 0; i < 4; i++) stream.consumed(MIN_WINDOW_BYTES / 4);
    await answering.until(({ ended }) => ended);
    expect(answering.receivedBytes).toBe(3 * MIN_WINDOW_BYTES);
  });

  test("relaxed, an Open says nothing of credit", async () => {
    const pair = linkPair();
    pair.server.open();
    const { open } = await pair.client.arrival();
    expect(open.credit).toBeUndefined();
  });

  test("a stream that is read at once moves 32 MB", async () => {
    const budget = new UnreadBudget();
    const pair = linkPair({ recording: { keep: false }, limits: { budget } });
    budget.add(200 * MIB);
    const { near, nearHandler, farHandler } = await openStream(pair);
    let left = 32_000_000;
    const go = (): void => {
      while (left > 0) {
        const bytes = Math.min(left, CHUNK.length);
        left -= bytes;
        if (!near.write(CHUNK.subarray(0, bytes))) return;
      }
      near.end();
    };
    nearHandler.onEvent = (event) => {
      if (event === "drained") go();
    };
    go();
    await farHandler.until(({ ended }) => ended);
    expect(farHandler.receivedBytes).toBe(32_000_000);
  });
});

describe("two links with one budget", () => {
  test("room for one is made by streams of the other", async () => {
    const budget = new UnreadBudget(MIB);
    const one = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    const other = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    for (const id of [1, 3, 5]) fill(one.peer, id);
    await turnsUntil(() => budget.heldBytes > 3 * INITIAL_WINDOW_BYTES);
    const { stream } = other.end.open();
    other.peer.say([accept(stream.id)]);
    await turnsUntil(() => other.peer.heard.length > 0);
    expect(other.peer.heard).toMatchObject([{ message: "open", open: { credit: MIN_WINDOW_BYTES } }]);

    fill(other.peer, 1);
    const { handler } = await one.end.arrival(0);
    await handler.until(({ failure }) => failure === "OVERLOADED");
    await other.end.arrival(0);
    expect(other.end.arrivals[0]!.handler.failure).toBeUndefined();
    expect([one.end.over, other.end.over]).toEqual([undefined, undefined]);
  });

  test("a handler that throws when its stream makes room ends its own link, and not the one that needed it", async () => {
    const budget = new UnreadBudget(MIB);
    const one = linkAndRawPeer({ limits: { budget } });
    const other = linkAndRawPeer({ limits: { budget }, recording: { consume: false } });
    one.end.onOpened = (stream) => {
      const hoarder = new Hoarder();
      hoarder.onEvent = (event) => {
        if (event.startsWith("reset OVERLOADED")) throw new Error("a mistake");
      };
      stream.handler = hoarder;
    };
    for (const id of [1, 3, 5]) fill(one.peer, id);
    await turnsUntil(() => budget.heldBytes > 3 * INITIAL_WINDOW_BYTES);
    fill(other.peer, 1);
    await one.end.until(() => one.end.over !== undefined);
    expect(one.end.over?.error?.code).toBe("internal");
    expect(other.end.over).toBeUndefined();
  });
});

describe("the budget is whole again", () => {
  const ENDS: Record<string, (stream: LinkStream, pair: ReturnType<typeof linkPair>) => void> = {
    "when the reader resets": (stream) => stream.reset("CANCELLED"),
    "when the link is closed": (_stream, pair) => pair.client.link.close(),
    "when the link is lost": (_stream, pair) => pair.server.carrier.abort(),
    "when all has been read": (stream) => stream.consumed(100 * KIB),
  };

  test.each(Object.entries(ENDS))("%s", async (_name, finish) => {
    const budget = new UnreadBudget();
    const pair = linkPair({ recording: { consume: false, keep: false }, limits: { budget } });
    const { near, far, farHandler } = await openStream(pair);
    near.write(Buffer.alloc(100 * KIB));
    await farHandler.until((h) => h.receivedBytes === 100 * KIB);
    expect(budget.heldBytes).toBeGreaterThanOrEqual(100 * KIB);
    finish(far, pair);
    await turnsUntil(() => budget.heldBytes === 0);
  });

  test("when the sender resets", async () => {
    const budget = new UnreadBudget();
    const pair = linkPair({ recording: { consume: false, keep: false }, limits: { budget } });
    const { near, farHandler } = await openStream(pair);
    near.write(Buffer.alloc(100 * KIB));
    await farHandler.until((h) => h.receivedBytes === 100 * KIB);
    near.reset("CANCELLED");
    await farHandler.until(({ failure }) => failure === "CANCELLED");
    expect(budget.heldBytes).toBe(0);
  });

  test("when both directions have ended, if nobody answers for what is left", async () => {
    const { budget } = await endedWith(new Hoarder());
    expect(budget.heldBytes).toBe(0);
  });

  describe("when both directions have ended, and a handler answers for what is left,", () => {
    test("once it has read that", async () => {
      const { budget, far } = await endedWith(new LateReader());
      expect(budget.heldBytes).toBeGreaterThanOrEqual(100 * KIB);
      far.consumed(60 * KIB);
      expect(budget.heldBytes).toBeLessThan(50 * KIB);
      far.consumed(40 * KIB);
      expect(budget.heldBytes).toBe(0);
      far.consumed(1);
      expect(budget.heldBytes).toBe(0);
    });

    test("once it has given up", async () => {
      const { budget, far, pair } = await endedWith(new LateReader());
      far.reset("CONNECTION_LOST");
      expect(budget.heldBytes).toBe(0);
      far.consumed(100 * KIB);
      expect(budget.heldBytes).toBe(0);
      await roundTrip(pair.server);
      expect([pair.server.over, pair.client.over]).toEqual([undefined, undefined]);
    });

    test("once there is no room for it, even if its link has gone", async () => {
      const handler = new LateReader();
      const { budget, pair } = await endedWith(handler);
      pair.client.link.close();
      expect(budget.heldBytes).toBeGreaterThanOrEqual(100 * KIB);
      budget.add(256 * MIB);
      expect(handler.failure).toBe("OVERLOADED");
      budget.giveBack(256 * MIB);
      expect(budget.heldBytes).toBe(0);
    });
  });
});

test("an end may say how many streams the other may hold open", async () => {
  const { end, peer } = linkAndRawPeer({ limits: { maxPeerStreams: 2 } });
  peer.say([open(1), open(3), open(5)]);
  await turnsUntil(() => peer.heard.length > 0);
  expect(peer.heard).toMatchObject([{ message: "reset", reset: { stream: 5, code: "OVERLOADED" } }]);
  expect(end.arrivals).toHaveLength(2);
  end.arrivals[0]!.stream.reset("CANCELLED");
  peer.say([open(7)]);
  await end.arrival(2);
});

/** A stream that has ended both ways, with 100 KiB that its handler has not read. */
async function endedWith(handler: Hoarder) {
  const budget = new UnreadBudget();
  const pair = linkPair({ limits: { budget } });
  const { near, far } = await openStream(pair);
  far.handler = handler;
  near.write(Buffer.alloc(100 * KIB));
  near.end();
  await handler.until(({ ended }) => ended);
  far.end();
  await turnsUntil(() => pair.client.link.streams === 0 && pair.server.link.streams === 0);
  return { budget, pair, far };
}

/** Opens a stream, and uses all its credit. */
function fill(peer: RawPeer, id: number): void {
  peer.say([open(id)]);
  for (let sent = 0; sent < INITIAL_WINDOW_BYTES; sent += CHUNK.length) peer.say([], chunk(id, 0, CHUNK));
}

function isCreditOfOne(control: { message: string; credit?: { stream: number } }): boolean {
  return control.message === "credit" && control.credit?.stream === 1;
}

import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from "../../link/credit.ts";
import type { LinkStream } from "../../link/stream.ts";
import { type Exchange, linkPair, openStream, roundTrip } from "../support/link-pair.ts";
import { chunk, linkAndRawPeer, open, type RawPeer } from "../support/raw-peer.ts";
import { RecordingHandler } from "../support/recording-handler.ts";
import { turnsUntil } from "../support/turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const CHUNK = Buffer.alloc(64 * KIB, "0123456789abcdef");

/** Writes chunks for as long as the stream takes them, again whenever it drains. Says how much went in. */
class Pump {
  writtenBytes = 0;
  readonly #stream: LinkStream;
  readonly #totalBytes: number;

  constructor(stream: LinkStream, handler: RecordingHandler, totalBytes = Infinity) {
    this.#stream = stream;
    this.#totalBytes = totalBytes;
    handler.onEvent = (event) => {
      if (event === "drained") this.go();
    };
  }

  go(): this {
    while (this.writtenBytes < this.#totalBytes) {
      const length = Math.min(CHUNK.length, this.#totalBytes - this.writtenBytes);
      this.writtenBytes += length;
      if (!this.#stream.write(CHUNK.subarray(0, length))) return this;
    }
    this.#stream.end();
    return this;
  }
}

describe("pausing a writer", () => {
  test("write says false at 64 KiB of its own queue, and drained comes once, when most of it has left", async () => {
    const pair = linkPair();
    const { near, nearHandler } = await openStream(pair);
    pair.server.carrier.hold();
    // Each chunk counts as 512 bytes more.
    expect(near.write(Buffer.alloc(63 * KIB - 1))).toBe(true);
    expect(near.write(Buffer.alloc(1))).toBe(false);
    await nearHandler.until(({ drains }) => drains === 1);
    expect(near.write(Buffer.alloc(10))).toBe(true);
    pair.server.carrier.release();
    await roundTrip(pair.server);
    expect(nearHandler.drains).toBe(1);
  });

  test("write says false at a hundred chunks of a byte, since each takes half a kilobyte", async () => {
    const pair = linkPair();
    const { near, nearHandler } = await openStream(pair);
    pair.server.carrier.hold();
    let chunks = 1;
    while (near.write(Buffer.alloc(1))) chunks++;
    expect(chunks).toBe(Math.ceil((64 * KIB) / 513));
    await nearHandler.until(({ drains }) => drains === 1);
  });

  test("drained does not come before there is credit, and comes when there is", async () => {
    const { end, peer } = linkAndRawPeer();
    end.link.peerStreamCredit = 100 * KIB;
    const { stream, handler } = end.open();
    expect(stream.write(Buffer.alloc(200 * KIB))).toBe(false);
    await roundTripWith(peer);
    expect(handler.drains).toBe(0);
    expect(sum(peer.chunks.map(({ payload }) => payload.length))).toBe(100 * KIB);

    // 68 KiB are still queued: more than half of what a stream may queue.
    peer.say([{ message: "credit", credit: { stream: 2, bytes: 32 * KIB } }]);
    await roundTripWith(peer);
    expect(handler.drains).toBe(0);
    peer.say([{ message: "credit", credit: { stream: 2, bytes: 37 * KIB } }]);
    await handler.until(({ drains }) => drains === 1);
  });

  test("a drained writer finds room, however many wait", async () => {
    const pair = linkPair({ recording: { keep: false } });
    const streams = await Promise.all(Array.from({ length: 100 }, () => openStream(pair)));
    pair.server.carrier.hold();
    const answers: boolean[] = [];
    for (const { near, nearHandler } of streams) {
      while (near.write(CHUNK.subarray(0, 16 * KIB)));
      nearHandler.onEvent = (event) => {
        if (event === "drained") answers.push(near.write(Buffer.alloc(1)));
      };
    }
    pair.server.carrier.release();
    await turnsUntil(() => answers.length === 100);
    expect(answers.every(Boolean)).toBe(true);
  });

  test("streams together queue about a megabyte that is ready to go", async () => {
    const pair = linkPair({ recording: { keep: false } });
    const streams = await Promise.all(Array.from({ length: 200 }, () => openStream(pair)));
    pair.server.carrier.hold();
    let written = 0;
    for (const { near } of streams) {
      do written += 8 * KIB;
      while (near.write(CHUNK.subarray(0, 8 * KIB)));
    }
    // A full queue, four batches under way, and one write of each stream to find out.
    expect(written).toBeLessThan(MIB + 64 * KIB + 4 * 192 * KIB + 200 * 8 * KIB);
    pair.server.carrier.release();
    await turnsUntil(() => sum(streams.map((s) => s.farHandler.receivedBytes)) === written);
  });
});

test("a stalled reader takes its window from the other end and the writer's queue, and no more", async () => {
  const pair = linkPair({ recording: { consume: false } });
  const { near, nearHandler, far, farHandler } = await openStream(pair);
  const pump = new Pump(near, nearHandler).go();
  await farHandler.until((h) => h.receivedBytes === INITIAL_WINDOW_BYTES);
  await roundTrip(pair.server);
  expect(farHandler.receivedBytes).toBe(INITIAL_WINDOW_BYTES);
  expect(pump.writtenBytes).toBeLessThanOrEqual(INITIAL_WINDOW_BYTES + 128 * KIB);

  far.consumed(64 * KIB);
  await farHandler.until((h) => h.receivedBytes === INITIAL_WINDOW_BYTES + 64 * KIB);
  await roundTrip(pair.server);
  expect(pump.writtenBytes).toBeLessThanOrEqual(INITIAL_WINDOW_BYTES + 192 * KIB);
});

test("a reader that keeps up gets 16 MiB on its way, and no more", async () => {
  const pair = linkPair({ recording: { keep: false } });
  const exchange = await openStream(pair);
  const stalled = await growAndStall(exchange);
  await stalled.until((h) => h.receivedBytes > MAX_WINDOW_BYTES * 0.75 - 64 * KIB);
  await roundTrip(pair.server);
  expect(stalled.receivedBytes).toBeLessThanOrEqual(MAX_WINDOW_BYTES);
  expect(exchange.nearHandler.failure).toBeUndefined();
});

test("beside 16 stalled readers a fast one moves 64 MB", async () => {
  const pair = linkPair({ recording: { keep: false } });
  pair.client.onOpened = (stream) => {
    stream.handler = new StalledHandler();
    stream.accept(Buffer.from("stalled"));
  };
  const stalled = Array.from({ length: 16 }, () => {
    const { stream, handler } = pair.server.open();
    return new Pump(stream, handler).go();
  });
  await roundTrip(pair.server);
  pair.client.onOpened = undefined;
  const fast = await openStream(pair);
  new Pump(fast.near, fast.nearHandler, 64_000_000).go();
  await fast.farHandler.until(({ ended }) => ended);
  expect(fast.farHandler.receivedBytes).toBe(64_000_000);
  for (const { writtenBytes } of stalled) {
    expect(writtenBytes).toBeLessThanOrEqual(INITIAL_WINDOW_BYTES + 128 * KIB);
  }
});

test("what stalled streams have queued takes no room from others", async () => {
  const pair = linkPair();
  const stalled: StalledHandler[] = [];
  pair.client.onOpened = (stream) => {
    stalled.push(new StalledHandler());
    stream.handler = stalled.at(-1)!;
  };
  for (let i = 0; i < 50; i++) pair.server.open().stream.write(Buffer.alloc(MIB));
  await pair.client.until(() => stalled.length === 50);
  await Promise.all(stalled.map((handler) => handler.until((h) => h.receivedBytes === INITIAL_WINDOW_BYTES)));
  pair.client.onOpened = undefined;
  const { near, farHandler } = await openStream(pair);
  expect(near.write(Buffer.alloc(60 * KIB))).toBe(true);
  await farHandler.until((h) => h.receivedBytes === 60 * KIB);
});

test("a thousand streams that write at once all finish, whole", async () => {
  const pair = linkPair({ recording: { keep: false, hash: true } });
  const streams = await Promise.all(Array.from({ length: 1000 }, () => openStream(pair)));
  const totals = streams.map((_, i) => 40_000 + ((i * 7919) % 90_000));
  streams.forEach(({ near, nearHandler }, i) => new Pump(near, nearHandler, totals[i]).go());
  await Promise.all(streams.map(({ farHandler }) => farHandler.until(({ ended }) => ended)));
  streams.forEach(({ farHandler }, i) => expect(farHandler.sha256()).toBe(hashOf(totals[i]!)));
  expect(pair.server.over ?? pair.client.over).toBeUndefined();
}, 60_000);

test("waiting writers go on when what they wait for is reset, from either end", async () => {
  const pair = linkPair({ recording: { keep: false } });
  const hogs = await Promise.all(Array.from({ length: 20 }, () => openStream(pair)));
  const waiting = await openStream(pair);
  pair.server.carrier.hold();
  for (const { near } of hogs) near.write(Buffer.alloc(200 * KIB));
  expect(waiting.near.write(Buffer.from("x"))).toBe(false);
  hogs.forEach(({ near, far }, i) => (i % 2 === 0 ? near : far).reset("CANCELLED"));
  await waiting.nearHandler.until(({ drains }) => drains === 1);
  pair.server.carrier.release();
  await waiting.farHandler.until((h) => h.receivedBytes === 1);
});

test("after 10,000 streams with every kind of end the budget is whole", async () => {
  const pair = linkPair({ recording: { consume: false, keep: false } });
  for (let round = 0; round < 100; round++) {
    const streams = Array.from({ length: 100 }, () => pair.server.open().stream);
    for (const stream of streams) stream.write(CHUNK.subarray(0, 8 * KIB));
    await pair.client.until(() => pair.client.arrivals.length === 100);
    pair.client.arrivals.forEach(({ stream: far }, i) => {
      const near = streams[i]!;
      if (i % 4 === 0) far.reset("CANCELLED");
      if (i % 4 === 1) near.reset("CANCELLED");
      if (i % 4 === 2) far.consumed(KIB);
      if (i % 4 >= 2) far.accept(Buffer.from("200"), true);
      if (i % 4 >= 2) near.end();
    });
    await roundTrip(pair.server);
    pair.client.arrivals.length = 0;
  }
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);

  // Were anything of it still counted as unread, or as grown, these seventeen would not get 4 MiB each.
  for (const reset of [true, false]) {
    const streams = await Promise.all(Array.from({ length: 17 }, () => openStream(pair)));
    const stalled = await Promise.all(streams.map((stream) => growAndStall(stream)));
    await Promise.all(stalled.map((handler) => handler.until((h) => h.receivedBytes > 3 * MIB)));
    streams.forEach(({ near, far }, i) => {
      if (!reset) return;
      if (i % 2 === 0) near.reset("CANCELLED");
      else far.reset("CANCELLED");
    });
    await roundTrip(pair.server);
  }
}, 60_000);

test("a direction that has ended leaves its room to others, though its stream lives on", async () => {
  const pair = linkPair({ recording: { keep: false } });
  const uploads = await Promise.all(Array.from({ length: 17 }, () => openStream(pair)));
  for (const { near, nearHandler } of uploads) new Pump(near, nearHandler, 16 * MIB).go();
  await Promise.all(uploads.map(({ farHandler }) => farHandler.until(({ ended }) => ended)));
  const streams = await Promise.all(Array.from({ length: 17 }, () => openStream(pair)));
  const stalled = await Promise.all(streams.map((stream) => growAndStall(stream)));
  await Promise.all(stalled.map((handler) => handler.until((h) => h.receivedBytes > 3 * MIB)));
  expect(pair.client.link.streams).toBe(34);
});

test("what lags behind does not keep whole batches in memory", async () => {
  const { end, peer } = linkAndRawPeer({ recording: { consume: false } });
  peer.say([open(1), open(3)]);
  for (let i = 0; i < 20; i++) {
    peer.say([], Buffer.concat([chunk(1, 0, "drop"), chunk(3, 0, Buffer.alloc(10 * KIB))]));
  }
  await end.until(() => end.arrivals.length === 2);
  const { handler } = end.arrivals[0]!;
  await handler.until((h) => h.receivedBytes === 80);
  expect(handler.text).toBe("drop".repeat(20));
  const pinned = sum(handler.chunks.slice(1).map(({ buffer }) => buffer.byteLength));
  expect(pinned).toBeLessThan(1000);
});

/** Takes data and never says that it was read. */
class StalledHandler extends RecordingHandler {
  constructor() {
    super({ consume: false, keep: false });
  }
}

/** Moves data until the window has grown to its most, and reads no more. Returns who gets the rest. */
async function growAndStall({ near, nearHandler, far }: Exchange): Promise<StalledHandler> {
  const reading = RecordingHandler.on(far, { keep: false });
  new Pump(near, nearHandler).go();
  await reading.until((h) => h.receivedBytes > 16 * MIB);
  const stalled = new StalledHandler();
  far.handler = stalled;
  return stalled;
}

/** A ping from the peer and back; data that was ready before it has arrived too, on a carrier that is not full. */
async function roundTripWith(peer: RawPeer): Promise<void> {
  const pongs = (): number => peer.heard.filter(({ message }) => message === "pong").length;
  const before = pongs();
  peer.say([{ message: "ping", ping: { id: 1 } }]);
  await turnsUntil(() => pongs() > before);
}

function hashOf(bytes: number): string {
  const hash = createHash("sha256");
  for (let left = bytes; left > 0; left -= CHUNK.length) hash.update(CHUNK.subarray(0, left));
  return hash.digest("hex");
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

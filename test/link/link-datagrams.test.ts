import { expect, test } from "vitest";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { UnreadBudget } from "../../link/unread-budget.ts";
import { linkPair, openStream, roundTrip } from "../support/link-pair.ts";
import { linkAndRawPeer, accept, chunk, open } from "../support/raw-peer.ts";
import { turn, turnsUntil } from "../support/turns.ts";

const KIB = 1024;
const LARGEST = 65_507;

type Pair = ReturnType<typeof linkPair>;

/** A stream of datagrams with both ends of it, answered. */
async function datagramStream(pair: Pair, { farReads = true } = {}) {
  const { stream: near, handler: nearHandler } = pair.server.open({ kind: "UDP" });
  await pair.client.until(() => pair.client.arrivals.some(({ stream }) => stream.id === near.id));
  const { stream: far, handler: farHandler } = pair.client.arrivals.find(
    ({ stream }) => stream.id === near.id,
  )!;
  if (!farReads) farHandler.stream = undefined;
  far.accept(Buffer.alloc(0));
  await nearHandler.until(({ events }) => events.length > 0);
  return { near, nearHandler, far, farHandler };
}

test.each([undefined, 1, 997, 70_000])(
  "datagrams arrive whole and in order, both ways, in slices of %s bytes",
  async (slice) => {
    const pair = linkPair({ ...(slice !== undefined && { slice }) });
    const { near, nearHandler, far, farHandler } = await datagramStream(pair);
    const sizes = [0, 1, 2, 1_200, 0, 0, 9_000, LARGEST, 1, 0];
    for (const [i, size] of sizes.entries()) {
      expect(near.send(Buffer.alloc(size, i))).toBe(true);
      expect(far.send(Buffer.alloc(size, i + 100))).toBe(true);
    }
    await farHandler.until(({ chunks }) => chunks.length === sizes.length);
    await nearHandler.until(({ chunks }) => chunks.length === sizes.length);
    expect(farHandler.chunks.map(({ length }) => length)).toEqual(sizes);
    farHandler.chunks.forEach((datagram, i) => expect(datagram.every((byte) => byte === i)).toBe(true));
    nearHandler.chunks.forEach((datagram, i) =>
      expect(datagram.every((byte) => byte === i + 100)).toBe(true),
    );
  },
);

test("a datagram over 65,507 bytes is dropped by the sender, and nothing breaks", async () => {
  const pair = linkPair();
  const { near, farHandler } = await datagramStream(pair);
  expect(near.send(Buffer.alloc(LARGEST + 1))).toBe(false);
  expect(near.send(Buffer.from("next"))).toBe(true);
  await farHandler.until(({ chunks }) => chunks.length === 1);
  expect(farHandler.text).toBe("next");
});

test("a stream of another kind takes no datagrams", async () => {
  const pair = linkPair();
  const { near, farHandler } = await openStream(pair);
  expect(near.send(Buffer.from("x"))).toBe(false);
  near.write(Buffer.from("bytes"));
  await farHandler.until(({ receivedBytes }) => receivedBytes === 5);
  expect(pair.client.over).toBeUndefined();
});

test("an end comes behind all datagrams, and behind it there are none", async () => {
  const pair = linkPair();
  const { near, nearHandler, far, farHandler } = await datagramStream(pair);
  near.send(Buffer.from("a"));
  near.send(Buffer.from("b"));
  near.end();
  expect(near.send(Buffer.from("c"))).toBe(false);
  await farHandler.until(({ ended }) => ended);
  expect(farHandler.events).toEqual(["datagram", "end"]);
  expect(farHandler.chunks.map(String)).toEqual(["a", "b"]);
  far.end();
  await nearHandler.until(({ ended }) => ended);
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
});

test("an end right behind the open does not overtake a datagram", async () => {
  const pair = linkPair();
  const { stream } = pair.server.open({ kind: "UDP" });
  stream.send(Buffer.from("a"));
  stream.end();
  const { open, handler } = await pair.client.arrival();
  expect(open.end).toBe(false);
  await handler.until(({ ended }) => ended);
  expect(handler.text).toBe("a");
});

test("what is sent before the answer's head waits for it", async () => {
  const pair = linkPair();
  const { handler } = pair.server.open({ kind: "UDP" });
  const { stream } = await pair.client.arrival();
  stream.send(Buffer.from("early"));
  await roundTrip(pair.client);
  expect(handler.events).toEqual([]);
  stream.accept(Buffer.from("yes"));
  await handler.until(({ chunks }) => chunks.length === 1);
  expect(handler.events).toEqual(["accepted yes", "datagram"]);
});

test("256 datagrams wait for a path that is full, and no more", async () => {
  const pair = linkPair();
  const { near, farHandler } = await datagramStream(pair);
  pair.server.carrier.hold();
  const taken = Array.from({ length: 300 }, (_, i) => near.send(Buffer.from([i & 0xff])));
  expect(taken.indexOf(false)).toBe(256);
  expect(taken.filter(Boolean)).toHaveLength(256);
  pair.server.carrier.release();
  await farHandler.until(({ chunks }) => chunks.length === 256);
  expect(near.send(Buffer.from("again"))).toBe(true);
});

test("at most 1 MiB waits, and those that wait arrive", async () => {
  const pair = linkPair();
  const { near, farHandler } = await datagramStream(pair);
  pair.server.carrier.hold();
  let taken = 0;
  while (near.send(Buffer.alloc(LARGEST))) taken++;
  expect(taken).toBe(15);
  expect(near.send(Buffer.alloc(100))).toBe(true);
  pair.server.carrier.release();
  await farHandler.until(({ chunks }) => chunks.length === 16);
});

test("what waits on all streams of a connection stays within 32 MiB, and each has some", async () => {
  const pair = linkPair();
  pair.server.carrier.hold();
  const streams = Array.from({ length: 100 }, () => pair.server.open({ kind: "UDP" }).stream);
  const taken = streams.map((stream) => {
    let bytes = 0;
    while (stream.send(Buffer.alloc(1_000))) bytes += 1_000;
    return bytes;
  });
  const sum = taken.reduce((all, bytes) => all + bytes, 0);
  expect(sum).toBeLessThan(32 * KIB * KIB);
  expect(sum).toBeGreaterThan(20 * KIB * KIB);
  // The first had as much as a stream may have; it has not shut out those behind it.
  expect(taken[0]).toBe(256_000);
  expect(Math.min(...taken)).toBeGreaterThan(0);
  // What they held is free again for others.
  for (const stream of streams) stream.reset("CANCELLED");
  const { stream } = pair.server.open({ kind: "UDP" });
  expect(Array.from({ length: 16 }, () => stream.send(Buffer.alloc(LARGEST))).indexOf(false)).toBe(15);
});

test("credit is spent as by bytes, and given back", async () => {
  const pair = linkPair();
  const { near, far, farHandler } = await datagramStream(pair, { farReads: false });
  const all = Math.ceil(INITIAL_WINDOW_BYTES / 1_200);
  for (let sent = 0; sent < all + 20;) {
    while (sent < all + 20 && near.send(Buffer.alloc(1_200))) sent++;
    await turn();
  }
  await roundTrip(pair.server);
  await roundTrip(pair.server);
  expect(farHandler.chunks).toHaveLength(all);
  far.consumed(farHandler.receivedBytes);
  await farHandler.until(({ chunks }) => chunks.length === all + 20);
});

test("with the smallest window there is the largest datagrams still pass, one after the other", async () => {
  const limits = { budget: new UnreadBudget(1) };
  limits.budget.add(1);
  const { end, peer } = linkAndRawPeer({ limits });
  const { stream, handler } = end.open({ kind: "UDP" });
  await turnsUntil(() => peer.heard.length > 0);
  expect(peer.heard[0]).toMatchObject({ open: { credit: 16 * KIB } });
  peer.say([accept(stream.id)], chunk(stream.id, 4, Buffer.alloc(LARGEST)));
  await handler.until(({ receivedBytes }) => receivedBytes === LARGEST);
  await turnsUntil(() => peer.heard.some(({ message }) => message === "credit"));
  expect(end.over).toBeUndefined();
});

test("a sender with a little credit sends a whole datagram, and the next when there is some again", async () => {
  const { end, peer } = linkAndRawPeer();
  end.link.peerStreamCredit = 1;
  const { stream } = end.open({ kind: "UDP" });
  stream.send(Buffer.alloc(1_000, "a"));
  stream.send(Buffer.alloc(0));
  await turnsUntil(() => peer.chunks.length > 0);
  let opened = 0;
  const grant = async (bytes: number): Promise<void> => {
    peer.say([{ message: "credit", credit: { stream: stream.id, bytes } }]);
    peer.say([open(2 * ++opened + 1)]);
    await end.arrival(opened - 1);
    await turn();
    await turn();
  };
  await grant(999);
  expect(peer.chunks.map(({ payload }) => payload.length)).toEqual([1_000]);
  await grant(1);
  await turnsUntil(() => peer.chunks.length > 1);
  expect(peer.chunks.map(({ payload }) => payload.length)).toEqual([1_000, 0]);
});

test("a stream whose datagrams nobody reads delays no other", async () => {
  const pair = linkPair();
  const stalled = await datagramStream(pair, { farReads: false });
  const other = await datagramStream(pair);
  const bytes = await openStream(pair);
  for (let i = 0; i < 3_000; i++) {
    stalled.near.send(Buffer.alloc(1_200));
    if (i % 50 === 0) await turn();
  }
  expect(stalled.near.send(Buffer.alloc(1_200))).toBe(false);
  other.near.send(Buffer.from("through"));
  expect(bytes.near.write(Buffer.from("bytes"))).toBe(true);
  await other.farHandler.until(({ chunks }) => chunks.length === 1);
  await bytes.farHandler.until(({ receivedBytes }) => receivedBytes === 5);
});

test("datagrams that wait for a full path ask no writer of bytes to pause", async () => {
  const pair = linkPair();
  const bytes = await openStream(pair);
  const streams = await Promise.all(Array.from({ length: 10 }, () => datagramStream(pair)));
  pair.server.carrier.hold();
  for (const { near } of streams) while (near.send(Buffer.alloc(4_000)));
  await turn();
  expect(bytes.near.write(Buffer.from("x"))).toBe(true);
  pair.server.carrier.release();
  await bytes.farHandler.until(({ receivedBytes }) => receivedBytes === 1);
});

test("datagrams and bytes share a full path in turns of the same size", async () => {
  const pair = linkPair();
  const bytes = await openStream(pair);
  const { near, farHandler } = await datagramStream(pair);
  pair.server.carrier.hold();
  // Taken by the batches that are under way.
  for (let i = 0; i < 4; i++) {
    bytes.near.write(Buffer.alloc(1));
    await turn();
  }
  for (let i = 0; i < 10; i++) bytes.near.write(Buffer.alloc(64 * KIB));
  for (let i = 0; i < 200; i++) near.send(Buffer.alloc(1_300));
  let bytesAt130 = 0;
  farHandler.onEvent = () => {
    if (farHandler.chunks.length === 130) bytesAt130 = bytes.farHandler.receivedBytes;
  };
  pair.server.carrier.release();
  await farHandler.until(({ chunks }) => chunks.length === 200);
  // 130 are nearly three turns of 64 KiB.
  expect(bytesAt130).toBeGreaterThanOrEqual(2 * 64 * KIB);
  expect(bytesAt130).toBeLessThanOrEqual(4 * 64 * KIB + 4);
});

test("a reset drops what waits", async () => {
  const pair = linkPair();
  const { near, farHandler } = await datagramStream(pair);
  pair.server.carrier.hold();
  for (let i = 0; i < 5; i++) {
    near.send(Buffer.from("under way"));
    await turn();
  }
  while (near.send(Buffer.alloc(LARGEST)));
  near.reset("CANCELLED");
  pair.server.carrier.release();
  await farHandler.until(({ failure }) => failure === "CANCELLED");
  expect(farHandler.receivedBytes).toBeLessThan(LARGEST);
});

import { expect, test } from "vitest";
import { chunkHeader, ChunkReader, END, TRAILERS } from "../../link/chunks.ts";
import { type LinkEnd, linkPair, openStream, roundTrip } from "../support/link-pair.ts";
import { accept, linkAndRawPeer } from "../support/raw-peer.ts";
import { RecordingHandler } from "../support/recording-handler.ts";
import type { SentBatch } from "../support/memory-carrier.ts";
import { turn, turnsUntil } from "../support/turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** The chunks of a batch as [stream, flags, payload length]. */
function chunksOf(batch: SentBatch): [number, number, number][] {
  const chunks: [number, number, number][] = [];
  const reader = new ChunkReader((stream, flags, payload) => chunks.push([stream, flags, payload.length]));
  reader.push(batch.data);
  reader.finish();
  return chunks;
}

function kinds(batch: SentBatch): string[] {
  return batch.control.map(({ message }) => message);
}

test("head, answer, bodies both ways and ends arrive in order", async () => {
  const pair = linkPair();
  const { stream, handler } = pair.server.open({ head: Buffer.from("GET /"), requestId: "r7", tunnel: 3 });
  stream.write(Buffer.from("one "));
  stream.write(Buffer.from("two"));
  stream.end();
  const { stream: far, open, handler: farHandler } = await pair.client.arrival();
  expect(open).toEqual({
    stream: 2,
    tunnel: 3,
    kind: "HTTP",
    requestId: "r7",
    visitor: "203.0.113.7:4711",
    head: Buffer.from("GET /"),
    end: false,
  });
  await farHandler.until(({ ended }) => ended);
  expect(farHandler.events).toEqual(["data", "end"]);
  expect(farHandler.text).toBe("one two");

  far.interim(Buffer.from("100"));
  far.interim(Buffer.from("103"));
  far.accept(Buffer.from("200"));
  far.write(Buffer.from("three"));
  far.end(Buffer.from("x: y\r\n"));
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["interim 100", "interim 103", "accepted 200", "data", "end x: y\r\n"]);
  expect(handler.text).toBe("three");
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
});

test("a small exchange is one batch each way", async () => {
  const pair = linkPair({ record: true });
  const { handler } = pair.server.open({ end: true });
  const { stream: far, handler: farHandler } = await pair.client.arrival();
  expect(farHandler.events).toEqual(["end"]);
  far.accept(Buffer.from("200"));
  far.write(Buffer.from("body"));
  far.end();
  await handler.until(({ ended }) => ended);
  await roundTrip(pair.server);
  expect(pair.server.carrier.sent.map(kinds)).toEqual([["open"], ["ping"]]);
  expect(pair.client.carrier.sent.map(kinds)).toEqual([["accept"], ["pong"]]);
  expect(chunksOf(pair.client.carrier.sent[0]!)).toEqual([[2, END, 4]]);
});

test("an end right behind a head is folded into it, without any data", async () => {
  const pair = linkPair({ record: true });
  const { stream, handler } = pair.server.open();
  stream.end();
  const { stream: far } = await pair.client.arrival();
  far.accept(Buffer.from("204"));
  far.end();
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["accepted 204", "end"]);
  expect(pair.server.carrier.sent[0]!.control[0]).toMatchObject({ open: { end: true } });
  expect(pair.client.carrier.sent[0]!.control[0]).toMatchObject({ accept: { end: true } });
  expect(pair.server.carrier.sent[0]!.data).toHaveLength(0);
  expect(pair.client.carrier.sent[0]!.data).toHaveLength(0);
});

test("accept can say that no body follows", async () => {
  const pair = linkPair({ record: true });
  const { handler } = pair.server.open({ end: true });
  const { stream: far } = await pair.client.arrival();
  far.accept(Buffer.from("304"), true);
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["accepted 304", "end"]);
  expect(pair.client.carrier.sent[0]!.data).toHaveLength(0);
});

test("an end in a later turn is a chunk of its own, behind everything", async () => {
  const pair = linkPair({ record: true });
  const { far, farHandler, near } = await openStream(pair);
  near.end();
  await farHandler.until(({ ended }) => ended);
  expect(chunksOf(pair.server.carrier.sent.at(-1)!)).toEqual([[2, END, 0]]);
  expect(farHandler.chunks).toEqual([]);
  far.end();
});

test("trailers keep their place behind the data, and empty ones are trailers", async () => {
  const pair = linkPair({ record: true });
  const { far, farHandler, near, nearHandler } = await openStream(pair);
  near.write(Buffer.from("data"));
  near.end(Buffer.from("a: 1\r\n"));
  far.end(Buffer.alloc(0));
  await farHandler.until(({ ended }) => ended);
  await nearHandler.until(({ ended }) => ended);
  expect(farHandler.events).toEqual(["data", "end a: 1\r\n"]);
  expect(nearHandler.events).toEqual(["accepted yes", "end "]);
  expect(chunksOf(pair.server.carrier.sent.at(-1)!)).toEqual([
    [2, 0, 4],
    [2, END | TRAILERS, 6],
  ]);
});

test("trailers that fit no chunk reset the stream and leave the link alone", async () => {
  const pair = linkPair();
  const { farHandler, near } = await openStream(pair);
  near.end(Buffer.alloc(65_537));
  await farHandler.until(({ failure }) => failure !== undefined);
  expect(farHandler.failure).toBe("INTERNAL");
  expect(pair.server.link.closed).toBe(false);
});

test.each([
  [0, []],
  [1, [1]],
  [65_535, [65_535]],
  [65_536, [65_536]],
  [65_537, [65_536, 1]],
  [131_073, [65_536, 65_536, 1]],
])("a write of %i bytes makes chunks of at most 64 KiB, the end in the last", async (length, lengths) => {
  const pair = linkPair({ record: true });
  const { near, farHandler } = await openStream(pair);
  const before = pair.server.carrier.sent.length;
  const body = Buffer.alloc(length, "x");
  near.write(body);
  near.end();
  await farHandler.until(({ ended }) => ended);
  expect(farHandler.body.equals(body)).toBe(true);
  const chunks = pair.server.carrier.sent.slice(before).flatMap(chunksOf);
  expect(chunks.filter(([, , bytes]) => bytes > 0).map(([, , bytes]) => bytes)).toEqual(lengths);
  expect(chunks.at(-1)![1]).toBe(END);
});

test("small writes share a chunk", async () => {
  const pair = linkPair({ record: true });
  const { near, farHandler } = await openStream(pair);
  for (let i = 0; i < 100; i++) near.write(Buffer.from("ten bytes!"));
  near.end();
  await farHandler.until(({ ended }) => ended);
  expect(chunksOf(pair.server.carrier.sent.at(-1)!)).toEqual([[2, END, 1000]]);
});

test.each([1, 7, 8, 9, 100, 65_544])(
  "bodies are whole when data arrives in slices of %i bytes",
  async (slice) => {
    const pair = linkPair({ slice });
    const streams = await Promise.all([1, 2, 3].map(() => openStream(pair)));
    const bodies = streams.map((_, i) => Buffer.alloc(3000 + i * 40_000, `body ${i} `));
    streams.forEach(({ near }, i) => {
      near.write(bodies[i]!);
      near.end(Buffer.from(`t: ${i}\r\n`));
    });
    await Promise.all(streams.map(({ farHandler }) => farHandler.until(({ ended }) => ended)));
    streams.forEach(({ farHandler }, i) => {
      expect(farHandler.body.equals(bodies[i]!)).toBe(true);
      expect(farHandler.events).toEqual(["data", `end t: ${i}\r\n`]);
    });
  },
);

test("all that is said in one turn leaves in one batch", async () => {
  const pair = linkPair({ record: true });
  const { near } = await openStream(pair);
  const other = await openStream(pair);
  const before = pair.server.carrier.sent.length;
  near.write(Buffer.from("a"));
  pair.server.open();
  other.near.write(Buffer.from("b"));
  pair.server.link.say({ message: "drain", drain: { graceMs: 5 } });
  other.near.reset("CANCELLED");
  near.write(Buffer.from("c"));
  await roundTrip(pair.server);
  const batches = pair.server.carrier.sent.slice(before);
  expect(batches.map(kinds)).toEqual([["open", "drain", "reset", "ping"]]);
  expect(batches.map(chunksOf)).toEqual([[[2, 0, 2]]]);
});

test("what is said in the turn in which room comes free leaves together too", async () => {
  const { end, peer } = linkAndRawPeer({ record: true });
  await fillPipe(end);
  end.open();
  const before = end.carrier.sent.length;
  // Said between the reports of two written batches.
  peer.onBatch = () => end.open();
  end.carrier.release(4);
  await turnsUntil(() => end.carrier.sent.length > before);
  peer.onBatch = undefined;
  expect(end.carrier.sent.slice(before).map(kinds)).toEqual([["open", "open", "open", "open", "open"]]);
});

test("a batch leaves early once it has 128 KiB, within the turn", async () => {
  const pair = linkPair({ record: true });
  const streams = await Promise.all([1, 2, 3, 4].map(() => openStream(pair)));
  const before = pair.server.carrier.sent.length;
  streams[0]!.near.write(Buffer.alloc(64 * KIB));
  expect(pair.server.carrier.sent).toHaveLength(before);
  streams[1]!.near.write(Buffer.alloc(64 * KIB));
  expect(pair.server.carrier.sent).toHaveLength(before + 1);
  streams[2]!.near.write(Buffer.alloc(64 * KIB));
  streams[3]!.near.write(Buffer.alloc(64 * KIB));
  expect(pair.server.carrier.sent).toHaveLength(before + 2);
  await Promise.all(streams.map(({ farHandler }) => farHandler.until((h) => h.receivedBytes === 64 * KIB)));
});

test("no more than four batches are under way", async () => {
  const pair = linkPair();
  const streams = await Promise.all(Array.from({ length: 40 }, () => openStream(pair)));
  pair.server.carrier.hold();
  for (const { near } of streams) near.write(Buffer.alloc(100 * KIB));
  await turn();
  await turn();
  expect(pair.server.carrier.inFlight).toBe(4);
  expect(pair.server.link.sending.inFlight).toBe(4);
  pair.server.carrier.release(1);
  await turn();
  await turn();
  await turn();
  expect(pair.server.carrier.inFlight).toBe(4);
  pair.server.carrier.release();
  await Promise.all(streams.map(({ farHandler }) => farHandler.until((h) => h.receivedBytes === 100 * KIB)));
  expect(pair.server.carrier.mostInFlight).toBe(4);
});

test("a thousand opens with heads of 32 KiB in one turn make batches under 4 MiB, in order", async () => {
  const pair = linkPair();
  const head = Buffer.alloc(32 * KIB, "h");
  for (let i = 0; i < 1000; i++) {
    const { stream } = pair.server.open({ head });
    stream.write(Buffer.from("body"));
    stream.end();
  }
  await pair.client.until(() => pair.client.arrivals.length === 1000);
  await Promise.all(pair.client.arrivals.map(({ handler }) => handler.until(({ ended }) => ended)));
  expect(pair.client.arrivals.map(({ stream }) => stream.id)).toEqual(
    Array.from({ length: 1000 }, (_, i) => 2 + 2 * i),
  );
  expect(pair.client.arrivals.every(({ handler }) => handler.text === "body")).toBe(true);
  expect(pair.server.carrier.largestBatchBytes).toBeLessThan(1.5 * MIB);
  expect(pair.server.over).toBeUndefined();
});

test("trailer sections count as part of a batch", async () => {
  const pair = linkPair();
  const streams = await Promise.all(Array.from({ length: 100 }, () => openStream(pair)));
  for (const { near } of streams) near.end(Buffer.alloc(64 * KIB, "t"));
  await Promise.all(streams.map(({ farHandler }) => farHandler.until(({ ended }) => ended)));
  expect(pair.server.carrier.largestBatchBytes).toBeLessThan(256 * KIB);
});

test("details of resets leave no mark on what may be said later", async () => {
  const pair = linkPair();
  const detail = "x".repeat(30_000);
  for (let round = 0; round < 50; round++) {
    const streams = Array.from({ length: 60 }, () => pair.server.open().stream);
    for (const stream of streams) stream.reset("CANCELLED", detail);
    await roundTrip(pair.server);
  }
  expect(pair.server.over).toBeUndefined();
  expect(pair.client.arrivals).toHaveLength(3000);
  expect(pair.server.carrier.largestBatchBytes).toBeLessThan(1.2 * MIB);
});

test("a stream with much queued does not delay a small one by more than what is under way and a batch", async () => {
  const pair = linkPair({ record: true });
  const big = await openStream(pair);
  const small = await openStream(pair);
  pair.server.carrier.hold();
  const { server } = pair;
  const before = server.carrier.sent.length;
  big.near.write(Buffer.alloc(10 * MIB));
  await turn();
  small.near.write(Buffer.from("small"));
  server.carrier.release();
  await small.farHandler.until((h) => h.receivedBytes > 0);
  const batch = server.carrier.sent.findIndex((sent, i) => i >= before && holds(sent, small.near.id));
  expect(batch - before).toBeLessThanOrEqual(4);
  await big.farHandler.until((h) => h.receivedBytes === 10 * MIB);
});

test("streams take turns by the chunk", async () => {
  const { end, peer } = linkAndRawPeer();
  const streams = [1, 2, 3].map(() => end.open().stream);
  await fillPipe(end);
  for (const stream of streams) stream.write(Buffer.alloc(200 * KIB));
  end.carrier.release();
  await turnsUntil(() => peer.chunks.length === 12);
  expect(peer.chunks.map(({ stream }) => stream)).toEqual([2, 4, 6, 2, 4, 6, 2, 4, 6, 2, 4, 6]);
});

test("control overtakes data that is queued", async () => {
  const pair = linkPair({ record: true });
  const streams = await Promise.all(Array.from({ length: 8 }, () => openStream(pair)));
  pair.server.carrier.hold();
  for (const { near } of streams) near.write(Buffer.alloc(250 * KIB));
  await turn();
  const sent = pair.server.carrier.sent.length;
  pair.server.open({ head: Buffer.from("late") });
  streams[7]!.near.reset("CANCELLED");
  pair.server.carrier.release();
  await streams[7]!.farHandler.until(({ failure }) => failure !== undefined);
  expect(kinds(pair.server.carrier.sent[sent]!)).toEqual(["open", "reset"]);
  // All of the other seven streams, and of the eighth only what had left before the reset.
  await Promise.all(
    streams.slice(0, 7).map(({ farHandler }) => farHandler.until((h) => h.receivedBytes === 250 * KIB)),
  );
  expect(streams[7]!.farHandler.receivedBytes).toBe(0);
});

test("what is written before the answer's head waits for it", async () => {
  const pair = linkPair();
  const { handler } = pair.server.open({ end: true });
  const { stream: far } = await pair.client.arrival();
  far.write(Buffer.from("early"));
  far.end();
  await roundTrip(pair.client);
  expect(handler.events).toEqual([]);
  far.accept(Buffer.from("200"));
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["accepted 200", "data", "end"]);
  expect(pair.server.over).toBeUndefined();
});

test("accept with an end sends what was written before it", async () => {
  const pair = linkPair();
  const { handler } = pair.server.open({ end: true });
  const { stream: far } = await pair.client.arrival();
  far.write(Buffer.from("early"));
  far.accept(Buffer.from("200"), true);
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["accepted 200", "data", "end"]);
  expect(handler.text).toBe("early");
});

test("what makes no sense in a stream's state does nothing", async () => {
  const pair = linkPair({ record: true });
  const { near, far, nearHandler, farHandler } = await openStream(pair);
  near.accept(Buffer.from("own"));
  near.interim(Buffer.from("own"));
  far.accept(Buffer.from("again"));
  far.interim(Buffer.from("late"));
  near.write(Buffer.alloc(0));
  near.end();
  near.end();
  expect(near.write(Buffer.from("late"))).toBe(true);
  far.end(Buffer.from("x: 1\r\n"));
  await nearHandler.until(({ ended }) => ended);
  await farHandler.until(({ ended }) => ended);
  near.reset("CANCELLED");
  near.consumed(5);
  far.write(Buffer.from("late"));
  far.end();
  await roundTrip(pair.server);
  expect(nearHandler.events).toEqual(["accepted yes", "end x: 1\r\n"]);
  expect(farHandler.events).toEqual(["end"]);
  expect([pair.server.over, pair.client.over]).toEqual([undefined, undefined]);
});

test("a handler may be replaced at any time", async () => {
  const pair = linkPair();
  const { near, far, farHandler } = await openStream(pair);
  near.write(Buffer.from("first"));
  await farHandler.until((h) => h.receivedBytes > 0);
  const second = RecordingHandler.on(far);
  near.write(Buffer.from("second"));
  near.end();
  await second.until(({ ended }) => ended);
  expect([farHandler.text, second.text]).toEqual(["first", "second"]);
});

test("streams opened from both ends live side by side", async () => {
  const pair = linkPair();
  const down = pair.server.open();
  const up = pair.client.open();
  const [atClient, atServer] = await Promise.all([pair.client.arrival(), pair.server.arrival()]);
  expect([down.stream.id, up.stream.id]).toEqual([2, 1]);
  atClient.stream.accept(Buffer.from("down"), true);
  atServer.stream.accept(Buffer.from("up"), true);
  down.stream.end();
  up.stream.end();
  await down.handler.until(({ ended }) => ended);
  await up.handler.until(({ ended }) => ended);
  await roundTrip(pair.server);
  expect(down.handler.events).toEqual(["accepted down", "end"]);
  expect(up.handler.events).toEqual(["accepted up", "end"]);
  expect([pair.server.link.streams, pair.client.link.streams]).toEqual([0, 0]);
});

test("session messages arrive in order", async () => {
  const pair = linkPair();
  pair.server.link.say({ message: "tunnels", tunnels: { tunnels: [] } });
  pair.server.link.say({ message: "drain", drain: { graceMs: 30_000 } });
  await pair.client.until(() => pair.client.messages.length === 2);
  expect(pair.client.messages).toEqual([
    { message: "tunnels", tunnels: { tunnels: [] } },
    { message: "drain", drain: { graceMs: 30_000 } },
  ]);
});

test("an answer may come in the same batch as its data, from a program that is not this one", async () => {
  const { end, peer } = linkAndRawPeer();
  const { handler } = end.open({ end: true });
  await turn();
  await turn();
  peer.say(
    [accept(2)],
    Buffer.concat([chunkHeader(2, 0, 2), Buffer.from("ab"), chunkHeader(2, 0, 0), chunkHeader(2, END, 0)]),
  );
  await handler.until(({ ended }) => ended);
  expect(handler.events).toEqual(["accepted yes", "data", "end"]);
});

/** Holds the carrier with as many batches under way as there may be. */
async function fillPipe({ carrier, link }: LinkEnd): Promise<void> {
  carrier.hold();
  while (carrier.inFlight < 4) {
    link.ping(() => {});
    await turn();
  }
}

function holds(batch: SentBatch, stream: number): boolean {
  return chunksOf(batch).some(([id]) => id === stream);
}

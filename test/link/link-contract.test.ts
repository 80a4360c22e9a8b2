import { describe, expect, test } from "vitest";
import { chunkHeader, DATAGRAM, END, TRAILERS } from "../../link/chunks.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Control, Interim } from "../../link/messages.ts";
import { roundTrip, linkPair, openStream } from "../support/link-pair.ts";
import { accept, chunk, linkAndRawPeer, open } from "../support/raw-peer.ts";
import { turn, turnsUntil } from "../support/turns.ts";

const NO_DATA = Buffer.alloc(0);

/**
 * What a peer says that it must not. The end has opened stream 2, which is unanswered, and 4, which is answered;
 * the peer has opened stream 1. Several batches where one is not enough.
 */
const BREACHES: Record<string, [Control[], Buffer][]> = {
  "data of a stream that never was": [[[], chunk(6, 0, "x")]],
  "an end of a stream that never was": [[[], chunk(6, END)]],
  "nothing at all about a stream that never was": [[[], chunk(6, 0)]],
  "data of its own stream that it never opened": [[[], chunk(3, 0, "x")]],
  "data of stream 0": [[[], chunk(0, 0, "x")]],
  "data of the last id there is": [[[], chunk(0xffff_ffff, 0, "x")]],
  "an answer on a stream that never was": [[[accept(6)], NO_DATA]],
  "credit for a stream that never was": [[[{ message: "credit", credit: { stream: 6, bytes: 1 } }], NO_DATA]],
  "a reset of a stream that never was": [
    [[{ message: "reset", reset: { stream: 3, code: "CANCELLED", detail: "" } }], NO_DATA],
  ],
  "an open with this end's parity": [[[open(6)], NO_DATA]],
  "an open with the id of a stream of this end": [[[open(2)], NO_DATA]],
  "an open with id 0": [[[open(0)], NO_DATA]],
  "an open with an id in use": [[[open(1)], NO_DATA]],
  "an open with an id that was used": [
    [[open(3), { message: "reset", reset: { stream: 3, code: "CANCELLED", detail: "" } }], NO_DATA],
    [[open(3)], NO_DATA],
  ],
  "an open with a lower id than the last": [
    [[open(7)], NO_DATA],
    [[open(5)], NO_DATA],
  ],
  "a second answer": [[[accept(4)], NO_DATA]],
  "a second answer in one batch": [[[accept(2), accept(2)], NO_DATA]],
  "an answer to its own open": [[[accept(1)], NO_DATA]],
  "an interim answer to its own open": [[[interim(1)], NO_DATA]],
  "an interim answer behind the final one": [[[interim(4)], NO_DATA]],
  "data before the answer": [[[], chunk(2, 0, "x")]],
  "an end before the answer": [[[], chunk(2, END)]],
  "trailers before the answer": [[[], chunk(2, END | TRAILERS, "a: b\r\n")]],
  "data behind its end": [[[], Buffer.concat([chunk(4, END, "x"), chunk(4, 0, "y")])]],
  "data behind an answer without body": [[[accept(2, true)], chunk(2, 0, "x")]],
  "data behind an open without body": [[[open(3, { end: true })], chunk(3, 0, "x")]],
  "two ends": [[[], Buffer.concat([chunk(4, END), chunk(4, END)])]],
  "an end and trailers": [[[], Buffer.concat([chunk(4, END), chunk(4, END | TRAILERS, "a: b\r\n")])]],
  "an answer behind its end": [
    [[], chunk(4, END)],
    [[accept(4)], NO_DATA],
  ],
  "a byte more than it has credit for": [[[], bytes(1, INITIAL_WINDOW_BYTES + 1)]],
  "trailers without an end": [[[], chunk(4, TRAILERS)]],
  "a datagram among bytes": [[[], chunk(4, DATAGRAM, "x")]],
  "an empty datagram among bytes": [[[], chunk(4, DATAGRAM)]],
  "bytes among datagrams": [[[open(3, { kind: "UDP" })], chunk(3, 0, "x")]],
  "a datagram and an end in one": [[[open(3, { kind: "UDP" })], chunk(3, DATAGRAM | END, "x")]],
  "a datagram behind its end": [
    [[open(3, { kind: "UDP" })], Buffer.concat([chunk(3, END), chunk(3, DATAGRAM)])],
  ],
  "a datagram of more than 65,507 bytes": [
    [[open(3, { kind: "UDP" })], chunk(3, DATAGRAM, Buffer.alloc(65_508))],
  ],
  "a datagram without credit": [
    [[open(3, { kind: "UDP" })], datagrams(3, INITIAL_WINDOW_BYTES, 65_507)],
    [[], chunk(3, DATAGRAM)],
  ],
  "a flag that nobody knows": [[[], chunk(4, 128)]],
  "a chunk of more than 64 KiB": [[[], Buffer.concat([chunkHeader(4, 0, 65_537), Buffer.alloc(65_537)])]],
  "half a chunk": [[[], chunk(4, 0, "payload").subarray(0, 12)]],
  "half a header": [[[], chunk(4, 0, "payload").subarray(0, 3)]],
  "a header without its payload": [[[], chunkHeader(4, END, 1)]],
  "a control message without content": [[[{} as Control], NO_DATA]],
  "a control message that nobody knows": [[[{ message: "dance" } as unknown as Control], NO_DATA]],
  "credit without bounds": [
    [[{ message: "credit", credit: { stream: 4, bytes: Number.MAX_SAFE_INTEGER } }], NO_DATA],
  ],
};

describe.each([undefined, 1])("in slices of %s bytes", (slice) => {
  test.each(Object.entries(BREACHES))("%s ends the link, and nothing else", async (_, batches) => {
    const { end, peer } = linkAndRawPeer({ slice, recording: { consume: false } });
    const unanswered = end.open();
    const answered = end.open();
    await roundTripOf(peer, end);
    peer.say([accept(4), open(1)]);
    const arrival = await end.arrival();

    for (const [control, data] of batches) {
      expect(end.over).toBeUndefined();
      peer.say(control, data);
      await heard(peer);
    }
    await end.until(() => end.over !== undefined);
    expect(end.over!.error).toMatchObject({ code: "protocol" });
    expect(end.link.closed).toBe(true);
    expect(end.link.streams).toBe(0);
    for (const { events } of [unanswered.handler, answered.handler, arrival.handler]) {
      expect(events.at(-1)).toBe("reset LINK_LOST");
      expect(events.filter((event) => event.startsWith("reset"))).toHaveLength(1);
    }
    await turnsUntil(() => peer.over);
  });
});

test("exactly the credit is no breach", async () => {
  const { end, peer } = linkAndRawPeer({ recording: { consume: false } });
  peer.say([open(1)], bytes(1, INITIAL_WINDOW_BYTES));
  const { handler } = await end.arrival();
  await handler.until((h) => h.receivedBytes === INITIAL_WINDOW_BYTES);
  await roundTripOf(peer, end);
  expect(end.over).toBeUndefined();
});

test("what stands behind a breach in the same batch is not looked at", async () => {
  const { end, peer } = linkAndRawPeer();
  peer.say([open(1), open(1), open(3)], chunk(1, 0, "x"));
  await end.until(() => end.over !== undefined);
  expect(end.arrivals).toHaveLength(1);
  expect(end.arrivals[0]!.handler.events).toEqual(["reset LINK_LOST"]);
});

test("more than 16,384 streams at once are refused one by one, and room comes back", async () => {
  const { end, peer } = linkAndRawPeer();
  peer.say(Array.from({ length: 16_386 }, (_, i) => open(2 * i + 1)));
  await turnsUntil(() => peer.heard.length >= 2);
  expect(peer.heard).toEqual(
    [32_769, 32_771].map((stream) => ({
      message: "reset",
      reset: { stream, code: "OVERLOADED", detail: expect.stringContaining("16384") },
    })),
  );
  expect(end.arrivals).toHaveLength(16_384);
  end.arrivals[5]!.stream.reset("CANCELLED");
  peer.say([open(40_001)]);
  await end.until(() => end.arrivals.length === 16_385);
  expect(end.over).toBeUndefined();
});

test("pings are answered", async () => {
  const { end, peer } = linkAndRawPeer();
  peer.say([
    { message: "ping", ping: { id: 7 } },
    { message: "ping", ping: { id: 0xffff_ffff } },
  ]);
  peer.say([{ message: "pong", pong: { id: 99 } }]);
  await turnsUntil(() => peer.heard.length >= 2);
  expect(peer.heard).toEqual([
    { message: "pong", pong: { id: 7 } },
    { message: "pong", pong: { id: 0xffff_ffff } },
  ]);
  expect(end.over).toBeUndefined();
});

const FLOODS: Record<string, (round: number) => Control[]> = {
  pings: () => Array.from({ length: 10_000 }, (_, id) => ({ message: "ping", ping: { id } })),
  "opens that are refused": (round) =>
    Array.from({ length: 10_000 }, (_, i) => open(2 * (round * 10_000 + i) + 1)),
};

test.each(Object.entries(FLOODS))(
  "a flood of %s from an end that does not read ends the link",
  async (_, flood) => {
    const { end, peer } = linkAndRawPeer();
    const { handler } = end.open();
    end.onOpened = (stream) => stream.reset("UNKNOWN_TUNNEL");
    end.carrier.hold();
    let rounds = 0;
    for (; rounds < 100 && !end.over; rounds++) {
      peer.say(flood(rounds));
      await heard(peer);
      await turn();
    }
    expect(end.over!.error).toMatchObject({ code: "overloaded" });
    expect(handler.events).toEqual(["reset LINK_LOST"]);
    expect(rounds).toBeLessThan(40);
  },
);

test("an end that stops reading is told to the one who spoke last in the next turn, not under its hands", async () => {
  const { end } = linkAndRawPeer();
  end.carrier.hold();
  const head = Buffer.alloc(1024 * 1024);
  const handlers = Array.from({ length: 80 }, () => {
    const { handler } = end.open({ head });
    expect(handler.events).toEqual([]);
    return handler;
  });
  expect(end.over).toBeUndefined();
  await end.until(() => end.over !== undefined);
  expect(end.over!.error).toMatchObject({ code: "overloaded" });
  for (const { events } of handlers) expect(events).toEqual(["reset LINK_LOST"]);
});

describe("a handler that throws ends its link and nothing else", () => {
  const mistake = new TypeError("a mistake");
  const breach = new TunnelError("protocol", "the head makes no sense");

  test.each(["accepted", "interim", "data", "end", "reset", "drained"])("in %s", async (callback) => {
    for (const thrown of [mistake, breach]) {
      const pair = linkPair();
      const other = await openStream(pair);
      const { stream, handler } = pair.server.open();
      handler.onEvent = (event) => {
        if (event.startsWith(callback)) throw thrown;
      };
      const { stream: far } = await pair.client.arrival(1);
      if (callback === "drained") stream.write(Buffer.alloc(400 * 1024));
      far.interim(Buffer.from("103"));
      far.accept(Buffer.from("200"));
      far.write(Buffer.from("x"));
      if (callback === "reset") far.reset("INTERNAL");
      if (callback === "end") far.end();
      await pair.server.until(() => pair.server.over !== undefined);
      expect(pair.server.over!.error).toMatchObject(
        thrown === breach ? breach : { code: "internal", cause: mistake },
      );
      expect(other.nearHandler.events.at(-1)).toBe("reset LINK_LOST");
      await pair.client.until(() => pair.client.over !== undefined);
    }
  });

  test("in opened and in message", async () => {
    for (const say of [[open(1)], [{ message: "drain", drain: { graceMs: 1 } } as const]]) {
      const { end, peer } = linkAndRawPeer();
      end.onOpened = () => {
        throw breach;
      };
      end.message = () => {
        throw breach;
      };
      peer.say(say);
      await end.until(() => end.over !== undefined);
      expect(end.over!.error).toBe(breach);
    }
  });

  test("while the link closes, all others are told all the same", async () => {
    const pair = linkPair();
    const streams = await Promise.all([1, 2, 3].map(() => openStream(pair)));
    streams[0]!.nearHandler.onEvent = () => {
      throw mistake;
    };
    pair.server.link.close();
    expect(pair.server.over!.error).toMatchObject({ code: "internal", cause: mistake });
    expect(streams.map(({ nearHandler }) => nearHandler.failure)).toEqual(Array(3).fill("LINK_LOST"));
    expect(pair.server.link.streams).toBe(0);
    await pair.client.until(() => pair.client.over !== undefined);
  });
});

test("ids start again behind the last, and only there", async () => {
  const { end, peer } = linkAndRawPeer();
  peer.say([open(0xffff_ffed), open(0xffff_ffef), open(1), open(3)], chunk(0xffff_ffef, END, "old"));
  await end.until(() => end.arrivals.length === 4);
  expect(end.arrivals.map(({ stream }) => stream.id)).toEqual([0xffff_ffed, 0xffff_ffef, 1, 3]);
  expect(end.arrivals[1]!.handler.text).toBe("old");
  peer.say([open(1)]);
  await end.until(() => end.over !== undefined);
  expect(end.over!.error).toMatchObject({ code: "protocol" });
});

test("a breach on one link leaves another alone", async () => {
  const pair = linkPair();
  const { near, farHandler } = await openStream(pair);
  const { end, peer } = linkAndRawPeer();
  peer.say([], Buffer.from("nonsense"));
  await end.until(() => end.over !== undefined);
  near.write(Buffer.from("x"));
  await farHandler.until((h) => h.receivedBytes === 1);
  await roundTrip(pair.server);
  expect(pair.server.over).toBeUndefined();
});

function interim(stream: number): { message: "interim"; interim: Interim } {
  return { message: "interim", interim: { stream, head: Buffer.from("103") } };
}

/** Datagrams of one size, until they are so many bytes, or more for the first time. */
function datagrams(stream: number, length: number, each: number): Buffer {
  const run: Buffer[] = [];
  for (let left = length; left > 0; left -= each) run.push(chunk(stream, DATAGRAM, Buffer.alloc(each)));
  return Buffer.concat(run);
}

/** So many bytes of payload in legal chunks. */
function bytes(stream: number, length: number): Buffer {
  const run: Buffer[] = [];
  for (let left = length; left > 0; left -= 65_536)
    run.push(chunk(stream, 0, Buffer.alloc(Math.min(left, 65_536))));
  return Buffer.concat(run);
}

/** What the peer has said has been heard. */
async function heard(peer: { carrier: { inFlight: number } }): Promise<void> {
  await turnsUntil(() => peer.carrier.inFlight === 0);
}

async function roundTripOf(
  peer: { say(control: Control[]): void; heard: Control[] },
  end: { carrier: { inFlight: number } },
): Promise<void> {
  peer.say([{ message: "ping", ping: { id: 1 } }]);
  await turnsUntil(() => peer.heard.some(({ message }) => message === "pong"));
  await turnsUntil(() => end.carrier.inFlight === 0);
}

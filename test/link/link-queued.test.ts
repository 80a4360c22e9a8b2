import { expect, test } from "vitest";
import type { LinkStream } from "../../link/stream.ts";
import { Holding, UnreadBudget } from "../../link/unread-budget.ts";
import { linkAndRawPeer } from "../support/raw-peer.ts";
import { turnsUntil } from "../support/turns.ts";

const KIB = 1024;
/** What each chunk that waits counts beside its bytes. */
const CHUNK_BYTES = 512;

/** A stream with so much credit, and what waits to be sent on it, counted in a budget. */
function counted({ credit, limitBytes }: { credit: number; limitBytes?: number }) {
  const { end, peer } = linkAndRawPeer();
  end.link.peerStreamCredit = credit;
  const { stream, handler } = end.open();
  const budget = new UnreadBudget(limitBytes);
  const holding = new Holding(budget, { shed: () => stream.reset("CANCELLED", "shed") });
  stream.sendHolding = holding;
  const give = (bytes: number): void =>
    peer.say([{ message: "credit", credit: { stream: stream.id, bytes } }]);
  const received = (): number => peer.chunks.reduce((sum, { payload }) => sum + payload.length, 0);
  return { stream, handler, budget, holding, peer, give, received };
}

test("what leaves at once is not counted", () => {
  const { stream, holding } = counted({ credit: 64 * KIB });
  stream.write(Buffer.alloc(10 * KIB));
  expect(holding.heldBytes).toBe(0);
});

test("what has to wait is counted, each chunk as what it takes, and no more once it has left", async () => {
  const { stream, holding, budget, give, received } = counted({ credit: 0 });
  stream.write(Buffer.alloc(1_000));
  stream.write(Buffer.alloc(1));
  expect(holding.heldBytes).toBe(1_001 + 2 * CHUNK_BYTES);
  give(1_000);
  await turnsUntil(() => received() === 1_000);
  expect(holding.heldBytes).toBe(1 + CHUNK_BYTES);
  give(1);
  await turnsUntil(() => received() === 1_001);
  expect([holding.heldBytes, budget.heldBytes]).toEqual([0, 0]);
});

test("a chunk is counted whole until the last of it has left, since so long it stays in memory", async () => {
  const { stream, holding, give, received } = counted({ credit: 900 });
  stream.write(Buffer.alloc(1_000));
  await turnsUntil(() => received() === 900);
  expect(holding.heldBytes).toBe(1_000 + CHUNK_BYTES);
  give(50);
  await turnsUntil(() => received() === 950);
  expect(holding.heldBytes).toBe(1_000 + CHUNK_BYTES);
  give(50);
  await turnsUntil(() => received() === 1_000);
  expect(holding.heldBytes).toBe(0);
});

test.each<[string, (stream: LinkStream, peer: ReturnType<typeof counted>["peer"]) => void]>([
  ["is reset", (stream) => stream.reset("CANCELLED")],
  [
    "hears of a reset",
    (stream, peer) =>
      peer.say([{ message: "reset", reset: { stream: stream.id, code: "CANCELLED", detail: "" } }]),
  ],
  ["loses its link", (_stream, peer) => peer.carrier.abort()],
])("a stream that %s holds nothing any more", async (_, end) => {
  const { stream, holding, budget, peer } = counted({ credit: 100 });
  stream.write(Buffer.alloc(1_000));
  expect(holding.heldBytes).toBeGreaterThan(0);
  end(stream, peer);
  await turnsUntil(() => holding.heldBytes === 0);
  expect(budget.heldBytes).toBe(0);
});

test("a writer is asked to pause at a quarter of the bytes while the budget is pressed", () => {
  const { stream, budget } = counted({ credit: 0, limitBytes: 1024 * KIB });
  expect(stream.write(Buffer.alloc(17 * KIB))).toBe(true);
  budget.add(512 * KIB);
  expect(stream.write(Buffer.alloc(1))).toBe(false);
});

test("a writer that paused under pressure hears when it may go on, be there pressure or none", async () => {
  for (const stillPressed of [true, false]) {
    const { stream, handler, budget, give } = counted({ credit: 0, limitBytes: 1024 * KIB });
    budget.add(513 * KIB);
    expect(stream.write(Buffer.alloc(17 * KIB))).toBe(false);
    if (!stillPressed) budget.giveBack(513 * KIB);
    give(17 * KIB);
    await handler.until(({ drains }) => drains === 1);
  }
});

test("a stream that is shed for what it writes is gone, with all that waited", () => {
  const { stream, holding, budget } = counted({ credit: 0, limitBytes: 10 * KIB });
  stream.write(Buffer.alloc(9 * KIB));
  expect(stream.write(Buffer.alloc(9 * KIB))).toBe(true);
  expect([holding.heldBytes, budget.heldBytes]).toEqual([0, 0]);
  stream.write(Buffer.alloc(9 * KIB));
  expect(budget.heldBytes).toBe(0);
});

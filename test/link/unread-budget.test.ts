import { expect, test } from "vitest";
import { Holding, UnreadBudget, type UnreadHolder } from "../../link/unread-budget.ts";

const LIMIT = 1024 * 1024;

/** Holds bytes of a budget as a stream does. */
class Holder implements UnreadHolder {
  heldBytes = 0;
  readTick = 0;
  wasShed = false;
  readonly #budget: UnreadBudget;

  constructor(budget: UnreadBudget) {
    this.#budget = budget;
  }

  take(bytes: number): this {
    if (this.heldBytes === 0) {
      this.readTick = this.#budget.tick;
      this.#budget.join(this);
    }
    this.heldBytes += bytes;
    this.#budget.add(bytes);
    return this;
  }

  read(bytes: number): void {
    this.heldBytes -= bytes;
    this.readTick = this.#budget.tick;
    this.#budget.giveBack(bytes);
    if (this.heldBytes === 0) this.#budget.leave(this);
  }

  shed(): void {
    this.wasShed = true;
    this.read(this.heldBytes);
  }
}

test("a budget is pressed above half of its limit, and no longer when that has been read", () => {
  const budget = new UnreadBudget(LIMIT);
  const holder = new Holder(budget).take(LIMIT / 2);
  expect(budget.pressed).toBe(false);
  holder.take(1);
  expect(budget.pressed).toBe(true);
  holder.read(1);
  expect(budget.pressed).toBe(false);
});

test("exactly the limit may lie unread; a byte more, and room is made for an eighth of it", () => {
  const budget = new UnreadBudget(LIMIT);
  const holders = Array.from({ length: 64 }, () => new Holder(budget).take(LIMIT / 64));
  expect(holders.some(({ wasShed }) => wasShed)).toBe(false);
  holders[0]!.take(1);
  expect(holders.filter(({ wasShed }) => wasShed)).toHaveLength(8);
  expect(budget.heldBytes).toBe(LIMIT * (7 / 8));
});

test("who holds most goes first", () => {
  const budget = new UnreadBudget(LIMIT);
  const small = Array.from({ length: 4 }, () => new Holder(budget).take(LIMIT / 8));
  const large = new Holder(budget).take(LIMIT / 2);
  small[0]!.take(1);
  expect(large.wasShed).toBe(true);
  expect(small.some(({ wasShed }) => wasShed)).toBe(false);
});

test("who reads is spared, though it holds more than those who do not", () => {
  const budget = new UnreadBudget(LIMIT);
  const reader = new Holder(budget).take(LIMIT / 4 + 1);
  const stalled: Holder[] = [];
  while (!stalled.some(({ wasShed }) => wasShed)) {
    stalled.push(new Holder(budget).take(LIMIT / 32));
    if (reader.wasShed) break;
    reader.read(1);
    reader.take(1);
  }
  expect(reader.wasShed).toBe(false);
});

test("how long nothing was read counts for no more than how much there is, in the end", () => {
  const budget = new UnreadBudget(LIMIT);
  const forgotten = new Holder(budget).take(10_000);
  const passing = new Holder(budget);
  for (let i = 0; i < 1000; i++) {
    passing.take(LIMIT / 4);
    passing.read(LIMIT / 4);
  }
  const hog = new Holder(budget).take(LIMIT / 2);
  new Holder(budget).take(LIMIT / 2);
  expect(hog.wasShed).toBe(true);
  expect(forgotten.wasShed).toBe(false);
});

test("what is said while room is made sets off no second round", () => {
  const budget = new UnreadBudget(LIMIT);
  const late = new Holder(budget);
  class Talkative extends Holder {
    override shed(): void {
      late.take(LIMIT / 64);
      super.shed();
    }
  }
  const holders = Array.from({ length: 64 }, () => new Talkative(budget).take(LIMIT / 64));
  late.take(1);
  expect(holders.some(({ wasShed }) => wasShed)).toBe(true);
  expect(budget.heldBytes).toBeLessThan(LIMIT * 2);
});

test("who had to make room is told of, with each relief", () => {
  const shed: number[] = [];
  const budget = new UnreadBudget(LIMIT, (count) => shed.push(count));
  for (let i = 0; i < 64; i++) new Holder(budget).take(LIMIT / 64);
  expect(shed).toEqual([]);
  new Holder(budget).take(LIMIT / 64);
  expect(shed).toEqual([9]);
});

test("a holding counts what it is set to, and goes when it is shed in the midst of that", () => {
  const budget = new UnreadBudget(LIMIT);
  const holding: Holding = new Holding(budget, { shed: () => holding.set(0) });
  holding.set(LIMIT);
  expect(budget.heldBytes).toBe(LIMIT);
  holding.set(10);
  expect(budget.heldBytes).toBe(10);
  holding.set(LIMIT + 1);
  expect([holding.heldBytes, budget.heldBytes]).toEqual([0, 0]);
  holding.set(10);
  expect(budget.heldBytes).toBe(10);
});

import { array, assert, constantFrom, nat, option, property, record } from "fast-check";
import { describe, expect, test } from "vitest";
import { type Descriptor, type DescriptorParty, divideDescriptors } from "../../runtime/descriptor-budget.ts";

const SHARES = { guests: { guaranteed: 1 / 4, most: 40 }, tenants: { guaranteed: 1 / 2 } };

/** 64 descriptors, 16 kept for guests and 32 for tenants. */
function divide() {
  const short: string[] = [];
  const parties = divideDescriptors({
    descriptors: 64,
    shares: SHARES,
    onShort: (party, owner) => void short.push(`${party} of ${owner ?? "nobody"}`),
  });
  return { ...parties, short };
}

/** As many as there are. */
function takeAll(party: DescriptorParty, owner?: string): Descriptor[] {
  const taken: Descriptor[] = [];
  for (let one = party.take(owner); one; one = party.take(owner)) taken.push(one);
  return taken;
}

function takeSpare(party: DescriptorParty, owner: string, name: string, closed: string[]): Descriptor {
  const one = party.take(owner)!;
  one.spare(() => void closed.push(name));
  return one;
}

describe("a party", () => {
  test("leaves the others what is kept for them, and gets all that is kept for none", () => {
    const { guests, tenants } = divide();
    expect(takeAll(tenants)).toHaveLength(48);
    expect(takeAll(guests)).toHaveLength(16);
    expect([guests.left, tenants.left]).toEqual([0, 0]);
  });

  test("may have no more than its most, even where more are free", () => {
    const { guests } = divideDescriptors({ descriptors: 1_000, shares: SHARES, onShort() {} });
    expect(takeAll(guests)).toHaveLength(40);
  });

  test("has room again once one is released, which may be said twice", () => {
    const { tenants } = divide();
    const [first] = takeAll(tenants);
    first!.release();
    first!.release();
    expect(tenants.left).toBe(1);
    expect(takeAll(tenants)).toHaveLength(1);
    expect(tenants.held).toBe(48);
  });

  test("is short only when it gets none, or one that another gave up", () => {
    const { guests, tenants, short } = divide();
    for (let i = 0; i < 48; i++) tenants.take();
    expect(short).toEqual([]);
    expect(tenants.take()).toBeUndefined();
    expect(guests.take("a")).toBeDefined();
    expect(short).toEqual(["tenants of nobody"]);
  });
});

describe("what can be spared", () => {
  test("goes for others once there is no room: the eldest of the owner who has most of it", () => {
    const { guests, short } = divide();
    const closed: string[] = [];
    takeSpare(guests, "small", "small", closed);
    for (let i = 0; i < 23; i++) takeSpare(guests, "large", `large ${i}`, closed);
    const rest = takeAll(guests);
    expect(rest).toHaveLength(32);
    const large = Array.from({ length: 23 }, (_, i) => `large ${i}`);
    expect(closed).toEqual([...large.slice(0, -1), "small", "large 22"]);
    expect(short).toHaveLength(25);
    expect(guests.held).toBe(32);
  });

  test("is closed only while it is not needed", () => {
    const { tenants } = divide();
    const closed: string[] = [];
    const [first, second] = [
      takeSpare(tenants, "a", "first", closed),
      takeSpare(tenants, "a", "second", closed),
    ];
    first.needed();
    expect(takeAll(tenants)).toHaveLength(47);
    expect(closed).toEqual(["second"]);
    second.release();
    first.spare(() => void closed.push("first, again"));
    expect(tenants.take("b")).toBeDefined();
    expect(closed).toEqual(["second", "first, again"]);
    expect(tenants.held).toBe(48);
  });

  test("goes last where it has no owner", () => {
    const { tenants } = divide();
    const closed: string[] = [];
    for (let i = 0; i < 2; i++) tenants.take()!.spare(() => void closed.push("nobody's"));
    takeSpare(tenants, "a", "a's", closed);
    takeAll(tenants);
    expect(closed).toEqual(["a's", "nobody's", "nobody's"]);
  });

  test("and is borrowed goes for a party that is named later, before what that could spare itself", () => {
    const { guests, tenants, short } = divide();
    const closed: string[] = [];
    for (let i = 0; i < 4; i++) takeSpare(tenants, "t", "tenant", closed);
    for (let i = 0; i < 32; i++) takeSpare(guests, `g${i}`, "guest", closed);
    expect(tenants.left).toBe(44);
    for (let i = 0; i < 44; i++) expect(tenants.take()).toBeDefined();
    expect(closed).toEqual(Array.from({ length: 16 }, () => "guest"));
    expect(guests.held).toBe(16);
    expect(new Set(short)).toEqual(new Set(["tenants of nobody"]));
  });

  test("and is borrowed is taken from the pool, not from what is kept for others", () => {
    const share = { guaranteed: 1 / 4 };
    const { low, middle, high } = divideDescriptors({
      descriptors: 64,
      shares: { low: share, middle: share, high: share },
      onShort() {},
    });
    const lows = Array.from({ length: 24 }, (_, i) => takeSpare(low, `l${i}`, "low", []));
    expect(takeAll(middle)).toHaveLength(32);
    for (const each of lows) each.needed();
    expect(takeAll(high)).toHaveLength(16);
    expect(low.held).toBe(16);
  });

  test("is not taken back for a party that is named before", () => {
    const { guests, tenants } = divide();
    const closed: string[] = [];
    for (let i = 0; i < 48; i++) takeSpare(tenants, `t${i}`, "tenant", closed);
    expect(takeAll(guests)).toHaveLength(16);
    expect(closed).toEqual([]);
  });
});

describe("owners", () => {
  test("one alone has three quarters, and leaves the rest to others", () => {
    const { tenants } = divide();
    expect(takeAll(tenants, "greedy")).toHaveLength(36);
    expect(tenants.take("modest")).toBeDefined();
  });

  test.each([["one after the other"], ["at the same time"]])(
    "of whom fifty take all they can, %s, leave room for others, whatever other parties borrow",
    (how) => {
      const { guests, tenants } = divideDescriptors({ descriptors: 2_000, shares: SHARES, onShort() {} });
      if (how === "at the same time")
        for (let round = 0; round < 500; round++) for (let i = 0; i < 50; i++) tenants.take(`greedy ${i}`);
      else for (let i = 0; i < 50; i++) takeAll(tenants, `greedy ${i}`);
      takeAll(guests);
      expect(tenants.take("modest")).toBeDefined();
    },
  );

  test("that come and go again and again leave nothing to those who only take", () => {
    const { guests, tenants } = divide();
    const greedy = (): void => ["x", "y", "z"].forEach((owner) => void takeAll(tenants, owner));
    greedy();
    takeAll(guests);
    for (let i = 0; i < 20; i++) {
      const modest = tenants.take("modest");
      expect(modest).toBeDefined();
      modest!.release();
      greedy();
    }
  });

  test("that hold too much make room by themselves, and close nothing of others", () => {
    const { tenants } = divide();
    const closed: string[] = [];
    takeSpare(tenants, "modest", "modest", closed);
    const greedy = takeAll(tenants, "greedy");
    expect(greedy).toHaveLength(36);
    expect(closed).toEqual([]);
    greedy[7]!.spare(() => void closed.push("greedy"));
    expect(tenants.take("greedy")).toBeDefined();
    expect(closed).toEqual(["greedy"]);
  });
});

describe("one that passes to another party", () => {
  test("makes room in the one, and takes it in the other", () => {
    const { guests, tenants } = divide();
    const all = takeAll(guests);
    for (const one of all) expect(tenants.adopt(one)).toBe(true);
    expect([guests.held, tenants.held]).toEqual([0, 32]);
    expect(tenants.adopt(all[0]!)).toBe(true);
    all[0]!.release();
    expect([guests.held, tenants.held]).toEqual([0, 31]);
    expect(takeAll(guests)).toHaveLength(32);
  });

  test("stays where it was if there is no room, and can be spared as before", () => {
    const { guests, tenants } = divide();
    const closed: string[] = [];
    takeAll(tenants);
    const guest = takeSpare(guests, "a", "a", closed);
    expect(tenants.adopt(guest)).toBe(false);
    expect([guests.held, tenants.held]).toEqual([1, 48]);
    for (let i = 0; i < 16; i++) expect(guests.take()).toBeDefined();
    expect(closed).toEqual(["a"]);
    guest.release();
    expect(tenants.adopt(guest)).toBe(false);
  });
});

test("whatever is taken and released, never are more open than there are, and what is kept for a party is there", () => {
  const name = constantFrom("low", "middle", "high");
  const step = record({
    act: constantFrom("take", "take", "take", "spare", "needed", "release", "adopt"),
    party: name,
    owner: option(constantFrom("a", "b", "c"), { nil: undefined }),
    which: nat(30),
  });
  assert(
    property(array(step, { maxLength: 200 }), (steps) => {
      const parties = divideDescriptors({
        descriptors: 20,
        shares: {
          low: { guaranteed: 0.2, most: 12 },
          middle: { guaranteed: 0.3 },
          high: { guaranteed: 0.25 },
        },
        onShort() {},
      });
      const kept = { low: 4, middle: 6, high: 5 };
      const open = new Set<Descriptor>();
      /** Who did not get what is kept for them. */
      const refused: string[] = [];
      for (const { act, party, owner, which } of steps) {
        const one = [...open][which % Math.max(1, open.size)];
        if (act === "take") {
          const had = parties[party].held;
          const taken = parties[party].take(owner);
          if (taken) open.add(taken);
          if (!taken && owner === undefined && had < kept[party]) refused.push(party);
        } else if (act === "spare") one?.spare(() => open.delete(one));
        else if (act === "needed") one?.needed();
        else if (act === "adopt") void (one && parties[party].adopt(one));
        else if (one) {
          one.release();
          open.delete(one);
        }
        const held = Object.values(parties).reduce((sum, each) => sum + each.held, 0);
        expect(held).toBe(open.size);
        const owed = (["low", "middle", "high"] as const).reduce(
          (sum, each) => sum + Math.max(kept[each], parties[each].held),
          0,
        );
        expect(owed).toBeLessThanOrEqual(20);
        expect(parties.low.held).toBeLessThanOrEqual(12);
        expect(refused).toEqual([]);
      }
    }),
  );
});

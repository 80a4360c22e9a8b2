import { array, assert, constantFrom, nat, option, property, record } from "fast-check";
import { expect, test } from "vitest";
import { EldestOfLargest, type Member } from "../../runtime/eldest-of-largest.ts";

test("the eldest of the largest group is found, whoever has come and gone", () => {
  const step = record({ group: constantFrom("a", "b", "c", "d"), leaves: option(nat(20)) });
  assert(
    property(array(step, { maxLength: 60 }), (steps) => {
      const groups = new EldestOfLargest<number>();
      const members: { group: string; value: number; member: Member<number> }[] = [];
      for (const [value, { group, leaves }] of steps.entries()) {
        if (leaves === null) members.push({ group, value, member: groups.add(group, value) });
        else for (const { member } of members.splice(leaves, 1)) groups.remove(member);
        const of = (name: string) => members.filter((each) => each.group === name);
        const largest = Math.max(...members.map((each) => of(each.group).length));
        const eldests = members
          .filter((each) => of(each.group).length === largest && of(each.group)[0] === each)
          .map((each) => each.value);
        expect(groups.size).toBe(members.length);
        expect(eldests.length > 0 ? eldests : [undefined]).toContain(groups.eldest());
        expect(groups.eldest("a")).toBe(of("a")[0]?.value);
      }
    }),
  );
});

test("among groups of one size it is the one that has had it for longest", () => {
  const groups = new EldestOfLargest<string>();
  groups.add("a", "first");
  const second = groups.add("b", "second");
  groups.add("c", "third");
  expect(groups.eldest()).toBe("first");
  groups.add("a", "fourth");
  groups.add("b", "fifth");
  expect(groups.eldest()).toBe("first");
  groups.remove(second);
  expect(groups.eldest()).toBe("first");
});

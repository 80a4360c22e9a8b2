import { expect, test } from "vitest";
import { Turnstile } from "../../runtime/turnstile.ts";

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test("so many pass in each turn of the event loop, in the order in which they came", async () => {
  const turnstile = new Turnstile(3);
  const passed: number[] = [];
  const all = Array.from({ length: 8 }, async (_, i) => {
    await turnstile.pass();
    passed.push(i);
  });
  const perTurn: number[] = [];
  while (passed.length < 8) {
    // Whoever is let in goes on in this turn.
    await Promise.resolve();
    await nextTurn();
    perTurn.push(passed.length);
  }
  await Promise.all(all);
  expect(passed).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  for (const [i, count] of perTurn.entries())
    expect(count - (perTurn[i - 1] ?? 0)).toBeLessThanOrEqual(i === 0 ? 6 : 3);
});

test("nobody waits where few come", async () => {
  const turnstile = new Turnstile(2);
  for (let turn = 0; turn < 3; turn++) {
    expect([turnstile.pass(), turnstile.pass()]).toEqual([undefined, undefined]);
    expect(turnstile.pass()).toBeInstanceOf(Promise);
    // The third one took a place of the next turn, which is over then.
    await nextTurn();
    await nextTurn();
  }
});

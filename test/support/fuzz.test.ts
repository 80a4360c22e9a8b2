import * as fc from "fast-check";
import { expect, test } from "vitest";
import { checkProperty } from "./fuzz.ts";

test("a property that fails says how to repeat it, and what threw", async () => {
  const mistake = new Error("over 9");
  const property = fc.asyncProperty(fc.nat(1_000), async (number) => {
    if (number > 9) throw mistake;
  });
  const failure = await checkProperty(property, { seed: 42 }).catch((error: unknown) => error as Error);
  expect(failure).toMatchObject({ cause: mistake });
  expect(failure!.message).toMatch(
    /^To repeat: FUZZ_SEED=42 (?:FUZZ_RUNS=\d+ )?npx vitest run test\/support\/fuzz\.test\.ts -t "a property that fails says/,
  );
  expect(failure!.message).toContain("Counterexample: [10]");
});

test("a property that holds is no failure", async () => {
  await expect(
    checkProperty(
      fc.asyncProperty(fc.nat(), async () => {}),
      { numRuns: 5 },
    ),
  ).resolves.toBeUndefined();
});

/**
 * Property-based tests with fast-check. Each run tries values that no run tried before; a failure is shrunk to the smallest
 * values that fail, and names the command that repeats it.
 *
 *   FUZZ_RUNS=100000   how many values each property is tried with (the dearer ones with fewer)
 *   FUZZ_SEED=…        the seed of a run that failed
 */
import { relative } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { turn } from "./turns.ts";

/** Few, so that `npm test` stays quick: over the days it tries many all the same. */
const DEFAULT_RUNS = 300;
/** How long properties run before the event loop gets its turn: the test runner loses a worker that is silent for a minute. */
const BREATH_MS = 1_000;

type Arbitraries<T> = { [K in keyof T]: fc.Arbitrary<T[K]> };

export interface FuzzOptions {
  /** How many values of a cheap property one of this takes the time of. */
  cost?: number;
  /** How many values to try where `FUZZ_RUNS` says nothing. */
  runs?: number;
}

/** A test that `check` holds for whatever the arbitraries make; it says no by throwing. */
export function fuzz<T extends [unknown, ...unknown[]]>(
  name: string,
  arbitraries: Arbitraries<T>,
  check: (...values: T) => void | Promise<void>,
  { cost = 1, runs = DEFAULT_RUNS }: FuzzOptions = {},
): void {
  // No time limit: it is the number of runs that was asked for.
  // oxlint-disable-next-line vitest/valid-title, vitest/expect-expect -- the caller has the title and the expectations
  test(name, { timeout: 0 }, async () => {
    await checkProperty(fc.asyncProperty<T>(...arbitraries, inBreaths(check)), {
      numRuns: Math.max(1, Math.ceil(Number(process.env["FUZZ_RUNS"] ?? runs) / cost)),
      ...(process.env["FUZZ_SEED"] !== undefined && { seed: Number(process.env["FUZZ_SEED"]) }),
    });
  });
}

/** @throws Error that says how to repeat the failure; its cause is what the property threw */
export async function checkProperty<T>(
  property: fc.IAsyncProperty<T>,
  parameters: fc.Parameters<T>,
): Promise<void> {
  const details = await fc.check(property, parameters);
  if (!details.failed) return;
  const { testPath = "", currentTestName = "" } = expect.getState();
  const runs = process.env["FUZZ_RUNS"];
  const command = [
    `FUZZ_SEED=${details.seed}`,
    ...(runs === undefined ? [] : [`FUZZ_RUNS=${runs}`]),
    `npx vitest run ${relative(process.cwd(), testPath)}`,
    `-t ${JSON.stringify(currentTestName)}`,
  ];
  throw new Error(`To repeat: ${command.join(" ")}\n${await fc.asyncDefaultReportMessage(details)}`, {
    cause: details.errorInstance,
  });
}

function inBreaths<T extends unknown[]>(
  check: (...values: T) => void | Promise<void>,
): (...values: T) => Promise<void> {
  let breathedAtMs = performance.now();
  return async (...values) => {
    if (performance.now() - breathedAtMs > BREATH_MS) {
      await turn();
      breathedAtMs = performance.now();
    }
    await check(...values);
  };
}

import { expect, test } from "vitest";
import { findProgram } from "../../bench/needed-programs.ts";
import type { Contender, ContenderKind } from "../../bench/contender.ts";
import type { Results } from "../../bench/results.ts";
import type * as RunBench from "../../bench/run-bench.ts";
import type { Workload } from "../../bench/workload.ts";

const missing = ["wrk", "nginx", "curl"].filter((program) => findProgram(program) === undefined);
if (missing.length > 0 && process.env["CI"]) throw new Error(`no ${missing.join(", ")} here`);

/** Built: it starts programs of its own. */
const BUILT = "../../dist/bench/run-bench.js";

/** @param start decides whether it starts, each time anew */
function contender(name: string, start: () => void = () => {}): ContenderKind {
  const kind: ContenderKind = {
    name,
    title: `The ${name}`,
    async start({ backend }): Promise<Contender> {
      start();
      const entrance = { host: "127.0.0.1", port: backend.port, hostname: "bench.localhost" };
      return { kind, entrance, async [Symbol.asyncDispose]() {} };
    },
  };
  return kind;
}

function workload(name: string, more: Partial<Workload> = {}): Workload {
  return {
    name,
    title: `Workload ${name}`,
    road: "here",
    figures: [{ name: "rate", title: "req/s", better: "more" }],
    run: async () => ({ figures: { rate: 7 } }),
    ...more,
  };
}

interface Run {
  results: Results;
  printed: string;
  /** As they were after each workload. */
  kept: Results[];
}

async function run(
  contenders: ContenderKind[],
  workloads: Workload[],
  { rounds = 1, stop = new AbortController() } = {},
): Promise<Run> {
  const { runBench } = (await import(BUILT)) as typeof RunBench;
  const lines: string[] = [];
  const kept: Results[] = [];
  const results = await runBench({
    contenders,
    workloads,
    rounds,
    seconds: 1,
    quick: true,
    print: (line) => lines.push(line),
    keep: async (soFar) => void kept.push(structuredClone(soFar)),
    signal: stop.signal,
  });
  return { results, printed: lines.join("\n"), kept };
}

/** What came of each: a figure, or why there is none. */
function outcomes({ rows }: Results): Record<string, number | string | undefined> {
  return Object.fromEntries(
    rows.map(({ workload: name, contender: who, figures, failures }) => [
      `${name} ${who}`,
      figures["rate"]?.median ?? failures[0],
    ]),
  );
}

function fails(): never {
  throw new Error("its port is taken");
}

test.skipIf(missing.length > 0)(
  "a contender that does not start stands in each table with the reason, and the others are measured",
  async () => {
    const { results, printed } = await run(
      [contender("broken", fails), contender("sound")],
      [workload("one"), workload("two", { fresh: true })],
      { rounds: 2 },
    );
    expect(outcomes(results)).toEqual({
      "one broken": "did not start: its port is taken",
      "one sound": 7,
      "two broken": "did not start: its port is taken",
      "two sound": 7,
    });
    expect(printed).toMatch(
      /Workload one\n[^]*\n {2}The broken +–\n {2}The sound +7\.00 [^]*\n {2}FAILED: The broken: did not start: its port is taken\n/,
    );
    expect(results).not.toHaveProperty("incomplete");
  },
);

test.skipIf(missing.length > 0)(
  "one that does not start a second time fails where a fresh one is needed, and only there",
  async () => {
    let starts = 0;
    const once = contender("unsteady", () => {
      if (++starts > 1) fails();
    });
    const { results, kept } = await run(
      [once, contender("sound")],
      [workload("one"), workload("two", { fresh: true }), workload("three")],
    );
    expect(outcomes(results)).toEqual({
      "one unsteady": 7,
      "one sound": 7,
      "two unsteady": "did not start: its port is taken",
      "two sound": 7,
      "three unsteady": 7,
      "three sound": 7,
    });
    expect(kept.map(({ rows }) => rows.length)).toEqual([2, 4, 6]);
  },
);

test.skipIf(missing.length > 0)("one that cannot say whether it can take part is passed over", async () => {
  const puzzled = { ...contender("puzzled"), obstacle: async () => fails() };
  const { results } = await run([puzzled, contender("sound")], [workload("one")]);
  expect(results.skipped).toEqual([{ name: "puzzled", reason: "its port is taken" }]);
  expect(outcomes(results)).toEqual({ "one sound": 7 });
});

test.skipIf(missing.length > 0)("what was measured before an interruption is in the results", async () => {
  const stop = new AbortController();
  const cut = workload("two", {
    async run({ contender: { kind }, signal }) {
      if (kind.name === "second") stop.abort();
      signal.throwIfAborted();
      return { figures: { rate: 8 } };
    },
  });
  const { results, printed } = await run(
    [contender("first"), contender("second")],
    [workload("one"), cut, workload("three")],
    { stop },
  );
  expect(results.incomplete).toBe("interrupted");
  expect(outcomes(results)).toEqual({ "one first": 7, "one second": 7, "two first": 8 });
  expect(printed).toMatch(/Workload two\n.*\n {2}The first +8\.00/);
});

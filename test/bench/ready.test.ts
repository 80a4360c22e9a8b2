import { expect, test, vi } from "vitest";
import type { Contender, ContenderKind } from "../../bench/contender.ts";
import type { Measuring } from "../../bench/workload.ts";
import { ready } from "../../bench/workloads/ready.ts";
import { listeningService } from "../support/listening.ts";

const waits = vi.hoisted((): number[] => []);
vi.mock("node:timers/promises", () => ({
  setTimeout: async (ms: number) => void waits.push(ms),
}));

test.for([
  ["half a second", undefined, 500],
  ["as long as its server needs", 1_500, 1_500],
] as const)("between two clients lies %s", async ([, clientGoneMs, expected]) => {
  waits.length = 0;
  await using service = await listeningService((_request, response) => response.end("ok"));
  const kind = { name: "one", title: "one", clientGoneMs } as unknown as ContenderKind;
  const contender: Contender = {
    kind,
    entrance: { host: service.host, port: service.port, hostname: "bench.localhost" },
    stopClient: async () => {},
    startClient: () => {},
    async [Symbol.asyncDispose]() {},
  };
  await ready.run({ contender, signal: new AbortController().signal } as unknown as Measuring);
  expect(waits).toEqual(Array(5).fill(expected));
});

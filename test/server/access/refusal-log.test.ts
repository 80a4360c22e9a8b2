import { expect, test } from "vitest";
import { RefusalLog } from "../../../server/access/refusal-log.ts";
import { recordingLog } from "../../support/recording-log.ts";

function logWithClock() {
  const clock = { now: 0 };
  const { log, lines } = recordingLog();
  const refusals = new RefusalLog(log, () => clock.now);
  const refuse = (network: string): void =>
    refusals.refused({ peer: `${network}:1`, network, code: "key_refused", reason: "no such key" });
  return { clock, refuse, warnings: () => lines.filter(({ level }) => level === "warn"), lines };
}

test("a thousand refusals of one network are one warning a minute, with the number of the others", () => {
  const { clock, refuse, warnings, lines } = logWithClock();
  for (let i = 0; i < 1_000; i++) refuse("203.0.113.7");
  expect(warnings()).toMatchObject([
    { message: "client refused", peer: "203.0.113.7:1", code: "key_refused", reason: "no such key" },
  ]);
  // For who looks closer, each of them is there.
  expect(lines.length).toBe(1_000);
  clock.now += 60_000;
  refuse("203.0.113.7");
  expect(warnings()[1]).toMatchObject({ unlogged: 999 });
  expect(warnings()[0]).not.toHaveProperty("unlogged");
});

test("another network has its own line", () => {
  const { refuse, warnings } = logWithClock();
  refuse("203.0.113.7");
  refuse("203.0.113.8");
  expect(warnings().length).toBe(2);
});

test("refusals of thousands of networks are sixty lines a minute", () => {
  const { clock, refuse, warnings } = logWithClock();
  for (let i = 0; i < 20_000; i++) refuse(`network-${i}`);
  expect(warnings().length).toBe(60);
  clock.now += 60_000;
  for (let i = 0; i < 20_000; i++) refuse(`network-${i}`);
  expect(warnings().length).toBe(120);
});

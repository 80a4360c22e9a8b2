import { expect, test } from "vitest";
import type { Sample } from "../../soak/trend.ts";
import { judge, type Figure, type Judgement } from "../../soak/verdict.ts";
import { Random } from "../support/random.ts";

const MIB = 1024 * 1024;
/** What half an hour leaves after its warm-up, three samples a minute. */
const MINUTES = 20;

function series(value: (minutes: number, number: number) => number, minutes = MINUTES): Sample[] {
  return Array.from({ length: minutes * 3 }, (_, i) => ({ minutes: i / 3, value: value(i / 3, i) }));
}

/** Between -size and size. */
function noise(seed: number, size: number): () => number {
  const random = new Random(seed);
  return () => random.below(2 * size + 1) - size;
}

function verdictOf(figure: Figure, samples: Sample[]): Judgement["verdict"] {
  return judge(figure, samples).verdict;
}

test("one descriptor a minute is found, in the noise of connections that come and go", () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = noise(seed, 8);
    expect(
      verdictOf(
        "descriptors",
        series((minutes) => 60 + Math.floor(minutes) + random()),
      ),
    ).toBe("grows");
  }
});

test("noise without a trend is flat, whatever its size", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = noise(seed, 40);
    expect(
      verdictOf(
        "descriptors",
        series(() => 60 + random()),
      ),
    ).toBe("flat");
    expect(
      verdictOf(
        "memory",
        series(() => 20 * MIB + random() * 100_000),
      ),
    ).toBe("flat");
  }
});

test("a figure that never changes is flat, at nothing too", () => {
  for (const level of [0, 11])
    expect(
      verdictOf(
        "threads",
        series(() => level),
      ),
    ).toBe("flat");
});

test("a burst that is over, even a long one, is flat", () => {
  const burst = series((minutes) => (minutes > 8 && minutes < 13 ? 400 : 60));
  expect(verdictOf("descriptors", burst)).toBe("flat");
});

test("faults that return every five minutes leave no trend", () => {
  const random = noise(1, 3);
  const teeth = series((minutes) => 60 + 4 * (Math.floor(minutes) % 5) + random());
  expect(verdictOf("descriptors", teeth)).toBe("flat");
});

test("one timer left by each cut, which comes every five minutes, is found in a run of two hours", () => {
  const random = noise(2, 3);
  const steps = series((minutes) => 40 + Math.floor(minutes / 5) + random(), 80);
  expect(verdictOf("timers", steps)).toBe("grows");
});

test("what falls is flat", () => {
  expect(
    verdictOf(
      "sockets",
      series((minutes) => 200 - 5 * minutes),
    ),
  ).toBe("flat");
});

test("memory: 200 KiB a minute is found in the noise of bodies under way", () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = noise(seed, 1_000);
    const samples = series((minutes) => 20 * MIB + minutes * 200 * 1024 + random() * 1_000);
    expect(verdictOf("memory", samples)).toBe("grows");
  }
});

test("memory: what compiled code still takes, a few KiB a minute, is flat", () => {
  expect(
    verdictOf(
      "memory",
      series((minutes) => 20 * MIB + minutes * 20 * 1024),
    ),
  ).toBe("flat");
});

test("a day's run finds a descriptor every ten minutes, and is judged at once", () => {
  const random = noise(3, 8);
  const samples = series((minutes) => 60 + Math.floor(minutes / 10) + random(), 1_400);
  const startMs = performance.now();
  expect(verdictOf("descriptors", samples)).toBe("grows");
  expect(performance.now() - startMs).toBeLessThan(2_000);
});

test("a handful of samples says nothing, even if each is above the last", () => {
  expect(verdictOf("descriptors", series((_, i) => 60 + 50 * i).slice(0, 10))).toBe("too few samples");
  expect(verdictOf("descriptors", series((_, i) => 60 + 50 * i).slice(0, 11))).toBe("grows");
});

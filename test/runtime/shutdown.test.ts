import { expect, test } from "vitest";
import { onShutdownSignals } from "../../runtime/shutdown.ts";

function record() {
  const calls: string[] = [];
  const handlers = {
    first: (signal: string) => void calls.push(`first ${signal}`),
    second: (signal: string) => void calls.push(`second ${signal}`),
  };
  return { calls, handlers };
}

/** Raises a real signal and waits until it has been handled. */
async function raise(signal: "SIGTERM" | "SIGINT"): Promise<void> {
  const handled = new Promise((resolve) => process.once(signal, resolve));
  process.kill(process.pid, signal);
  await handled;
}

test("the first signal asks for a graceful end, every other for a quick one", async () => {
  const { calls, handlers } = record();
  using _ = onShutdownSignals(handlers);
  await raise("SIGTERM");
  await raise("SIGINT");
  await raise("SIGTERM");
  expect(calls).toEqual(["first SIGTERM", "second SIGINT", "second SIGTERM"]);
});

test("disposed handlers hear no signal, and none are left behind", async () => {
  const before = process.listenerCount("SIGTERM") + process.listenerCount("SIGINT");
  const { calls, handlers } = record();
  onShutdownSignals(handlers)[Symbol.dispose]();
  expect(process.listenerCount("SIGTERM") + process.listenerCount("SIGINT")).toBe(before);
  await raise("SIGINT");
  expect(calls).toEqual([]);
});

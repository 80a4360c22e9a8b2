import { afterEach, expect, test, vi } from "vitest";
import { IdleConnections } from "../../../client/local/idle-connections.ts";
import type { ServiceConnection } from "../../../client/local/service-connection.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function idleFor(idleMs: number, destroy: () => void): ServiceConnection {
  const connection = { usable: true, mayCrowd: false, idleMs, idleUntilMs: 0, destroy };
  return connection as Partial<ServiceConnection> as ServiceConnection;
}

test("a connection whose time passes while others are closed is closed soon, without a timer for the past", async () => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout"] });
  const closed: string[] = [];
  const times = vi.spyOn(globalThis, "setTimeout");
  const connections = new IdleConnections();
  connections.release(
    idleFor(10, () => {
      closed.push("first");
      // It takes that long.
      vi.spyOn(performance, "now").mockReturnValue(performance.now() + 50);
    }),
  );
  connections.release(idleFor(20, () => closed.push("second")));
  while (connections.size < 2) await new Promise((resolve) => setImmediate(resolve));
  await vi.advanceTimersByTimeAsync(12);
  expect(closed).toEqual(["first", "second"]);
  expect(times.mock.calls.map(([, ms]) => ms! >= 0)).not.toContain(false);
});

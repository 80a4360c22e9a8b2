import { EventEmitter } from "node:events";
import { afterEach, expect, test, vi } from "vitest";
import { DirectCarrier } from "../../link/direct-carrier.ts";
import type { Call } from "../../link/grpc-carrier.ts";

afterEach(() => void vi.useRealTimers());

/** A carrier over a call whose stream takes what is written, and never says that it has left. */
function carrierOverSilence(): { call: EventEmitter; carrier: DirectCarrier } {
  const stream = Object.assign(new EventEmitter(), { write: () => true, resume() {} });
  const call = Object.assign(new EventEmitter(), { sendMetadata() {}, end() {}, call: { stream } });
  const carrier = new DirectCarrier(call as unknown as Call, () => {});
  carrier.receive({ control() {}, data() {}, batchEnd() {}, closed() {} });
  return { call, carrier };
}

test.each<[string, (ends: ReturnType<typeof carrierOverSilence>) => void]>([
  ["it is cut", ({ carrier }) => carrier.abort()],
  ["the other end is gone", ({ call }) => call.emit("cancelled")],
])("no timer is left of a carrier once %s", (_, end) => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const ends = carrierOverSilence();
  ends.carrier.send({ control: [{ message: "ping", ping: { id: 1 } }], data: [] }, () => {});
  expect(vi.getTimerCount()).toBe(1);
  end(ends);
  expect(vi.getTimerCount()).toBe(0);
});

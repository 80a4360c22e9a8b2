import { Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { TcpConnection } from "../../../server/grpc/tcp-connection.ts";

afterEach(() => void vi.useRealTimers());

test("no timer is left of a connection that has closed", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const connection = new TcpConnection({
    socket: new Socket(),
    handshakeMs: 20_000,
    becomeClient: () => true,
  });
  connection.cutWithin(1_000);
  expect(vi.getTimerCount()).toBe(2);
  connection.closed();
  expect(vi.getTimerCount()).toBe(0);
});

import { expect, test } from "vitest";
import type { TunnelState } from "../../../link/messages.ts";
import { ClientStates } from "../../../server/sessions/client-states.ts";
import type { SessionTunnel } from "../../../server/sessions/naming.ts";
import { recordingLog } from "../../support/recording-log.ts";

const WEB: SessionTunnel = {
  id: 1,
  name: "web",
  kind: "HTTP",
  hostname: "app.example.com",
  url: "http://app.example.com/",
  target: "https://nas.lan",
};
const CAMERAS: SessionTunnel = {
  id: 2,
  name: "cameras",
  kind: "TCP",
  port: 6000,
  ports: 11,
  url: "tcp://example.com:6000-6010",
  target: "127.0.0.1:6000",
};
const TYPED: SessionTunnel = { ...WEB, id: 3, request: 0, name: "typed" };

function statesOf(...tunnels: SessionTunnel[]) {
  const { log, lines } = recordingLog();
  return { states: new ClientStates(tunnels, log), lines };
}

function state(tunnel: number, more: Partial<TunnelState> = {}): TunnelState {
  return { tunnel, allowed: true, answer: "ANSWERS", reason: "", ...more };
}

const NOT_ALLOWED = { allowed: false, answer: "NOT_LOOKED_AT" } as const;
const NO_ANSWER = { answer: "NO_ANSWER", reason: "it refuses" } as const;

test("what the client does not allow, or what does not answer it, is said once, with what helps", () => {
  const { states, lines } = statesOf(WEB, CAMERAS);
  states.heard([state(1, NO_ANSWER), state(2, NOT_ALLOWED)]);
  expect(lines).toMatchObject([
    {
      level: "info",
      tunnel: "web",
      reason: "it refuses",
      message: "nothing answers the client at https://nas.lan:443 yet",
    },
    {
      level: "warn",
      tunnel: "cameras",
      message: "the client does not allow 127.0.0.1:6000-6010: start it with --allow 127.0.0.1:6000-6010",
    },
  ]);
  states.heard([state(1, NO_ANSWER), state(2, NOT_ALLOWED)]);
  states.heard([state(1)]);
  states.heard([state(1, NO_ANSWER)]);
  expect(lines).toHaveLength(2);
  states.heard([state(1, NOT_ALLOWED)]);
  expect(lines[2]?.message).toContain("--allow nas.lan:443");
});

test("of what is well, unknown, not looked at or the client's own nothing is said", () => {
  const { states, lines } = statesOf(WEB, CAMERAS, TYPED);
  states.heard([state(1), state(2, { answer: "NOT_LOOKED_AT" }), state(3, NOT_ALLOWED)]);
  states.heard([state(7, NOT_ALLOWED), state(0, NO_ANSWER), state(3, NO_ANSWER)]);
  states.heard([state(1, { answer: 9 as unknown as TunnelState["answer"] })]);
  expect(lines).toEqual([]);
});

test("states of more tunnels than there are break the contract", () => {
  const { states } = statesOf(WEB);
  states.heard([]);
  expect(() => states.heard([state(1), state(1)])).toThrow(expect.objectContaining({ code: "protocol" }));
});

test("a long reason is cut", () => {
  const { states, lines } = statesOf(WEB);
  states.heard([state(1, { ...NO_ANSWER, reason: "x".repeat(100_000) })]);
  expect(String(lines[0]?.["reason"]).length).toBeLessThan(300);
});

import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { LinkStream } from "../../../../link/stream.ts";
import type { Route } from "../../../../server/routing/route.ts";
import { turnsUntil } from "../../../support/turns.ts";
import { startEdgeOfBytes } from "./edge-of-bytes.ts";
import { extension, hello, serverNames, vector } from "./made-hello.ts";

const KIB = 1024;
const RECORD = Buffer.from([22, 3, 1]);
const TRUSTED = ["127.0.0.1"];

/** The first record of a ClientHello that takes 64,000 bytes: 16 KiB of it. */
function unfinishedHello(): Buffer {
  const message = Buffer.alloc(16 * KIB);
  message.set([1, 0x00, 0xfa, 0x00]);
  return Buffer.concat([RECORD, vector(2, message)]);
}

/** A whole hello of a few kilobytes. */
function largeHello(): Buffer {
  const names = serverNames("app.test");
  const padding = extension(21, "\0".repeat(8 * KIB));
  return Buffer.concat([RECORD, vector(2, hello(Buffer.concat([names, padding])))]);
}

describe("what a visitor has sent, and nobody has taken, is counted", () => {
  test("while its ClientHello is unfinished: as what it takes in memory", async () => {
    const edge = await startEdgeOfBytes("TLS");
    const visitor = (await edge.visit()).send(unfinishedHello());
    await turnsUntil(() => edge.budget.heldBytes > 32 * KIB);
    // Kept as it came, and as the message in it; each grows by doubling.
    expect(edge.budget.heldBytes).toBeLessThanOrEqual(4 * unfinishedHello().length);
    visitor.abort();
    await turnsUntil(() => edge.connections === 0);
    expect(edge.budget.heldBytes).toBe(0);
  });

  test("while its PROXY header is unfinished", async () => {
    const edge = await startEdgeOfBytes("TCP", { trustedProxies: TRUSTED });
    const visitor = (await edge.visit()).send("\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xff");
    await turnsUntil(() => edge.budget.heldBytes >= 4 * KIB);
    visitor.abort();
    await turnsUntil(() => edge.connections === 0);
    expect(edge.budget.heldBytes).toBe(0);
  });

  test("while it waits for a client that is coming back, and no more when that has it", async () => {
    let back: (() => void) | undefined;
    const away: Route = {
      tunnel: "web",
      key: "home",
      open: undefined,
      whenBack: (callback) => {
        back = callback;
        return () => {};
      },
    };
    let found: Route = away;
    const edge = await startEdgeOfBytes("TLS", { holdMs: 60_000, findRoute: () => found });
    (await edge.visit()).send(largeHello());
    await turnsUntil(() => back !== undefined);
    expect(edge.budget.heldBytes).toBeGreaterThanOrEqual(largeHello().length);
    found = edge.route;
    back!();
    expect((await edge.route.next()).body).toEqual(largeHello());
    expect(edge.budget.heldBytes).toBe(0);
  });

  test("while it waits to be sent to the client", async () => {
    const edge = await startEdgeOfBytes("TCP");
    const visitor = await edge.visit();
    const stream: LinkStream = await edge.route.next();
    stream.sendHolding!.set(1_000);
    expect(edge.budget.heldBytes).toBe(1_000);
    visitor.abort();
    await turnsUntil(() => edge.connections === 0);
    expect(edge.budget.heldBytes).toBe(0);
  });
});

describe("over the limit", () => {
  test("those whose ClientHello takes most, and does not go on, are cut off, and the log says why", async () => {
    const edge = await startEdgeOfBytes("TLS", { unreadBytes: 200 * KIB });
    const visitors = [];
    for (let i = 0; i < 12; i++) visitors.push((await edge.visit()).send(unfinishedHello()));
    await turnsUntil(() => edge.lines.length >= 6);
    expect(edge.budget.heldBytes).toBeLessThanOrEqual(200 * KIB);
    expect(edge.lines[0]).toMatchObject({
      failure: "OVERLOADED",
      detail: "too much lies unread (limits.visitor_unread_bytes)",
    });
    expect(await Promise.any(visitors.map(({ ended }) => ended))).toBe("rst");
    const honest = (await edge.visit()).send(largeHello());
    await edge.route.next();
    honest.close();
  });

  test("one that waits for its client is cut off", async () => {
    const away: Route = { tunnel: "web", key: "home", open: undefined, whenBack: () => () => {} };
    const edge = await startEdgeOfBytes("TLS", {
      holdMs: 60_000,
      unreadBytes: 4 * KIB,
      findRoute: () => away,
    });
    expect(await (await edge.visit()).send(largeHello()).ended).toBe("rst");
    await turnsUntil(() => edge.connections === 0);
    expect(edge.lines).toMatchObject([{ failure: "OVERLOADED" }]);
    expect(edge.budget.heldBytes).toBe(0);
  });

  test("one whose stream holds too much is cut off at both ends", async () => {
    const edge = await startEdgeOfBytes("TCP", { unreadBytes: 4 * KIB });
    const visitor = await edge.visit();
    const stream = await edge.route.next();
    (stream as LinkStream).sendHolding!.set(5 * KIB);
    expect(await visitor.ended).toBe("rst");
    expect(stream.wasReset).toMatchObject({ code: "CANCELLED" });
    expect(edge.budget.heldBytes).toBe(0);
  });
});

test.each([
  ["ClientHello", "TLS", []],
  ["PROXY header", "TCP", TRUSTED],
] as const)(
  "a %s gets no more than 10 s, however long a request's head may take",
  async (_, kind, proxies) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const edge = await startEdgeOfBytes(kind, { trustedProxies: proxies });
    const visitor = await edge.visit();
    await turnsUntil(() => edge.connections === 1);
    vi.advanceTimersByTime(9_999);
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(edge.connections).toBe(1);
    vi.advanceTimersByTime(1);
    expect(await visitor.ended).toBe("rst");
    await turnsUntil(() => edge.connections === 0);
    expect(edge.lines).toMatchObject([{ failure: "TIMEOUT" }]);
  },
);

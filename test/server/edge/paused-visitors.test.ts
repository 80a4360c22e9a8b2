import { describe, expect, test } from "vitest";
import type { Route } from "../../../server/routing/route.ts";
import type { FakeVisit } from "../../support/fake-route.ts";
import type { RawVisitor } from "../../support/raw-visitor.ts";
import { turnsUntil } from "../../support/turns.ts";
import { EdgeUnderTest, get, post, stable } from "./http/edge-under-test.ts";
import { startEdgeOfBytes } from "./tcp/edge-of-bytes.ts";
import { extension, hello, serverNames, vector } from "./tcp/made-hello.ts";

const MIB = 1024 * 1024;
/** Instead of a second. */
const LOOK_MS = 20;
const UPGRADE = get("/", "Connection: Upgrade\r\nUpgrade: tcp\r\n");

function wholeHello(): Buffer {
  const message = hello(Buffer.concat([serverNames("app.test"), extension(21, "\0")]));
  return Buffer.concat([Buffer.from([22, 3, 1]), vector(2, message)]);
}

/** The visitor sends more than is read while its stream takes nothing, until nothing moves any more. */
async function pourUntilPaused(visitor: RawVisitor, visit: FakeVisit): Promise<void> {
  visit.stall();
  visitor.send(Buffer.alloc(16 * MIB));
  await turnsUntil(() => visit.writtenBytes > 0);
  await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
}

describe("a visitor that nobody reads, and that resets its connection, resets its stream", () => {
  test.each(["TCP", "TLS"] as const)("over %s", async (kind) => {
    const edge = await startEdgeOfBytes(kind, { lookMs: LOOK_MS });
    const visitor = await edge.visit();
    if (kind === "TLS") visitor.send(wholeHello());
    const visit = await edge.route.next();
    await pourUntilPaused(visitor, visit);
    visitor.abort();
    await visit.until(({ wasReset }) => wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CONNECTION_LOST");
    await turnsUntil(() => edge.connections === 0);
    expect(edge.lines).toMatchObject([{ failure: "CONNECTION_LOST" }]);
  });

  test("while it waits for its client", async () => {
    const away: Route = { tunnel: "web", key: "home", open: undefined, whenBack: () => () => {} };
    const edge = await startEdgeOfBytes("TCP", {
      lookMs: LOOK_MS,
      holdMs: 600_000,
      findRoute: () => away,
    });
    const visitor = (await edge.visit()).send("hello?");
    await turnsUntil(() => edge.connections === 1);
    visitor.abort();
    await turnsUntil(() => edge.connections === 0);
    expect(edge.lines).toMatchObject([{ failure: "CONNECTION_LOST" }]);
  });

  test.each([
    ["with an upload", `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${64 * MIB}\r\n\r\n`],
    [
      "with a chunked upload",
      "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3000000\r\n",
    ],
  ])("over HTTP, %s", async (_, head) => {
    await using world = await EdgeUnderTest.start({ lookMs: LOOK_MS });
    const visitor = await world.send(head);
    const visit = await world.route.next();
    await pourUntilPaused(visitor, visit);
    visitor.abort();
    await visit.until(({ wasReset }) => wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    await world.emptied();
    expect(await world.line((line) => "failure" in line)).toMatchObject({ failure: "VISITOR_LEFT" });
  });

  test("over HTTP, with much behind a request that is not answered yet", async () => {
    await using world = await EdgeUnderTest.start({ lookMs: LOOK_MS });
    const visitor = await world.send(get("/waits"), post("x".repeat(MIB)));
    const visit = await world.route.next();
    await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
    visitor.abort();
    await visit.until(({ wasReset }) => wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    await world.emptied();
  });

  test("on an upgraded connection", async () => {
    await using world = await EdgeUnderTest.start({ lookMs: LOOK_MS });
    const visitor = await world.send(UPGRADE);
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n");
    await visitor.head();
    await pourUntilPaused(visitor, visit);
    visitor.abort();
    await visit.until(({ wasReset }) => wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CONNECTION_LOST");
    await world.emptied();
  });

  test("ahead of the answer to its upgrade", async () => {
    await using world = await EdgeUnderTest.start({ lookMs: LOOK_MS });
    const visitor = await world.send(UPGRADE);
    const visit = await world.route.next();
    visitor.send(Buffer.alloc(16 * MIB));
    await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
    visitor.abort();
    await visit.until(({ wasReset }) => wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    await world.emptied();
  });
});

describe("a visitor that nobody reads, and that is still there, notices nothing of being looked at", () => {
  test.each([false, true])("over TCP (half-closed: %s)", async (halfCloses) => {
    const edge = await startEdgeOfBytes("TCP", { lookMs: 1 });
    const visitor = await edge.visit();
    const visit = await edge.route.next();
    visit.keep = false;
    await pourUntilPaused(visitor, visit);
    if (halfCloses) visitor.end();
    // As many looks as there can be.
    await stable(() => edge.connections);
    visit.unstall();
    await visit.until(({ writtenBytes }) => writtenBytes === 16 * MIB);
    if (halfCloses) await visit.until(({ ended }) => ended);
    visit.data("all of it");
    expect((await visitor.bytes(9)).toString()).toBe("all of it");
    expect(visit.wasReset).toBeUndefined();
  });

  test("over HTTP", async () => {
    await using world = await EdgeUnderTest.start({ lookMs: 1 });
    const visitor = await world.send(
      `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${16 * MIB}\r\n\r\n`,
    );
    const visit = await world.route.next();
    visit.keep = false;
    await pourUntilPaused(visitor, visit);
    await stable(() => world.edge.connections);
    visit.unstall();
    await visit.until(({ ended }) => ended);
    expect(visit.writtenBytes).toBe(16 * MIB);
    visit.respond(200, "got it");
    expect((await visitor.answer()).body.toString()).toBe("got it");
    visitor.send(get("/again"));
    (await world.route.next()).respond(200, "again");
    expect((await visitor.answer()).body.toString()).toBe("again");
  });
});

test("a visitor that nobody reads is as idle as any other for its tunnel's idle_timeout_ms", async () => {
  const edge = await startEdgeOfBytes("TCP", { lookMs: 10 });
  edge.route.limits = { idleTimeoutMs: 300 };
  const visitor = await edge.visit();
  const visit = await edge.route.next();
  await pourUntilPaused(visitor, visit);
  expect(await visitor.ended).toBe("rst");
  await turnsUntil(() => edge.connections === 0);
  expect(edge.lines).toMatchObject([{ failure: "IDLE" }]);
});

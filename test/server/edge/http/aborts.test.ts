import { describe, expect, test } from "vitest";
import type { FakeVisit } from "../../../support/fake-route.ts";
import type { RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, post } from "./edge-under-test.ts";

const UPLOAD = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\n";
const UPGRADE = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** How far a request may be when its visitor leaves. */
const MOMENTS: [
  name: string,
  request: string,
  reach: (visit: FakeVisit, visitor: RawVisitor) => Promise<void>,
][] = [
  ["while it waits", get(), async () => {}],
  ["in the middle of its upload", `${UPLOAD}half`, (visit) => visit.until(() => visit.writtenBytes === 4)],
  [
    "in the middle of a chunk",
    `${UPLOAD.replace("Content-Length: 100", "Transfer-Encoding: chunked")}5\r\nhal`,
    (visit) => visit.until(() => visit.writtenBytes === 3),
  ],
  ["behind its upload", post("whole"), (visit) => visit.until(() => visit.ended)],
  [
    "behind an interim answer",
    UPLOAD,
    async (visit, visitor) => {
      visit.interimAnswer("HTTP/1.1 100 Continue\r\n");
      await visitor.head();
    },
  ],
  [
    "behind the answer's head",
    get(),
    async (visit, visitor) => {
      visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n");
      await visitor.head();
    },
  ],
  [
    "in the middle of the answer",
    get(),
    async (visit, visitor) => {
      visit.accepted("HTTP/1.1 200 OK\r\n").data("half");
      await visitor.head();
      await visitor.bytes(9);
    },
  ],
  [
    "behind the answer, in the middle of its upload",
    `${UPLOAD}half`,
    async (visit, visitor) => {
      visit.respond(200, "early");
      await visitor.answer();
    },
  ],
  ["before its upgrade is granted", UPGRADE, async () => {}],
];

describe.each(["in order", "with a reset"])("a visitor that leaves %s", (manner) => {
  test.each(MOMENTS)("%s cancels the stream at once", async (_, request, reach) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(request);
    const visit = await world.route.next();
    await reach(visit, visitor);
    if (manner === "in order") visitor.close();
    else visitor.abort();
    await visit.until(() => visit.wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    const { requestId, failure, status } = await world.line(() => true);
    expect(requestId).toBe(visit.request.requestId);
    expect(failure).toBe(visit.answered ? undefined : "VISITOR_LEFT");
    expect([undefined, 200]).toContain(status);
    await world.emptied();
  });
});

describe("a visitor that leaves", () => {
  test("in order, but has much of its answer still to read, cancels the stream at once", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    visitor.socket.pause();
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data(Buffer.alloc(32 * 1024 * 1024));
    visitor.end();
    await visit.until(() => visit.wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
  });

  test("in the middle of its head leaves nothing behind", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.1\r\nHost: app.te");
    visitor.close();
    await world.emptied();
    expect(world.route.opened).toHaveLength(0);
  });

  test("takes the requests that wait behind the first one with it", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get("/1"), get("/2"), get("/3"));
    const visit = await world.route.next();
    visitor.abort();
    // Nothing is read while requests wait, so that the reset shows with the next write.
    visit.accepted("HTTP/1.1 200 OK\r\n");
    visit.data("x".repeat(300_000));
    await visit.until(() => visit.wasReset !== undefined);
    await world.emptied();
    expect(world.route.opened).toHaveLength(1);
  });

  test("while the edge answers by itself breaks nothing", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      "POST / HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: 100000\r\n\r\n",
    );
    visitor.abort();
    await world.emptied();
    expect(await world.line(() => true)).toMatchObject({ failure: "NO_TUNNEL" });
  });

  test("with a TCP reset under a storm of answers breaks nothing", async () => {
    await using world = await EdgeUnderTest.start();
    world.route.onOpen = (visit) => {
      visit.accepted("HTTP/1.1 200 OK\r\n");
      for (let i = 0; i < 20; i++) visit.data(Buffer.alloc(10_000));
      visit.finish();
    };
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const visitor = await world.send(get(), get(), post("x".repeat(i * 100)));
        if (i % 2) await visitor.head();
        visitor.abort();
      }),
    );
    await world.emptied();
    expect(world.route.opened.every((visit) => visit.over)).toBe(true);
  });
});

import { describe, expect, test } from "vitest";
import { fieldValue, type RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, holdClock, stable } from "./edge-under-test.ts";

const MIB = 1024 * 1024;

function upload(length: number, fields = ""): string {
  return `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${length}\r\n${fields}\r\n`;
}

describe("an answer that comes before the end of the upload", () => {
  test("reaches the visitor at once, while the upload goes on", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upload(10), "hello");
    const visit = await world.route.next();
    visit.respond(200, "early");
    expect((await visitor.answer()).body.toString()).toBe("early");
    expect(visit.ended).toBe(false);
    visitor.send("world");
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe("helloworld");
    expect(visit.wasReset).toBeUndefined();

    visitor.send(get());
    (await world.route.next()).respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("and ends the request (COMPLETE) leaves the connection usable if little more comes", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 5_000 });
    const clock = holdClock();
    const visitor = await world.send(upload(100_000), "hello");
    const visit = await world.route.next();
    await visit.until(() => visit.writtenBytes === 5);
    visit.respond(200, "enough");
    visit.fail("COMPLETE");
    expect((await visitor.answer()).body.toString()).toBe("enough");
    visitor.send("x".repeat(99_995));
    visitor.send(get("/next"));
    const next = await world.route.next();
    expect(next.head.target).toBe("/next");
    // The time that the rest of the upload had is over, and means nothing any more.
    clock.advance(60_000);
    next.respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
    expect(visit.writtenBytes).toBe(5);
  });

  test("and ends the request (COMPLETE) ends the connection if more comes than is worth reading", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 500 });
    const visitor = await world.send(upload(1024 * MIB));
    const visit = await world.route.next();
    visit.respond(200, "enough");
    visit.fail("COMPLETE");
    expect((await visitor.answer()).body.toString()).toBe("enough");
    const flood = setInterval(() => {
      if (visitor.socket.writableLength < MIB) visitor.send(Buffer.alloc(MIB));
    }, 0);
    await visitor.ended;
    await world.emptied();
    clearInterval(flood);
    expect(visit.writtenBytes).toBe(0);
    // What the system buffers on loopback included.
    expect(visitor.socket.bytesWritten).toBeLessThan(32 * MIB);
  });

  test.each([
    ["with a length", "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n"],
    ["in chunks", "HTTP/1.1 413 Too Large\r\n"],
  ])("%s is read without a reset though the visitor asked to close", async (_, head) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upload(4 * MIB, "Connection: close\r\n"), Buffer.alloc(MIB));
    const visit = await world.route.next();
    visit.accepted(head).data("too much").finish();
    visit.fail("COMPLETE");
    const answer = await visitor.answer();
    expect([answer.status, answer.body.toString()]).toEqual([413, "too much"]);
    visitor.send(Buffer.alloc(2 * MIB));
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("by close, to an HTTP/1.0 visitor, ends while the upload still goes on", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upload(10).replace("HTTP/1.1", "HTTP/1.0"), "hello");
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("early").finish();
    expect((await visitor.answer()).body.toString()).toBe("early");
    visitor.send("world");
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe("helloworld");
  });

  test("followed by a body that breaks the rules ends the connection behind the answer", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 150 });
    const visitor = await world.send(
      "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const visit = await world.route.next();
    visit.respond(200, "early");
    expect((await visitor.answer()).body.toString()).toBe("early");
    visitor.send("nonsense\r\n");
    await visit.until(() => visit.wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("is read to its end, though the body behind it breaks the rules", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 150 });
    const visitor = await world.send(
      "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    visitor.socket.pause();
    const visit = await world.route.next();
    visit.respond(200, Buffer.alloc(16 * MIB));
    visitor.send("nonsense\r\n");
    await visit.until(() => visit.wasReset !== undefined);
    visitor.socket.resume();
    expect((await visitor.answer()).body.length).toBe(16 * MIB);
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("followed by the loss of the link leaves the answer whole", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upload(10), "hello");
    const visit = await world.route.next();
    visit.respond(200, "early");
    visit.fail("LINK_LOST");
    expect((await visitor.answer()).body.toString()).toBe("early");
    await expectAligned(world, visitor.send("world"));
  });

  test("of our own (404) is read without a reset", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upload(2 * MIB).replace("app.test", "nobody.test"), Buffer.alloc(MIB));
    const answer = await visitor.answer();
    expect([answer.status, fieldValue(answer.fields, "connection")]).toEqual([404, "close"]);
    visitor.send(Buffer.alloc(MIB));
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });
});

test("a slow reader of an early answer gets all of it, though the rest of its upload is not wanted", async () => {
  await using world = await EdgeUnderTest.start({ lingerMs: 5_000 });
  const clock = holdClock();
  const visitor = await world.send(upload(1000), "x");
  visitor.socket.pause();
  const visit = await world.route.next();
  const body = Buffer.alloc(16 * MIB, "y");
  visit.respond(200, body).fail("COMPLETE");
  await stable(() => visit.unreadBytes);
  clock.advance(60_000);
  visitor.socket.resume();
  expect((await visitor.answer()).body.length).toBe(body.length);
});

test("an answer that has come to its length is whole, though its end was lost", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send(get());
  const visit = await world.route.next();
  visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").data("whole").fail("COMPLETE");
  expect((await visitor.answer()).body.toString()).toBe("whole");
  await expectAligned(world, visitor);
});

async function expectAligned(world: EdgeUnderTest, visitor: RawVisitor): Promise<void> {
  visitor.send(get("/next"));
  (await world.route.next()).respond(200, "next");
  expect((await visitor.answer()).body.toString()).toBe("next");
}

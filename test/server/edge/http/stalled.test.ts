import { expect, test } from "vitest";
import { EdgeUnderTest, get, post, stable } from "./edge-under-test.ts";

const MIB = 1024 * 1024;

test("a visitor that does not read what it is sent is cut off", async () => {
  await using world = await EdgeUnderTest.start({ limits: { stalledTimeoutMs: 200 } });
  const visitor = await world.send(get());
  visitor.socket.pause();
  const visit = await world.route.next();
  visit.accepted("HTTP/1.1 200 OK\r\n");
  for (let sent = 0; sent < 64 * MIB && visit.unreadBytes === 0; sent += MIB) {
    visit.data(Buffer.alloc(MIB));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await world.line((line) => "failure" in line))["failure"]).toBe("STALLED");
  expect(visit.wasReset?.code).toBe("CANCELLED");
  await world.emptied();
});

test("a visitor that stops in the middle of its body is cut off", async () => {
  await using world = await EdgeUnderTest.start({ limits: { stalledTimeoutMs: 200 } });
  await world.send(post("0123456789").slice(0, -5));
  const visit = await world.route.next();
  expect((await world.line((line) => "failure" in line))["failure"]).toBe("STALLED");
  expect(visit.wasReset?.code).toBe("CANCELLED");
});

test("an upgraded connection whose visitor does not read is cut off", async () => {
  await using world = await EdgeUnderTest.start({ limits: { stalledTimeoutMs: 200 } });
  const visitor = await world.send(get("/", "Connection: Upgrade\r\nUpgrade: tcp\r\n"));
  const visit = await world.route.next();
  visit.accepted("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n");
  await visitor.head();
  visitor.socket.pause();
  for (let sent = 0; sent < 64 * MIB && visit.unreadBytes === 0; sent += MIB) {
    visit.data(Buffer.alloc(MIB));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await world.emptied();
  expect(visit.wasReset).toBeDefined();
});

test("who waits for an answer, and who has read all that there is, may be silent for longer", async () => {
  await using world = await EdgeUnderTest.start({ limits: { stalledTimeoutMs: 100, idleTimeoutMs: 60_000 } });
  const waiting = await world.send(get("/waits"));
  const visit = await world.route.next();
  const reading = await world.send(get("/reads"));
  (await world.route.next()).accepted("HTTP/1.1 200 OK\r\n").data("event");
  await reading.head();
  await reading.bytes(5);
  const idle = await world.send(get("/idle"));
  (await world.route.next()).respond(200);
  await idle.answer();
  // Twice the limit: what is to be seen is that nothing happens.
  for (let i = 0; i < 2; i++) await stable(() => world.edge.connections);
  expect(world.edge.connections).toBe(3);
  visit.respond(200, "at last");
  expect((await waiting.answer()).body.toString()).toBe("at last");
});

test.each(["end", "abort"] as const)(
  "a visitor that has left (%s) is noticed, be it that nothing is read behind what it has sent",
  async (leave) => {
    await using world = await EdgeUnderTest.start({ limits: { stalledTimeoutMs: 200 } });
    const visitor = await world.send(get("/waits"), post("x".repeat(300_000)));
    const visit = await world.route.next();
    // More than is read ahead: without a reader the system tells of no end either.
    await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
    visitor[leave]();
    await world.emptied();
    expect(visit.wasReset?.code).toBe("CANCELLED");
  },
);

import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { EdgeUnderTest, get, stable } from "./edge-under-test.ts";

const MIB = 1024 * 1024;

test("an upload pauses when the stream asks for it, and goes on when it has drained", async () => {
  await using world = await EdgeUnderTest.start();
  const body = randomBytes(32 * MIB);
  const visitor = await world.send(
    `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  const visit = await world.route.next();
  visit.stall();
  visitor.send(body);
  await visit.until(() => visit.writtenBytes > 0);
  await stable(() => visitor.socket.bytesWritten - visitor.socket.writableLength);
  expect(visit.writtenBytes).toBeLessThan(MIB);
  visit.unstall();
  await visit.until(() => visit.ended);
  expect(sha256(visit.body)).toBe(sha256(body));
  visit.respond(200);
  expect((await visitor.answer()).status).toBe(200);
});

test("an answer's bytes are owed until the visitor's socket has taken them", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send(get());
  const visit = await world.route.next();
  visitor.socket.pause();
  visit.accepted("HTTP/1.1 200 OK\r\n");
  const piece = randomBytes(64 * 1024);
  let sent = 0;
  // As a link does it: no more than a window without credit.
  const feed = (): number => {
    for (; visit.unreadBytes < MIB && sent < 32 * MIB; sent += piece.length) visit.data(piece);
    return sent;
  };
  await stable(feed);
  expect(visit.unreadBytes).toBeGreaterThanOrEqual(MIB);
  expect(sent).toBeLessThan(24 * MIB);

  visitor.socket.resume();
  while (feed() < 32 * MIB) await visit.until(() => visit.unreadBytes < MIB);
  visit.finish();
  const answer = await visitor.answer();
  expect(answer.body.length).toBe(32 * MIB);
  await visit.until(() => visit.over);
});

test("an upload and its answer flow at the same time", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
  const visit = await world.route.next();
  visit.accepted("HTTP/1.1 200 OK\r\n");
  await visitor.head();
  for (let i = 1; i <= 5; i++) {
    visitor.send("1\r\nx\r\n");
    await visit.until(() => visit.writtenBytes === i);
    visit.data("y");
    expect((await visitor.bytes(6)).toString()).toBe("1\r\ny\r\n");
  }
  visitor.send("0\r\n\r\n");
  await visit.until(() => visit.ended);
  visit.finish();
  expect((await visitor.bytes(5)).toString()).toBe("0\r\n\r\n");
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

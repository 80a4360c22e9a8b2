import { describe, expect, test } from "vitest";
import type { StreamFailure } from "../../../../link/stream.ts";
import { fieldValue } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, holdClock, post } from "./edge-under-test.ts";

describe("a stream that fails before the answer's head", () => {
  test.each<[StreamFailure, number]>([
    ["REFUSED", 502],
    ["UNREACHABLE", 502],
    ["NOT_ALLOWED", 502],
    ["BAD_RESPONSE", 502],
    ["CONNECTION_LOST", 502],
    ["UNKNOWN_TUNNEL", 502],
    ["LINK_LOST", 502],
    ["UNSUPPORTED", 502],
    ["INTERNAL", 502],
    ["CANCELLED", 502],
    ["COMPLETE", 502],
    ["TIMEOUT", 504],
    ["SHUTTING_DOWN", 503],
    ["OVERLOADED", 503],
  ])("%s is a %d", async (code, status) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    (await world.route.next()).fail(code, "connect ECONNREFUSED 10.0.0.7:3000");
    const answer = await visitor.answer();
    expect(answer.status).toBe(status);
    expect(answer.body.toString()).not.toContain("10.0.0.7");
    expect(fieldValue(answer.fields, "retry-after") !== undefined).toBe(status === 503);
    const line = await world.line(() => true);
    expect(line).toMatchObject({ status, failure: code, detail: "connect ECONNREFUSED 10.0.0.7:3000" });

    visitor.send(get());
    (await world.route.next()).respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("leaves the connection usable only if the request has come whole", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhello");
    (await world.route.next()).fail("REFUSED");
    const answer = await visitor.answer();
    expect(answer.status).toBe(502);
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    visitor.send("world");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });
});

test("an upload that is held back is read on when its stream fails", async () => {
  await using world = await EdgeUnderTest.start({ lingerMs: 60_000 });
  const visitor = await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2000000\r\n\r\n");
  const visit = await world.route.next();
  visit.stall();
  visitor.send("x".repeat(2_000_000));
  await visit.until(() => visit.writtenBytes > 0);
  visit.fail("CONNECTION_LOST");
  expect((await visitor.answer()).status).toBe(502);
  expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  await world.emptied();
});

describe("without a client", () => {
  test("a tunnel is a 503 that says when to try again", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.1\r\nHost: away.test\r\n\r\n");
    const answer = await visitor.answer();
    expect(answer.status).toBe(503);
    expect(Number(fieldValue(answer.fields, "retry-after"))).toBeGreaterThan(0);
  });

  test("a client that leaves in this moment is a 503 too", async () => {
    const route = { tunnel: "web", key: "home", open: hasLeft };
    await using world = await EdgeUnderTest.start({ findRoute: () => route });
    const visitor = await world.send(get());
    expect((await visitor.answer()).status).toBe(503);
  });

  test.each(["away.test", "nobody.test"])("an upload to %s can be read to its end", async (host) => {
    await using world = await EdgeUnderTest.start();
    const body = "x".repeat(300_000);
    const visitor = await world.send(
      `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${body.length}\r\n\r\n`,
      body,
    );
    const answer = await visitor.answer();
    expect([404, 503]).toContain(answer.status);
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });
});

describe("a page", () => {
  const REQUEST_ID = /[0-9a-z]{16}/;

  test.each([
    ["*/*", "text/plain; charset=utf-8"],
    ["", "text/plain; charset=utf-8"],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"],
    ["application/json", "application/json"],
    ["application/json;q=0.5, text/html;q=0.9", "text/html; charset=utf-8"],
    ["text/html;q=0.1, application/problem+json;q=0.9", "application/json"],
    ["text/html;q=0", "text/plain; charset=utf-8"],
  ])("for Accept %j is %s, and says what happened under which id", async (accept, type) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(`GET / HTTP/1.1\r\nHost: nobody.test\r\nAccept: ${accept}\r\n\r\n`);
    const { fields, body } = await visitor.answer();
    expect(fieldValue(fields, "content-type")).toBe(type);
    expect(body.toString()).toContain("No tunnel has this address");
    const { requestId } = await world.line(() => true);
    expect(requestId).toMatch(REQUEST_ID);
    expect(body.toString()).toContain(requestId);
    expect(fieldValue(fields, "cache-control")).toBe("no-store");
    expect(fieldValue(fields, "date")).toBeDefined();
  });

  test("in JSON can be parsed", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      "GET / HTTP/1.1\r\nHost: nobody.test\r\nAccept: application/json\r\n\r\n",
    );
    const { error } = JSON.parse((await visitor.answer()).body.toString()) as { error: object };
    expect(error).toMatchObject({
      status: 404,
      code: "NO_TUNNEL",
      requestId: expect.stringMatching(REQUEST_ID),
    });
  });

  test("says nothing of what the visitor sent", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      "GET /<script>x HTTP/1.1\r\nHost: nobody.test\r\nAccept: text/html\r\n\r\n",
    );
    expect((await visitor.answer()).body.toString()).not.toContain("script");
  });

  test("for HEAD has no body, and the connection goes on", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("HEAD / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    expect((await visitor.answer("HEAD")).status).toBe(404);
    visitor.send(get());
    (await world.route.next()).respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("for CONNECT lists what is possible", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    const answer = await visitor.answer();
    expect(answer.status).toBe(405);
    expect(fieldValue(answer.fields, "allow")).toContain("GET");
    expect(await world.line(() => true)).toMatchObject({
      method: "CONNECT",
      target: "app.test:443",
      status: 405,
    });
  });
});

describe("a service that does not answer in time", () => {
  test("is a 504, and its stream is reset", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 30 });
    const visitor = await world.send(get());
    const visit = await world.route.next();
    expect((await visitor.answer()).status).toBe(504);
    expect(visit.wasReset?.code).toBe("TIMEOUT");
  });

  test("has its tunnel's own time, if that has one", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 1_000 });
    world.route.timeoutMs = 60_000;
    const clock = holdClock();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    clock.advance(59_000);
    expect(visit.wasReset).toBeUndefined();
    clock.advance(2_000);
    expect((await visitor.answer()).status).toBe(504);
  });

  test("has more time as long as the upload goes on", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 1_000 });
    const clock = holdClock();
    const visitor = await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\n\r\n");
    const visit = await world.route.next();
    for (let sent = 1; sent <= 6; sent++) {
      clock.advance(900);
      visitor.send("x");
      await visit.until(() => visit.writtenBytes === sent);
    }
    expect(visit.wasReset).toBeUndefined();
    visit.respond(200, "done");
    expect((await visitor.answer()).status).toBe(200);
  });

  test("has no limit behind its head", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 1_000 });
    const clock = holdClock();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n");
    await visitor.head();
    clock.advance(60_000);
    visit.data("late").finish();
    expect((await visitor.bytes(9)).toString()).toBe("4\r\nlate\r\n");
  });
});

test("a line in the access log says what was asked and what came of it", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send(post("hello").replace("POST /", `POST /${"x".repeat(5000)}`));
  const visit = await world.route.next();
  await visit.until(() => visit.ended);
  visit.respond(201, "answer");
  await visitor.answer();
  const line = await world.line(() => true);
  expect(line).toMatchObject({
    requestId: visit.request.requestId,
    visitor: `127.0.0.1:${visitor.socket.localPort}`,
    method: "POST",
    host: "app.test",
    status: 201,
    bytesIn: 5,
    bytesOut: 6,
    tunnel: "web",
    key: "home",
    failure: undefined,
    durationMs: expect.any(Number),
  });
  expect(String(line["target"]).length).toBeLessThan(600);
  expect(visit.request.visitor).toBe(line["visitor"]);
});

function hasLeft(): never {
  throw new Error("the session has ended");
}

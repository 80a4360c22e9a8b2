import { describe, expect, test } from "vitest";
import { fieldValue, type RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

/** The next request on the connection is answered as it should be: nothing of the last answer is left over. */
async function expectAligned(world: EdgeUnderTest, visitor: RawVisitor): Promise<void> {
  visitor.send(get("/next"));
  (await world.route.next()).respond(200, "next");
  const answer = await visitor.answer();
  expect([answer.status, answer.body.toString()]).toEqual([200, "next"]);
}

describe("an answer", () => {
  test("with a length keeps it, 0 too", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    (await world.route.next()).respond(200, "");
    const answer = await visitor.answer();
    expect([answer.framing, fieldValue(answer.fields, "content-length")]).toEqual(["length", "0"]);
    await expectAligned(world, visitor);
  });

  test("without a length goes in chunks", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("one").data("two").finish();
    const answer = await visitor.answer();
    expect(answer.framing).toBe("chunked");
    expect(answer.body.toString()).toBe("onetwo");
    await expectAligned(world, visitor);
  });

  test("without a length or a body is one last chunk", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    (await world.route.next()).accepted("HTTP/1.1 200 OK\r\n").finish();
    const answer = await visitor.answer();
    expect([answer.framing, answer.body.length]).toEqual(["chunked", 0]);
    await expectAligned(world, visitor);
  });

  test("has its trailers behind the last chunk, in order, case and number", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n").data("body");
    visit.finish(
      "x-sum: 1\r\nX-SUM: 2\r\nX-\xc9: 3\r\n".replace("X-\xc9", "X-E") + "Connection: close\r\nX-L: \xe9\r\n",
    );
    const answer = await visitor.answer();
    expect(fieldValue(answer.fields, "trailer")).toBe("X-Sum");
    expect(answer.trailers).toEqual(["x-sum", "1", "X-SUM", "2", "X-E", "3", "X-L", "\xe9"]);
    await expectAligned(world, visitor);
  });

  test("with a length has no place for trailers", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit
      .accepted("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTrailer: X-Sum\r\n")
      .data("x")
      .finish("X-Sum: 1\r\n");
    const answer = await visitor.answer();
    expect([answer.framing, fieldValue(answer.fields, "trailer")]).toEqual(["length", undefined]);
    await expectAligned(world, visitor);
  });

  test.each([
    ["HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n", "1000"],
    ["HEAD without one", "HEAD", "HTTP/1.1 200 OK\r\n", undefined],
    ["304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n", "1000"],
    ["304 without one", "GET", "HTTP/1.1 304 Not Modified\r\n", undefined],
    ["204", "GET", "HTTP/1.1 204 No Content\r\n", undefined],
    [
      "204 with a length that it must not have",
      "GET",
      "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n",
      undefined,
    ],
  ])("to %s has no body", async (_, method, head, length) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(`${method} / HTTP/1.1\r\nHost: app.test\r\n\r\n`);
    (await world.route.next()).accepted(head).finish();
    const answer = await visitor.answer(method);
    expect(answer.framing).toBe("none");
    expect(fieldValue(answer.fields, "content-length")).toBe(length);
    await expectAligned(world, visitor);
  });

  test("closes the connection when the visitor says so", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get("/", "Connection: close\r\n"));
    (await world.route.next()).respond(200, "bye");
    const answer = await visitor.answer();
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("leaves with its head in one packet", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const packets: number[] = [];
    visitor.socket.on("data", (chunk: Buffer) => packets.push(chunk.length));
    (await world.route.next()).accepted("HTTP/1.1 200 OK\r\n").data("small").finish();
    await visitor.answer();
    expect(packets).toHaveLength(1);
  });

  test("has its head sent before its body, and each piece as it comes", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
    expect((await visitor.head()).status).toBe(200);
    visit.data("data: 1\n\n");
    expect((await visitor.bytes(14)).toString()).toBe("9\r\ndata: 1\n\n\r\n");
    visit.data("data: 2\n\n").finish();
    expect((await visitor.bytes(19)).toString()).toBe("9\r\ndata: 2\n\n\r\n0\r\n\r\n");
  });
});

describe("an HTTP/1.0 visitor", () => {
  test.each(["", "TE: chunked\r\n", "TE: trailers, chunked\r\n"])("gets no chunks (%j)", async (fields) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get10(fields));
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nTrailer: X\r\n").data("one").data("two").finish("X: 1\r\n");
    const answer = await visitor.answer();
    expect([answer.framing, answer.body.toString()]).toEqual(["close", "onetwo"]);
    expect(fieldValue(answer.fields, "connection")).toBe("close");
  });

  test("keeps its connection if it asks and the answer has a length", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get10("Connection: keep-alive\r\n"));
    (await world.route.next()).respond(200, "one");
    expect((await visitor.answer()).framing).toBe("length");
    await expectAligned(world, visitor);
  });

  test("does not keep it otherwise", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get10());
    (await world.route.next()).respond(200, "one");
    expect((await visitor.answer()).body.toString()).toBe("one");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("sees an answer that breaks off as a reset, since its end would look like the answer's", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get10());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("half");
    await visitor.head();
    expect((await visitor.bytes(4)).toString()).toBe("half");
    visit.fail("CONNECTION_LOST");
    expect(await visitor.ended).toBe("rst");
  });
});

describe("an answer that is not what its head says", () => {
  const BODIES: [name: string, head: string, body: string, promised: number][] = [
    ["longer than its length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "hello", 3],
    ["shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", "hello", 9],
    ["a body behind a 204", "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 200 OK\r\n\r\n", 0],
    ["a body behind a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", "hello", 0],
  ];
  test.each(BODIES)("%s ends the connection", async (_, head, body, promised) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get(), get("/second"));
    const visit = await world.route.next();
    visit.accepted(head).data(body);
    // Whatever is wrongly passed on has left by now.
    await new Promise((resolve) => setImmediate(resolve));
    visit.finish();
    const { text } = await visitor.rest();
    const [, ...bodies] = text.split("\r\n\r\n");
    expect(body.startsWith(bodies.join("\r\n\r\n"))).toBe(true);
    expect(bodies.join("").length).toBeLessThanOrEqual(promised);
    expect(visit.wasReset?.code ?? "over").toMatch(/INTERNAL|over/);
    expect(world.route.opened).toHaveLength(1);
  });

  test("a chunked one that breaks off has no last chunk", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("half");
    await visitor.head();
    visit.fail("LINK_LOST");
    const { text } = await visitor.rest();
    expect(text).toBe("4\r\nhalf\r\n");
  });

  test.each([
    ["no head", "garbage\r\n"],
    ["an empty head", ""],
    ["a head without its last CRLF", "HTTP/1.1 200 OK"],
    ["status 099", "HTTP/1.1 099 Low\r\n"],
    ["status 1000", "HTTP/1.1 1000 Higher\r\n"],
    ["a control byte in a field", "HTTP/1.1 200 OK\r\nX: a\0b\r\n"],
    ["a bare CR in a field", "HTTP/1.1 200 OK\r\nX: a\rb\r\n"],
    ["a name that is no token", "HTTP/1.1 200 OK\r\nX Y: 1\r\n"],
  ])("%s is a 502, and ends the client's link", async (_, head) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted(head);
    expect((await visitor.answer()).status).toBe(502);
    expect(visit.breach?.code).toBe("protocol");
    await expectAligned(world, visitor);
  });

  test.each([
    ["an interim status", "HTTP/1.1 100 Continue\r\n"],
    [
      "a switch that nobody asked for",
      "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
    ],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n"],
    ["two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n"],
    ["a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n"],
    ["a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n"],
    ["a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n"],
    ["a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"],
  ])("%s is a 502, and the stream is reset", async (_, head) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted(head);
    expect((await visitor.answer()).status).toBe(502);
    expect(visit.wasReset?.code).toBe("INTERNAL");
    await expectAligned(world, visitor);
  });

  test.each([
    "nonsense",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X Y: 1\r\n",
    "X: a\rb\r\n",
  ])("trailers such as %j cut it", async (trailers) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("x").finish(trailers);
    await expect(visitor.answer()).rejects.toThrow("cut");
  });
});

function get10(fields = ""): string {
  return `GET / HTTP/1.0\r\nHost: app.test\r\n${fields}\r\n`;
}

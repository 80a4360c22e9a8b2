import { expect, test } from "vitest";
import { RawBackend } from "../../support/raw-backend.ts";
import { Replay, serviceAt, visit, type Visit } from "./replay.ts";

const ASK: Visit = {
  fields: ["Host: a", "connection: keep-alive, Upgrade", "UPGRADE: websocket", "Sec-WebSocket-Key: x"],
  streaming: true,
};
const SWITCH =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Odd: \xe9\r\n\r\n";

/** A stream that has been switched, and the service's end of it. */
async function switched(backend: RawBackend) {
  const replay = new Replay(serviceAt(backend.target), ASK);
  const connection = await backend.connection(0);
  await connection.head();
  await connection.send(SWITCH);
  await replay.stream.until(() => replay.stream.accepted !== undefined);
  return { replay, stream: replay.stream, connection };
}

test("the request goes out as it came, without framing", async () => {
  await using backend = await RawBackend.start();
  void new Replay(serviceAt(backend.target), ASK);
  const connection = await backend.connection(0);
  expect(await connection.head()).toBe(["GET / HTTP/1.1", ...ASK.fields!, "", ""].join("\r\n"));
});

test("101 is passed on with its fields, reported at once, and bytes go both ways", async () => {
  await using backend = await RawBackend.start();
  const { replay, stream, connection } = await switched(backend);
  expect(stream.accepted).toEqual({ head: SWITCH.slice(0, -2), end: false });
  expect(await replay.finished).toEqual({ method: "GET", target: "/", status: 101 });
  stream.feed("\x00ping\xff");
  expect(await connection.takeUntil("\xff")).toBe("\x00ping\xff");
  await connection.send("\x00pong\xff");
  await stream.until(() => stream.writtenBytes === 6);
  expect(stream.body.toString("latin1")).toBe("\x00pong\xff");
  expect(stream.unreadBytes).toBe(0);
  expect(replay.outcomes).toHaveLength(1);
});

test("another protocol than the one asked for is passed on as it is", async () => {
  await using backend = await RawBackend.answering(
    "HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: other/7\r\n\r\n",
  );
  const replay = new Replay(serviceAt(backend.target), ASK);
  expect((await replay.finished).status).toBe(101);
  expect(replay.stream.accepted?.head).toContain("Upgrade: other/7");
});

test("the service's early bytes come behind its head", async () => {
  await using backend = await RawBackend.answering(`${SWITCH}early bytes`);
  const { stream } = new Replay(serviceAt(backend.target), ASK);
  await stream.until(() => stream.writtenBytes === 11);
  expect(stream.calls).toEqual(["accept", "write"]);
});

test("the visitor's early bytes are held without credit, and go behind the switch", async () => {
  await using backend = await RawBackend.start();
  const { stream } = new Replay(serviceAt(backend.target), ASK);
  const connection = await backend.connection(0);
  await connection.head();
  stream.feed("early ");
  stream.feed("bytes");
  expect(stream.unreadBytes).toBe(11);
  await connection.send("HTTP/1.1 103 Hints\r\n\r\n");
  await stream.until(() => stream.interims.length === 1);
  expect(connection.text).toMatch(/\r\n\r\n$/);
  await connection.send(SWITCH);
  expect((await connection.take(11)).toString()).toBe("early bytes");
  expect(stream.unreadBytes).toBe(0);
});

test("a body with a length goes before the switch, what follows it behind", async () => {
  await using backend = await RawBackend.start();
  const fields = [...ASK.fields!, "Content-Length: 5"];
  const { stream } = new Replay(serviceAt(backend.target), { ...ASK, method: "POST", fields });
  const connection = await backend.connection(0);
  await connection.head();
  stream.feed("hel");
  stream.feed("loearly");
  expect((await connection.take(5)).toString()).toBe("hello");
  expect(stream.unreadBytes).toBeGreaterThanOrEqual(5);
  await connection.send(SWITCH);
  expect((await connection.take(5)).toString()).toBe("early");
  expect(connection.text).not.toMatch(/transfer-encoding/i);
});

test("a POST that asks for an upgrade has a length of 0 if it has none", async () => {
  await using backend = await RawBackend.start();
  void new Replay(serviceAt(backend.target), { ...ASK, method: "POST" });
  const head = await (await backend.connection(0)).head();
  expect(head).toMatch(/content-length: 0\r\n/i);
  expect(head).not.toMatch(/transfer-encoding/i);
});

test.each([
  ["200", "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"],
  ["302", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\nno"],
  ["401", "HTTP/1.1 401 Who\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"],
  ["426", "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"],
  ["503", "HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nno"],
])("a refusal with %s is passed on with its body, and early bytes are dropped", async (status, answer) => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(answer);
    connection.end();
  });
  const service = serviceAt(backend.target);
  const replay = new Replay(service, ASK);
  replay.stream.feed("early");
  expect(await replay.answer()).toMatchObject({ status: Number(status), body: "no" });
  expect(replay.stream.calls.at(-1)).toBe("reset COMPLETE");
  expect(replay.stream.unreadBytes).toBe(0);
  expect((await backend.connection(0)).text).not.toContain("early");
});

test("a refused connection is not used again", async () => {
  await using backend = await RawBackend.answering("HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno");
  const service = serviceAt(backend.target);
  await new Replay(service, ASK).answer();
  await backend.connections[0]!.untilClosed();
  expect((await visit(service)).status).toBe(400);
  expect(backend.connections).toHaveLength(2);
});

test("the service's half-close reaches the visitor, who may go on", async () => {
  await using backend = await RawBackend.start();
  const { stream, connection } = await switched(backend);
  connection.end();
  await stream.until(() => stream.ended);
  stream.feed("still here");
  expect(await connection.takeUntil("here")).toBe("still here");
  stream.finish();
  expect(await connection.untilClosed()).toBe("end");
  expect(stream.wasReset).toBeUndefined();
});

test("the visitor's half-close reaches the service, which may go on", async () => {
  await using backend = await RawBackend.start();
  const { stream, connection } = await switched(backend);
  stream.finish();
  await connection.untilEnded();
  await connection.send("still here");
  await stream.until(() => stream.writtenBytes === 10);
  connection.end();
  await stream.until(() => stream.ended);
  expect(stream.wasReset).toBeUndefined();
});

test("a visitor who ends before the switch is half-closed behind it", async () => {
  await using backend = await RawBackend.start();
  const { stream } = new Replay(serviceAt(backend.target), ASK);
  const connection = await backend.connection(0);
  await connection.head();
  stream.feed("early");
  stream.finish();
  expect(connection.ended).toBe(false);
  await connection.send(SWITCH);
  await connection.untilEnded();
  expect(connection.text).toMatch(/early$/);
  connection.end();
  await stream.until(() => stream.ended);
});

test("abrupt ends stay abrupt, both ways", async () => {
  await using backend = await RawBackend.start();
  const first = await switched(backend);
  first.connection.reset();
  await first.stream.until(() => first.stream.over);
  expect(first.stream.wasReset?.code).toBe("CONNECTION_LOST");
  expect(first.stream.ended).toBe(false);

  await using another = await RawBackend.start();
  const second = await switched(another);
  second.stream.fail("CONNECTION_LOST");
  expect(await second.connection.untilClosed()).toBe("reset");
});

test("a visitor who leaves before the switch takes the connection along", async () => {
  await using backend = await RawBackend.start();
  const replay = new Replay(serviceAt(backend.target), ASK);
  const connection = await backend.connection(0);
  await connection.head();
  replay.stream.fail();
  await connection.untilClosed();
  expect(replay.outcomes).toMatchObject([{ failure: "CANCELLED" }]);
});

test.each([
  ["closes", "CONNECTION_LOST", ""],
  ["sends half a head", "BAD_RESPONSE", "HTTP/1.1 101 Switching Prot"],
  [
    "sends a control byte",
    "BAD_RESPONSE",
    "HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: a\x01\r\n\r\n",
  ],
  ["switches nothing", "BAD_RESPONSE", "HTTP/1.1 101 OK\r\n\r\n"],
])("a service that %s instead of switching fails with %s", async (_, code, answer) => {
  await using backend = await RawBackend.start(async (connection, index) => {
    await connection.head();
    if (index > 0) return connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await connection.send(answer);
    connection.end();
  });
  const service = serviceAt(backend.target);
  const replay = new Replay(service, ASK);
  replay.stream.feed("early");
  expect(await replay.finished).toMatchObject({ failure: code });
  expect((await visit(service)).body).toBe("ok");
});

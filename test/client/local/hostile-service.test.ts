import { expect, test } from "vitest";
import type { LocalService } from "../../../client/local/local-service.ts";
import { RawBackend, type Script } from "../../support/raw-backend.ts";
import { failure, Replay, serviceAt, visit } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A service whose first connection plays the script; all others serve. */
function hostileOnce(script: Script): Promise<RawBackend> {
  return RawBackend.start(async (connection, index) => {
    if (index === 0) return script(connection, index);
    for (;;) {
      await connection.head();
      await connection.send(OK);
    }
  });
}

async function expectStillServed(service: LocalService): Promise<void> {
  expect(await visit(service)).toMatchObject({ status: 200, body: "ok" });
  expect(await visit(service, { method: "POST", body: "x" })).toMatchObject({ status: 200, body: "ok" });
}

test.each([
  ["garbage", "\x00\x01\x02 what\r\n\r\n"],
  ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n"],
  ["status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"],
  ["status 000", "HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n"],
  ["status 1000", "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"],
  ["status -1", "HTTP/1.1 -1 Low\r\nContent-Length: 0\r\n\r\n"],
  ["HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ["HTTP/0.9", "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"],
  ["a list of different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk"],
  ["a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"],
  [
    "length and chunked",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  ],
  [
    "chunked and length",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  ],
  ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  ["NUL in a field", "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"],
  ["a control byte in a field", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n"],
  ["DEL in a field", "HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n"],
  ["a bare CR in a field", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"],
  ["a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
  ["a control byte in a name", "HTTP/1.1 200 OK\r\nX\x01: a\r\nContent-Length: 0\r\n\r\n"],
  ["a space in a name", "HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n"],
  ["a control byte in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"],
  ["an endless head", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}\r\n\r\n`],
  ["endless fields", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(20_000)}\r\n`],
  ["an unasked 101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbytes"],
  ["an unasked 101 without fields", "HTTP/1.1 101 Switching Protocols\r\n\r\nbytes"],
  ["a broken interim answer", "HTTP/1.1 103 Hints\r\nLink: a\x01\r\n\r\n"],
  ["a thousand interim answers", "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n".repeat(1_000)],
])("%s is a bad response, and the next request is served", async (_, answer) => {
  await using backend = await hostileOnce(async (connection) => {
    await connection.head();
    await connection.send(answer);
  });
  const service = serviceAt(backend.target);
  const replay = new Replay(service);
  const outcome = await replay.finished;
  expect(outcome).toMatchObject({
    failure: "BAD_RESPONSE",
    detail: expect.stringContaining("cannot be passed on"),
  });
  expect(outcome.status).toBeUndefined();
  expect(replay.stream.accepted).toBeUndefined();
  expect(replay.stream.wasReset?.code).toBe("BAD_RESPONSE");
  expect(outcome.detail).not.toMatch(/[\x00-\x1f\x7f]/);
  expect(outcome.detail).not.toContain("HTTP/2");
  await (await backend.connection(0)).untilClosed();
  await expectStillServed(service);
});

test.each([
  ["one field of 70 KB", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}\r\n\r\n`],
  ["many fields", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(20_000)}\r\n`],
  [
    "fields that would have more once they are written on",
    `HTTP/1.1 200 OK\r\n${"X:y\n".repeat(16_000)}\r\n`,
  ],
])("headers over 64 KiB are named for what they are (%s)", async (_, answer) => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(answer);
  });
  const replay = new Replay(serviceAt(backend.target));
  const { failure, detail } = await replay.finished;
  expect({ failure, detail }).toEqual({
    failure: "BAD_RESPONSE",
    detail: `127.0.0.1:${backend.target.port} sent an answer that cannot be passed on: headers over 64 KiB`,
  });
  expect(replay.stream.wasReset).toEqual({ code: failure, detail });
});

test.each([
  ["SETTINGS", [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]],
  ["GOAWAY", [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
])("a service that speaks only HTTP/2 is told of with what to do (%s)", async (_, frame) => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(Buffer.from(frame));
  });
  const { detail } = await failure(serviceAt(backend.target));
  expect(detail).toMatch(
    /^127\.0\.0\.1:\d+ speaks only HTTP\/2; an http tunnel needs HTTP\/1\.1: .* a tcp tunnel/,
  );
});

test("statuses of none of HTTP's classes pass, but to a server that would end the link for them", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    for (;;) {
      await connection.head();
      await connection.send("HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nno");
    }
  });
  const service = serviceAt(backend.target);
  expect(await visit(service)).toMatchObject({ status: 999, reason: "Denied", body: "no" });
  const replay = new Replay(service, { wideStatuses: false });
  expect(await replay.finished).toMatchObject({
    failure: "BAD_RESPONSE",
    detail: expect.stringContaining("the status 999, which this tunnel-server does not take; update it"),
  });
  expect(replay.stream.accepted).toBeUndefined();
});

test.each([
  ["within the status line", "HTTP/1.1 20"],
  ["within a field", "HTTP/1.1 200 OK\r\nContent-Le"],
  ["before the empty line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"],
])("a head that ends %s is a bad response", async (_, answer) => {
  await using backend = await hostileOnce(async (connection) => {
    await connection.head();
    await connection.send(answer);
    connection.end();
  });
  const service = serviceAt(backend.target);
  expect((await failure(service)).failure).toBe("BAD_RESPONSE");
  await expectStillServed(service);
});

test.each<[string, "GET" | "POST", Script]>([
  ["closes at once", "GET", (connection) => connection.close()],
  ["ends at once", "GET", (connection) => connection.end()],
  ["reads and ends", "GET", async (c) => (await c.head(), c.end())],
  ["reads and resets", "GET", async (c) => (await c.head(), c.reset())],
  ["reads and ends", "POST", async (c) => (await c.chunkedBody(), c.end())],
  ["reads and resets", "POST", async (c) => (await c.chunkedBody(), c.reset())],
])("a service that %s has lost the connection (%s), and is not asked twice", async (_, method, script) => {
  await using backend = await hostileOnce(script);
  const service = serviceAt(backend.target);
  const request = method === "POST" ? { method, body: "x" } : { method };
  expect(await failure(service, request)).toMatchObject({ failure: "CONNECTION_LOST" });
  expect(backend.connections).toHaveLength(1);
  await expectStillServed(service);
});

test("a service that resets at once refuses or has lost the connection, as the kernel has it", async () => {
  await using backend = await hostileOnce((connection) => connection.reset());
  const service = serviceAt(backend.target);
  expect(["REFUSED", "CONNECTION_LOST"]).toContain((await failure(service)).failure);
  await expectStillServed(service);
});

test.each<[string, string, "end" | "reset"]>([
  ["short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "end"],
  ["short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "reset"],
  ["before its last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "end"],
  ["before its last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "reset"],
  [
    "within its last chunk",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "end",
  ],
  [
    "within its trailers",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    "end",
  ],
  ["without a length", "HTTP/1.1 200 OK\r\n\r\nhello", "reset"],
])("a body cut %s (%j, %s) is a visible cut", async (_, answer, how) => {
  await using backend = await hostileOnce(async (connection) => {
    await connection.head();
    await connection.send(answer);
  });
  const service = serviceAt(backend.target);
  const { stream, finished } = new Replay(service);
  await stream.until(() => stream.writtenBytes === 5);
  (await backend.connection(0))[how]();
  expect(await finished).toMatchObject({ status: 200, failure: "CONNECTION_LOST" });
  expect(stream.ended).toBe(false);
  expect(stream.wasReset?.code).toBe("CONNECTION_LOST");
  await expectStillServed(service);
});

test.each([
  ["a chunk size that is none", "5\r\nhello\r\nxyz\r\n"],
  ["a chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n"],
  ["a chunk size beyond all numbers", "5\r\nhello\r\nfffffffffffffffffff\r\n"],
  ["endless chunk extensions", `5\r\nhello\r\n1;${"x".repeat(100_000)}`],
  ["endless trailers", `5\r\nhello\r\n0\r\n${"X: y\r\n".repeat(20_000)}\r\n`],
  ["a control byte in a trailer", "5\r\nhello\r\n0\r\nX: \x01\r\n\r\n"],
])("%s is a visible cut", async (_, body) => {
  await using backend = await hostileOnce(async (connection) => {
    await connection.head();
    await connection.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
  });
  const service = serviceAt(backend.target);
  expect(await failure(service)).toMatchObject({ status: 200, failure: "BAD_RESPONSE" });
  await expectStillServed(service);
});

test.each([
  ["behind a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "excess"],
  ["behind a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", `${OK}leaked`],
  [
    "behind the last chunk",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK,
  ],
  ["behind a 204", "HTTP/1.1 204 No Content\r\n\r\n", OK],
  ["behind a 304", "HTTP/1.1 304 Not Modified\r\n\r\n", "body"],
])("excess bytes %s (%j, %j) reach nobody", async (_, answer, excess) => {
  for (const pieces of [[answer + excess], [answer, excess]]) {
    let answered = 0;
    await using backend = await RawBackend.start(async (connection) => {
      for (;;) {
        const path = /^GET (\S+)/.exec(await connection.head())![1]!;
        if (path !== "/first")
          await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
        else await connection.send(...pieces);
        answered++;
      }
    });
    const service = serviceAt(backend.target);
    const first = await visit(service, { target: "/first" });
    expect(["hello", ""]).toContain(first.body);
    for (const target of ["/second", "/third"]) expect((await visit(service, { target })).body).toBe(target);
    expect(answered).toBe(3);
  }
});

test("excess behind a HEAD's answer reaches nobody", async () => {
  await using backend = await hostileOnce(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  });
  const service = serviceAt(backend.target);
  expect(await visit(service, { method: "HEAD" })).toMatchObject({ status: 200, body: "" });
  await expectStillServed(service);
});

test("bytes while idle end a connection", async () => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  await visit(service);
  const first = await backend.connection(0);
  await first.send(`${OK}leaked`);
  expect(await first.untilClosed()).toBe("end");
  await expectStillServed(service);
});

test.each(["waiting", "answering", "uploading", "idle between two interim answers"])(
  "a visitor who leaves while %s takes the local connection along at once",
  async (when) => {
    await using backend = await RawBackend.answering("");
    const service = serviceAt(backend.target);
    const replay = new Replay(service, when === "uploading" ? { method: "POST", streaming: true } : {});
    const connection = await backend.connection(0);
    await connection.takeUntil("\r\n");
    if (when === "answering") {
      await connection.send("HTTP/1.1 200 OK\r\n\r\nhello");
      await replay.stream.until(() => replay.stream.writtenBytes === 5);
    } else if (when.startsWith("idle")) {
      await connection.send("HTTP/1.1 103 Hints\r\n\r\n");
      await replay.stream.until(() => replay.stream.interims.length === 1);
    }
    replay.stream.fail("CANCELLED");
    await connection.untilClosed();
    expect(replay.outcomes).toMatchObject([{ failure: "CANCELLED" }]);
    expect(replay.stream.wasReset).toBeUndefined();
  },
);

test("a visitor who leaves before the connection stands leaves nothing behind", async () => {
  await using backend = await RawBackend.answering(OK);
  // Two addresses to try, the first in vain.
  const service = serviceAt({ host: "localhost", port: backend.target.port });
  for (let turns = 0; turns < 6; turns++) {
    const replay = new Replay(service);
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
    replay.stream.fail("LINK_LOST");
    expect(replay.outcomes).toHaveLength(1);
  }
  await expectStillServed(service);
  service.close();
  for (const connection of backend.connections) await connection.untilClosed();
  expect(backend.open).toBe(0);
});

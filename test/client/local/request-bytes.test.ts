import { expect, test } from "vitest";
import { RawBackend } from "../../support/raw-backend.ts";
import { Replay, serviceAt, visit } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** What the service reads of a request, up to the end of its head. */
async function headOf(request: ConstructorParameters<typeof Replay>[1]): Promise<string> {
  await using backend = await RawBackend.answering(OK);
  await visit(serviceAt(backend.target), request);
  const { text } = await backend.connection(0);
  return text.slice(0, text.indexOf("\r\n\r\n") + 4);
}

test("fields arrive as they came: order, case, repeats, empty values, Latin-1 and UTF-8 bytes", async () => {
  const fields = [
    "x-LOWER-Upper: 1",
    "Host: app.test:8080",
    "Accept: a",
    "X-Empty: ",
    "accept: b",
    "X-Latin: caf\xe9",
    "X-Utf8: \xc3\xa9\xf0\x9f\x98\x80",
    "Cookie: a=1",
    "Cookie: b=2",
    "X-Padded:   two spaces more  ",
    "X-Tab: a\tb",
    "TE: trailers",
  ];
  expect(await headOf({ fields })).toBe(
    ["GET / HTTP/1.1", ...fields, "Connection: keep-alive", "", ""].join("\r\n"),
  );
});

test("a head with 200 fields arrives whole", async () => {
  const fields = ["Host: a", ...Array.from({ length: 200 }, (_, i) => `X-${i}: ${i}`)];
  expect(await headOf({ fields })).toContain(fields.join("\r\n"));
});

test.each([
  ["two slashes", "//"],
  ["an empty query", "/?"],
  ["dot segments", "/a/../b/./c//d"],
  ["percent forms", "/%2e%2E/%00%zz"],
  ["question marks", "/a?b?c&&="],
  ["bytes beyond ASCII", "/caf\xe9/\xff"],
  ["odd characters", "/'\"<>`{}|\\^[]"],
  ["8,000 octets", `/${"x".repeat(7_999)}`],
])("a target with %s is untouched", async (_, target) => {
  const head = await headOf({ target });
  expect(head.slice(0, head.indexOf("\r\n"))).toBe(`GET ${target} HTTP/1.1`);
});

test("OPTIONS * goes out as it is", async () => {
  expect(await headOf({ method: "OPTIONS", target: "*" })).toMatch(/^OPTIONS \* HTTP\/1\.1\r\n/);
});

test.each(["DELETE", "TRACE", "PROPFIND", "M-SEARCH", "MKCALENDAR", "SOURCE", "UNSUBSCRIBE"])(
  "the method %s is replayed",
  async (method) => {
    expect(await headOf({ method })).toMatch(new RegExp(`^${method} / HTTP/1\\.1\r\n`));
  },
);

test.each(["GET", "HEAD", "DELETE", "OPTIONS"])("%s without a body stays unframed", async (method) => {
  expect(await headOf({ method })).not.toMatch(/content-length|transfer-encoding/i);
});

test.each(["POST", "PUT", "PATCH", "PROPFIND"])("%s without a body says so by its length", async (method) => {
  const head = await headOf({ method });
  expect(head.match(/content-length: 0\r\n/gi)).toHaveLength(1);
  expect(head).not.toMatch(/transfer-encoding/i);
});

test.each(["GET", "DELETE", "POST", "OPTIONS"])(
  "a body of unknown length is chunked exactly once with %s",
  async (method) => {
    await using backend = await RawBackend.start(async (connection) => {
      await connection.chunkedBody();
      await connection.send(OK);
    });
    await visit(serviceAt(backend.target), { method, body: "hello" });
    const { text } = await backend.connection(0);
    expect(text.match(/transfer-encoding: chunked\r\n/gi)).toHaveLength(1);
    expect(text).not.toMatch(/content-length/i);
    expect(text).toMatch(/\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
  },
);

test.each(["GET", "DELETE", "POST"])("a body with a length keeps it with %s", async (method) => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.takeUntil("hello");
    await connection.send(OK);
  });
  const fields = ["Host: a", "content-LENGTH: 5", "X-After: 1"];
  await visit(serviceAt(backend.target), { method, fields, body: "hello" });
  const { text } = await backend.connection(0);
  expect(text).toBe(`${method} / HTTP/1.1\r\n${fields.join("\r\n")}\r\nConnection: close\r\n\r\nhello`);
});

test("a Content-Disposition with Latin-1 behind a Content-Length keeps its bytes, and Trailer its place", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.takeUntil("hello");
    await connection.send(OK);
  });
  const fields = ["Content-Length: 5", "Content-Disposition: x; filename=\xe9\xc3\xa9", "Trailer: X-Sum"];
  await visit(serviceAt(backend.target), { method: "PUT", fields, body: "hello" });
  expect((await backend.connection(0)).text).toContain(fields.join("\r\n"));
});

test("trailers keep order, case, repeats and bytes", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.takeUntil("0\r\n");
    await connection.takeUntil("\r\n\r\n");
    await connection.send(OK);
  });
  const replay = new Replay(serviceAt(backend.target), {
    method: "POST",
    streaming: true,
    fields: ["Trailer: x"],
  });
  replay.stream.feed("hi");
  replay.stream.finish("x-Sum: 1\r\nX-SUM: 2\r\nX-Name: \xe9\r\n");
  await replay.answer();
  expect((await backend.connection(0)).text).toMatch(
    /2\r\nhi\r\n0\r\nx-Sum: 1\r\nX-SUM: 2\r\nX-Name: \xe9\r\n\r\n$/,
  );
});

test("trailers behind a body with a length have no place and are dropped", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.takeUntil("hi");
    await connection.send(OK);
  });
  const fields = ["Content-Length: 2"];
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true, fields });
  replay.stream.feed("hi");
  replay.stream.finish("X-Sum: 1\r\n");
  await replay.answer();
  expect((await backend.connection(0)).text).toMatch(/\r\n\r\nhi$/);
});

test("the head goes out before any of the body, and each chunk as it comes", async () => {
  await using backend = await RawBackend.start();
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  const connection = await backend.connection(0);
  expect(await connection.head()).toContain("Transfer-Encoding: chunked");
  replay.stream.feed("one");
  expect(await connection.takeUntil("one\r\n")).toBe("3\r\none\r\n");
  replay.stream.feed("three");
  expect(await connection.takeUntil("three\r\n")).toBe("5\r\nthree\r\n");
});

test("an expectation is passed on, and the body waits for the visitor alone", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    await connection.takeUntil("hello");
    await connection.send(OK);
  });
  const fields = ["X-Name: \xe9", "Expect: 100-continue", "Content-Length: 5"];
  const replay = new Replay(serviceAt(backend.target), { method: "PUT", fields, streaming: true });
  await replay.stream.until(() => replay.stream.interims.length === 1);
  expect(replay.stream.interims).toEqual(["HTTP/1.1 100 Continue\r\n"]);
  replay.stream.feed("hello");
  replay.stream.finish();
  expect((await replay.answer()).status).toBe(200);
  expect((await backend.connection(0)).text).toContain(fields.join("\r\n"));
});

test("a refused expectation is only the final status", async () => {
  await using backend = await RawBackend.answering("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
  const fields = ["Expect: 100-continue", "Content-Length: 5"];
  const replay = new Replay(serviceAt(backend.target), { method: "PUT", fields, streaming: true });
  expect((await replay.answer()).status).toBe(417);
  expect(replay.stream.interims).toEqual([]);
});

test.each([
  ["no head at all", Buffer.from("hello")],
  ["a field with a control character", Buffer.from("GET / HTTP/1.1\r\nX: a\x01b\r\n")],
  ["two lengths", Buffer.from("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n")],
  ["a length that is none", Buffer.from("POST / HTTP/1.1\r\nContent-Length: +1\r\n")],
  ["a transfer coding", Buffer.from("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n")],
  ["CONNECT", Buffer.from("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n")],
])("%s from the server is the server's fault, and nothing is sent", async (_, head) => {
  await using backend = await RawBackend.answering(OK);
  const { serveHttp } = await import("../../../client/local/http-exchange.ts");
  const { FakeStream } = await import("../../support/fake-stream.ts");
  const stream = new FakeStream();
  const outcomes: unknown[] = [];
  const service = serviceAt(backend.target);
  const open = {
    stream: 2,
    tunnel: 1,
    kind: "HTTP",
    requestId: "r",
    visitor: "v",
    head,
    end: false,
  } as const;
  serveHttp(stream, open, { service, finished: (outcome) => outcomes.push(outcome) });
  expect(stream.wasReset?.code).toBe("INTERNAL");
  expect(outcomes).toHaveLength(1);
  expect((await visit(service)).status).toBe(200);
  expect(backend.connections).toHaveLength(1);
});

test.each([
  ["more of a body than its length", "hello!", false],
  ["less of a body than its length", "hell", true],
])("%s from the server is not passed on as a request", async (_, body, end) => {
  await using backend = await RawBackend.start();
  const service = serviceAt(backend.target);
  const replay = new Replay(service, { method: "POST", fields: ["Content-Length: 5"], streaming: true });
  const connection = await backend.connection(0);
  await connection.head();
  replay.stream.feed(body);
  if (end) replay.stream.finish();
  expect(replay.stream.wasReset?.code).toBe("INTERNAL");
  await connection.untilClosed();
  expect(connection.text).not.toContain("!");
});

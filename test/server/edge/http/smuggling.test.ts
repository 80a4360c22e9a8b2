import { describe, expect, test } from "vitest";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";

/** A head, and whatever else a visitor sends in the same breath; each hides a second request. */
const REFUSED: [name: string, bytes: string, status: number][] = [
  ["length and chunks", head("Content-Length: 4", "Transfer-Encoding: chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["chunks and length", head("Transfer-Encoding: chunked", "Content-Length: 4") + `0\r\n\r\n${HIDDEN}`, 400],
  ["two different lengths", head("Content-Length: 0", "Content-Length: 40") + HIDDEN, 400],
  ["two equal lengths", head("Content-Length: 0", "Content-Length: 0") + HIDDEN, 400],
  ["a list of lengths", head("Content-Length: 0, 0") + HIDDEN, 400],
  ["a length with a sign", head("Content-Length: +0") + HIDDEN, 400],
  ["a negative length", head("Content-Length: -1") + HIDDEN, 400],
  ["a hexadecimal length", head("Content-Length: 0x0") + HIDDEN, 400],
  ["an empty length", head("Content-Length:") + HIDDEN, 400],
  ["a length with a space inside", head("Content-Length: 0 0") + HIDDEN, 400],
  ["a length beyond 64 bits", head("Content-Length: 18446744073709551616") + HIDDEN, 400],
  ["a coding before chunked", head("Transfer-Encoding: gzip, chunked") + `0\r\n\r\n${HIDDEN}`, 501],
  ["identity before chunked", head("Transfer-Encoding: identity, chunked") + `0\r\n\r\n${HIDDEN}`, 501],
  [
    "codings in two fields",
    head("Transfer-Encoding: identity", "Transfer-Encoding: chunked") + `0\r\n\r\n${HIDDEN}`,
    501,
  ],
  ["chunked twice", head("Transfer-Encoding: chunked, chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  [
    "chunked in two fields",
    head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + `0\r\n\r\n${HIDDEN}`,
    400,
  ],
  ["chunked not last", head("Transfer-Encoding: chunked, identity") + `0\r\n\r\n${HIDDEN}`, 400],
  ["a coding that is not chunked", head("Transfer-Encoding: gzip") + HIDDEN, 400],
  ["identity", head("Transfer-Encoding: identity") + HIDDEN, 400],
  ["an empty coding", head("Transfer-Encoding:") + HIDDEN, 400],
  ["an empty element before chunked", head("Transfer-Encoding: , chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["an empty element behind chunked", head("Transfer-Encoding: chunked,") + `0\r\n\r\n${HIDDEN}`, 400],
  ["a coding like chunked", head("Transfer-Encoding: xchunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["chunked with a parameter", head("Transfer-Encoding: chunked;q=1") + `0\r\n\r\n${HIDDEN}`, 400],
  ["chunked in quotes", head('Transfer-Encoding: "chunked"') + `0\r\n\r\n${HIDDEN}`, 400],
  ["chunked behind a vertical tab", head("Transfer-Encoding: \x0bchunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["a space before the colon", head("Transfer-Encoding : chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["a tab before the colon", head("Content-Length\t: 4") + HIDDEN, 400],
  ["a folded field", head("Transfer-Encoding:\r\n chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["a folded line behind another", head("X: 1\r\n Transfer-Encoding: chunked") + HIDDEN, 400],
  ["a space before the first field", "GET / HTTP/1.1\r\n Host: app.test\r\n\r\n" + HIDDEN, 400],
  ["a bare CR in a value", head("X: a\rTransfer-Encoding: chunked") + HIDDEN, 400],
  ["a bare LF as a line's end", "GET / HTTP/1.1\nHost: app.test\n\n" + HIDDEN, 400],
  ["a bare LF behind a field", "GET / HTTP/1.1\r\nHost: app.test\nX: 1\r\n\r\n" + HIDDEN, 400],
  ["a NUL in a value", head("X: a\0b") + HIDDEN, 400],
  ["a NUL in a name", head("X\0: a") + HIDDEN, 400],
  ["a field without a colon", head("Nonsense") + HIDDEN, 400],
  ["a field without a name", head(": 1") + HIDDEN, 400],
  ["chunks in HTTP/1.0", head10("Transfer-Encoding: chunked") + `0\r\n\r\n${HIDDEN}`, 400],
  ["two Hosts", head("Host: app.test") + HIDDEN, 400],
  ["two different Hosts", head("Host: other.test") + HIDDEN, 400],
  ["a Host with user information", host("app.test@other.test"), 400],
  ["a Host with a path", host("app.test/x"), 400],
  ["a list of Hosts", host("app.test, other.test"), 400],
  ["a Host with a space", host("app.test other.test"), 400],
  ["an empty Host", host(""), 400],
  ["no Host", `GET / HTTP/1.1\r\n\r\n${HIDDEN}`, 400],
  ["a Host with a bad port", host("app.test:http"), 400],
  ["a Host with a port too large", host("app.test:65536"), 400],
  ["a Host with a backslash", host("app.test\\x"), 400],
  ["a Host beyond ASCII", host("app.t\xe9st"), 400],
  ["a target with a fragment", line("GET /a#b HTTP/1.1"), 400],
  ["an absolute target with a fragment", line("GET http://app.test/a#b HTTP/1.1"), 400],
  ["an asterisk for GET", line("GET * HTTP/1.1"), 400],
  ["a target of another scheme", line("GET ftp://app.test/ HTTP/1.1"), 400],
  ["an absolute target with user information", line("GET http://a@app.test/ HTTP/1.1"), 400],
  ["an absolute target without a host", line("GET http:/// HTTP/1.1"), 400],
  ["an absolute target with a bad port", line("GET http://app.test:x/ HTTP/1.1"), 400],
  ["an authority as target", line("GET app.test:80 HTTP/1.1"), 400],
  ["a target with a tab", line("GET /a\tb HTTP/1.1"), 400],
  ["a target with a space", line("GET /a b HTTP/1.1"), 400],
  ["HTTP/0.9 without a version", `GET /\r\n\r\n${HIDDEN}`, 505],
  ["HTTP/0.9 with a version", line("GET / HTTP/0.9"), 505],
  ["HTTP/2.0", line("GET / HTTP/2.0"), 505],
  ["HTTP/1.2", line("GET / HTTP/1.2"), 505],
  ["HTTP/3", line("GET / HTTP/3"), 505],
  ["the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
  ["a lower-case protocol name", line("GET / http/1.1"), 400],
  ["space behind the version", line("GET / HTTP/1.1 "), 400],
  ["an unknown method", line("FROBNICATE / HTTP/1.1"), 501],
  ["a lower-case method", line("get / HTTP/1.1"), 501],
  ["a method of RTSP", line("DESCRIBE / HTTP/1.1"), 501],
  ["bytes of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
  ["nonsense", "hello\r\n\r\n", 400],
  ["CONNECT", "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n" + HIDDEN, 405],
  [
    "an upgrade with chunks",
    head("Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked") + `0\r\n\r\n${HIDDEN}`,
    411,
  ],
];

describe("refused before anything reaches a tunnel", () => {
  test.each(REFUSED)("%s", async (_, bytes, status) => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const visitor = await world.send(bytes);
    const answer = await visitor.answer();
    expect(answer.status).toBe(status);
    expect(answer.fields.join()).toContain("Connection,close");
    visitor.send(HIDDEN);
    const { end, text } = await visitor.rest();
    expect({ end, text }).toEqual({ end: "fin", text: "" });
    expect(world.route.opened).toHaveLength(0);
  });
});

/** Bodies that cannot be read to their end: the tunnel sees at most the beginning of one request. */
const BROKEN_BODIES: [name: string, body: string][] = [
  ["a chunk size that is no number", "x\r\n"],
  ["a chunk size with a sign", "+5\r\nhello\r\n0\r\n\r\n"],
  ["a chunk size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"],
  ["a chunk size with a space before it", " 5\r\nhello\r\n0\r\n\r\n"],
  ["a chunk size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"],
  ["a chunk that is longer than its size", "3\r\nhello\r\n0\r\n\r\n"],
  ["a bare LF behind a chunk size", "5\nhello\r\n0\r\n\r\n"],
  ["a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"],
  ["a bare LF behind a chunk", "5\r\nhello\n0\r\n\r\n"],
  ["a Host in the trailers", "0\r\nHost: other.test\r\n\r\n"],
  ["a length in the trailers", "0\r\nContent-Length: 5\r\n\r\n"],
  ["a coding in the trailers", "0\r\nTransfer-Encoding: chunked\r\n\r\n"],
  ["a disguised Host in the trailers", "0\r\nhOST: other.test\r\n\r\n"],
  ["a malformed trailer", "0\r\nX Y: 1\r\n\r\n"],
];

describe("a body that cannot be read", () => {
  test.each(BROKEN_BODIES)("%s is refused, and its stream reset", async (_, body) => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const visitor = await world.send(head("Transfer-Encoding: chunked") + body + HIDDEN);
    expect((await visitor.answer()).status).toBe(400);
    expect((await visitor.rest()).text).toBe("");
    expect(world.route.opened).toHaveLength(1);
    const visit = await world.route.next();
    await visit.until(() => visit.wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    expect(visit.ended).toBe(false);
  });

  test("chunk extensions without end are refused", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const visitor = await world.send(head("Transfer-Encoding: chunked"), `5;${"a".repeat(20_000)}\r\n`);
    expect((await visitor.answer()).status).toBe(413);
  });
});

/** What looks odd, and means one thing: it arrives as one request, and the next one on the connection as another. */
const FORWARDED: [name: string, bytes: string, target: string, body: string][] = [
  ["chunked in odd case", head("Transfer-Encoding: cHuNkEd") + "5\r\nhello\r\n0\r\n\r\n", "/", "hello"],
  [
    "chunk extensions",
    head("Transfer-Encoding: chunked") + '5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n',
    "/",
    "hello",
  ],
  [
    "a chunk size with zeros before it",
    head("Transfer-Encoding: chunked") + "0005\r\nhello\r\n000\r\n\r\n",
    "/",
    "hello",
  ],
  [
    "a chunk size in upper case",
    head("Transfer-Encoding: chunked") + `A\r\n0123456789\r\n0\r\n\r\n`,
    "/",
    "0123456789",
  ],
  ["a length with zeros before it", head("Content-Length: 005") + "hello", "/", "hello"],
  ["a body that looks like a request", head(`Content-Length: ${HIDDEN.length}`) + HIDDEN, "/", HIDDEN],
  ["a GET with a body", `GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello`, "/", "hello"],
  ["a length of nothing", head("Content-Length: 0"), "/", ""],
  ["neither length nor chunks", head(), "/", ""],
  ["blank lines before the request", `\r\n\r\n${get("/x")}`, "/x", ""],
  [
    "Connection naming the length",
    head("Connection: content-length", "Content-Length: 5") + "hello",
    "/",
    "hello",
  ],
  [
    "Connection naming the coding",
    head("Connection: transfer-encoding", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
    "/",
    "hello",
  ],
  ["a length under another name", head("Content_Length: 50", "Content-Length: 5") + "hello", "/", "hello"],
  [
    "a coding under another name",
    head("Transfer_Encoding: chunked", "Content-Length: 5") + "hello",
    "/",
    "hello",
  ],
  ["an Expect that nobody knows", head("Expect: 200-ok", "Content-Length: 5") + "hello", "/", "hello"],
  [
    "an Expect with a body behind it at once",
    head("Expect: 100-continue", "Content-Length: 5") + "hello",
    "/",
    "hello",
  ],
  [
    "an absolute target against its Host",
    "GET http://app.test/x HTTP/1.1\r\nHost: other.test\r\n\r\n",
    "/x",
    "",
  ],
  ["an upgrade without Connection", head("Upgrade: websocket", "Content-Length: 5") + "hello", "/", "hello"],
  [
    "an upgrade to h2c",
    head(
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABk",
      "Content-Length: 5",
    ) + "hello",
    "/",
    "hello",
  ],
  [
    "an upgrade to h2c with chunks",
    head("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
    "/",
    "hello",
  ],
];

describe("forwarded as exactly one request", () => {
  test.each(FORWARDED)("%s", async (_, bytes, target, body) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(bytes);
    const visit = await world.route.next();
    await visit.until(() => visit.ended);
    expect(visit.head.target).toBe(target);
    expect(visit.body.toString("latin1")).toBe(body);
    expect(visit.values("host")).toEqual(["app.test"]);
    expect(visit.values("transfer-encoding")).toEqual([]);
    expect(visit.values("transfer_encoding")).toEqual([]);
    expect(visit.values("content_length")).toEqual([]);
    expect(visit.values("content-length").length).toBeLessThanOrEqual(1);
    visit.respond(200, "one");
    expect((await visitor.answer()).body.toString()).toBe("one");
    if (bytes.includes("Expect: 100")) return;

    visitor.send(get("/next"));
    const next = await world.route.next();
    expect(next.head.target).toBe("/next");
    next.respond(200, "two");
    expect((await visitor.answer()).body.toString()).toBe("two");
    expect(world.route.opened).toHaveLength(2);
  });
});

test("every byte that a field's value may hold arrives as it was, and every other is refused", async () => {
  await using world = await EdgeUnderTest.start({ lingerMs: 100 });
  world.route.onOpen = (visit) => visit.respond(200);
  await Promise.all(
    Array.from({ length: 256 }, async (_, byte) => {
      const value = `a${String.fromCharCode(byte)}b`;
      const visitor = await world.send(get(`/${byte}`, `X-Byte: ${value}\r\n`));
      const { status } = await visitor.answer();
      const isText = byte === 9 || (byte >= 32 && byte !== 127);
      expect([byte, status]).toEqual([byte, isText ? 200 : 400]);
    }),
  );
  expect(world.route.opened).toHaveLength(224);
  for (const visit of world.route.opened) {
    const byte = Number(visit.head.target.slice(1));
    expect(visit.values("x-byte")).toEqual([`a${String.fromCharCode(byte)}b`]);
  }
});

test("every byte that a target may hold arrives as it was, and every other is refused", async () => {
  await using world = await EdgeUnderTest.start({ lingerMs: 100 });
  world.route.onOpen = (visit) => visit.respond(200);
  await Promise.all(
    Array.from({ length: 256 }, async (_, byte) => {
      const visitor = await world.send(get(`/${String.fromCharCode(byte)}x?${byte}`));
      const { status } = await visitor.answer();
      const isTarget = byte > 32 && byte < 127 && byte !== 35;
      expect([byte, status]).toEqual([byte, isTarget ? 200 : 400]);
    }),
  );
  for (const visit of world.route.opened) {
    const [, byte] = visit.head.target.split("x?");
    expect(visit.head.target).toBe(`/${String.fromCharCode(Number(byte))}x?${byte}`);
  }
});

function head(...fields: string[]): string {
  return `POST / HTTP/1.1\r\nHost: app.test\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
}

function head10(...fields: string[]): string {
  return `POST / HTTP/1.0\r\nHost: app.test\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
}

function host(value: string): string {
  return `GET / HTTP/1.1\r\nHost: ${value}\r\n\r\n${HIDDEN}`;
}

function line(requestLine: string): string {
  return `${requestLine}\r\nHost: app.test\r\n\r\n${HIDDEN}`;
}

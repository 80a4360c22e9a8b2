import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { rawFields, TunnelledService } from "../support/tunnelled-service.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HOST = "Host: app.localhost";
const FORWARDED =
  "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.localhost\r\n" +
  "Forwarded: for=127.0.0.1;host=app.localhost;proto=http";
const KEEP_ALIVE = "Connection: keep-alive";
const ALL_LATIN1 = Array.from({ length: 96 }, (_, i) => String.fromCharCode(160 + i)).join("");

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start();
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

interface Seen {
  line?: string;
  fields?: string[];
  body?: string;
  framing?: "none" | "length" | "chunked";
  trailers?: string[];
}

/** What a visitor sends, and what the local service gets of it. */
const REQUESTS: [name: string, sent: string, seen: Seen][] = [
  ...["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"].map((method): [string, string, Seen] => [
    `${method} goes without a frame`,
    `${method} / HTTP/1.1\r\nHost: app.localhost\r\n\r\n`,
    { line: `${method} / HTTP/1.1`, fields: rawFields(HOST, FORWARDED, KEEP_ALIVE), framing: "none" },
  ]),
  ...["POST", "PUT", "PATCH", "PROPFIND", "M-SEARCH", "QUERY", "LINK", "PURGE"]
    .filter((method) => process.version >= "v22" || method !== "QUERY")
    .map((method): [string, string, Seen] => [
      `${method} goes with its length`,
      `${method} /x HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 3\r\n\r\nabc`,
      {
        line: `${method} /x HTTP/1.1`,
        fields: rawFields(HOST, "Content-Length: 3", FORWARDED, KEEP_ALIVE),
        body: "abc",
      },
    ]),
  ...[
    ["dot segments", "/a/./b/../c"],
    ["empty segments", "//a//b/"],
    ["a bare question mark", "/?"],
    ["percent forms", "/%2e%2E/%00%7e?a=%26&b=%zz"],
    ["odd but legal bytes", "/;=,!$&'()*+@:|{}^`\"<>[]\\"],
    ["a query that looks like a URL", "/go?to=http://other.test:80//x"],
    ["8,000 octets", `/${"x".repeat(7_999)}`],
  ].map(([what, target]): [string, string, Seen] => [
    `a target with ${what} is untouched`,
    `GET ${target} HTTP/1.1\r\nHost: app.localhost\r\n\r\n`,
    { line: `GET ${target} HTTP/1.1` },
  ]),
  [
    "OPTIONS * stays what it is",
    "OPTIONS * HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
    { line: "OPTIONS * HTTP/1.1" },
  ],
  [
    "an absolute target becomes a path, its authority the Host",
    "GET http://app.localhost/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n",
    { line: "GET /a?b HTTP/1.1", fields: rawFields(HOST, FORWARDED, KEEP_ALIVE) },
  ],
  [
    "fields keep order, case, repeats, empty values and inner spaces",
    "GET / HTTP/1.1\r\nzz: 1\r\nHost: app.localhost\r\nAa: 2\r\nzZ: 1\r\nEmpty:\r\naA: x  y\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
    {
      fields: rawFields(
        "zz: 1",
        HOST,
        "Aa: 2",
        "zZ: 1",
        "Empty:",
        "aA: x  y",
        "Cookie: a=1",
        "Cookie: b=2",
        FORWARDED,
        KEEP_ALIVE,
      ),
    },
  ],
  [
    "Latin-1 bytes pass",
    `GET / HTTP/1.1\r\nHost: app.localhost\r\nX-Text: ${ALL_LATIN1}\r\n\r\n`,
    { fields: rawFields(HOST, `X-Text: ${ALL_LATIN1}`, FORWARDED, KEEP_ALIVE) },
  ],
  [
    "UTF-8 bytes pass",
    `GET / HTTP/1.1\r\nHost: app.localhost\r\nX-Text: ${utf8("日本 🦆")}\r\n\r\n`,
    { fields: rawFields(HOST, `X-Text: ${utf8("日本 🦆")}`, FORWARDED, KEEP_ALIVE) },
  ],
  [
    "Latin-1 bytes pass beside a body, and in a Content-Disposition",
    `POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Disposition: form-data; name="${ALL_LATIN1}"\r\nContent-Length: 1\r\n\r\nx`,
    {
      fields: rawFields(
        HOST,
        `Content-Disposition: form-data; name="${ALL_LATIN1}"`,
        "Content-Length: 1",
        FORWARDED,
        KEEP_ALIVE,
      ),
    },
  ],
  [
    "hop-by-hop fields stay behind, with those that Connection names",
    "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close, X-One\r\nX-One: 1\r\nX-Two: 2\r\nConnection: x-two\r\n" +
      "Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n" +
      "Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\nX-Three: 3\r\n\r\n",
    { fields: rawFields(HOST, "X-Three: 3", FORWARDED, KEEP_ALIVE) },
  ],
  [
    "what a visitor says about forwarding is not believed",
    "GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9\r\nHost: app.localhost\r\nx-forwarded-proto: https\r\n" +
      "X-Forwarded-Host: evil.test\r\nX-Forwarded-Prefix: /admin\r\nForwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n\r\n",
    { fields: rawFields(HOST, FORWARDED, KEEP_ALIVE) },
  ],
  [
    "Content-Length 0 stays, for GET too",
    "GET / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0\r\n\r\n",
    { fields: rawFields(HOST, "Content-Length: 0", FORWARDED, KEEP_ALIVE), framing: "length", body: "" },
  ],
  [
    "POST without a frame says that it has no body",
    "POST / HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
    { fields: rawFields(HOST, FORWARDED, KEEP_ALIVE, "Content-Length: 0"), framing: "length", body: "" },
  ],
  [
    "GET with a body keeps it",
    "GET / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 5\r\n\r\nhello",
    { line: "GET / HTTP/1.1", framing: "length", body: "hello" },
  ],
  [
    "a chunked body stays chunked, once, its extensions dropped",
    "POST / HTTP/1.1\r\nHost: app.localhost\r\ntransfer-encoding: Chunked\r\n\r\n" +
      "5;name=value\r\nhello\r\n00000006;x\r\n world\r\n0;last\r\n\r\n",
    {
      fields: rawFields(HOST, FORWARDED, KEEP_ALIVE, "Transfer-Encoding: chunked"),
      framing: "chunked",
      body: "hello world",
      trailers: [],
    },
  ],
  [
    "an empty chunked body stays an empty body",
    "PUT / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    { body: "", trailers: [] },
  ],
  [
    "trailers arrive behind the body, and not among the fields",
    "POST / HTTP/1.1\r\nHost: app.localhost\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" +
      `3\r\nabc\r\n0\r\nX-Sum: 99\r\nx-text: ${ALL_LATIN1}\r\n\r\n`,
    {
      fields: rawFields(HOST, "Trailer: X-Sum", FORWARDED, KEEP_ALIVE, "Transfer-Encoding: chunked"),
      body: "abc",
      trailers: rawFields("X-Sum: 99", `x-text: ${ALL_LATIN1}`),
    },
  ],
  [
    "an HTTP/1.0 visitor's request is sent on as HTTP/1.1",
    "POST /old HTTP/1.0\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nhi",
    {
      line: "POST /old HTTP/1.1",
      fields: rawFields(HOST, "Content-Length: 2", FORWARDED, KEEP_ALIVE),
      body: "hi",
    },
  ],
  [
    "blank lines before a request are no part of it",
    "\r\n\r\nGET /after HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
    { line: "GET /after HTTP/1.1" },
  ],
  [
    "Range, conditions and credentials are not touched",
    'GET / HTTP/1.1\r\nHost: app.localhost\r\nRange: bytes=0-1,4-\r\nIf-None-Match: "a"\r\nAuthorization: Basic eA==\r\nAccept-Encoding: br\r\n\r\n',
    {
      fields: rawFields(
        HOST,
        "Range: bytes=0-1,4-",
        'If-None-Match: "a"',
        "Authorization: Basic eA==",
        "Accept-Encoding: br",
        FORWARDED,
        KEEP_ALIVE,
      ),
    },
  ],
];

describe("what the local service gets", () => {
  test.each(REQUESTS)("%s", async (_, sent, expected) => {
    let seen: Seen | undefined;
    tunnel.serve(async (request) => {
      const { bytes, framing, trailers } = await request.body();
      seen = {
        line: request.line,
        fields: request.fields,
        body: bytes.toString("latin1"),
        framing,
        trailers,
      };
      await request.connection.send(request.line.startsWith("HEAD") ? OK.slice(0, -2) : OK);
    });
    const visitor = await tunnel.send(sent);
    const method = /^\s*(\S+)/.exec(sent)![1]!;
    expect((await visitor.answer(method)).status).toBe(200);
    expect(seen).toMatchObject(expected);
    expect(tunnel.requests).toHaveLength(1);
  });
});

describe("what the local service never sees", () => {
  test.each([
    ["a method that nobody knows", "BREW / HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 501],
    ["CONNECT", "CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost:80\r\n\r\n", 405],
    ["HTTP/2.0", "GET / HTTP/2.0\r\nHost: app.localhost\r\n\r\n", 505],
    ["a host that has no tunnel", "GET / HTTP/1.1\r\nHost: other.localhost\r\n\r\n", 404],
    [
      "length and chunks",
      "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: app.localhost\r\nHost: app.localhost\r\n\r\n", 400],
    [
      "a head beyond all bounds",
      `GET / HTTP/1.1\r\nHost: app.localhost\r\nX: ${"x".repeat(40_000)}\r\n\r\n`,
      431,
    ],
  ])("%s", async (_, sent, status) => {
    tunnel.answer(OK);
    const visitor = await tunnel.send(sent);
    expect((await visitor.answer()).status).toBe(status);
    expect(tunnel.requests).toHaveLength(0);
  });
});

function utf8(text: string): string {
  return Buffer.from(text).toString("latin1");
}

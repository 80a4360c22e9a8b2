import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { fieldValues, type RawAnswer } from "../support/raw-visitor.ts";
import { rawFields, TunnelledService } from "../support/tunnelled-service.ts";

const ALL_LATIN1 = Array.from({ length: 96 }, (_, i) => String.fromCharCode(160 + i)).join("");
const BIG_FIELD = "v".repeat(24 * 1024);

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start();
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

type Expected = Partial<Pick<RawAnswer, "status" | "reason" | "fields" | "framing" | "trailers">> & {
  body?: string;
};

/** What the local service answers, and what the visitor gets of it on a connection that stays. */
const ANSWERS: [name: string, method: string, answer: string, expected: Expected][] = [
  [
    "a body by length",
    "GET",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    { status: 200, reason: "OK", fields: rawFields("Content-Length: 5"), framing: "length", body: "hello" },
  ],
  [
    "an empty body by length",
    "GET",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    { status: 404, fields: rawFields("Content-Length: 0"), framing: "length", body: "" },
  ],
  [
    "a body in chunks, its extensions dropped",
    "GET",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    { framing: "chunked", body: "hello world", trailers: [] },
  ],
  [
    "an empty body in chunks",
    "GET",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    { body: "", trailers: [] },
  ],
  [
    "trailers behind the body",
    "GET",
    "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" +
      `2\r\nok\r\n0\r\nX-Sum: 7\r\nx-text: ${ALL_LATIN1}\r\n\r\n`,
    {
      fields: rawFields("Trailer: X-Sum", "Transfer-Encoding: chunked"),
      body: "ok",
      trailers: rawFields("X-Sum: 7", `x-text: ${ALL_LATIN1}`),
    },
  ],
  [
    "a body that ends by close, in chunks",
    "GET",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    { fields: rawFields("Transfer-Encoding: chunked"), framing: "chunked", body: "until the end" },
  ],
  [
    "a body of HTTP/1.0",
    "GET",
    "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold",
    { status: 200, fields: rawFields("Server: old", "Transfer-Encoding: chunked"), body: "old" },
  ],
  [
    "HEAD with a length and no body",
    "HEAD",
    "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
    { fields: rawFields("Content-Length: 12345"), framing: "none" },
  ],
  ["HEAD without a length", "HEAD", 'HTTP/1.1 200 OK\r\nETag: "a"\r\n\r\n', { status: 200, framing: "none" }],
  [
    "204",
    "DELETE",
    "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",
    { status: 204, fields: rawFields("X: 1"), framing: "none" },
  ],
  [
    "304 with a length",
    "GET",
    'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n',
    { status: 304, fields: rawFields('ETag: "a"', "Content-Length: 99"), framing: "none" },
  ],
  ["an empty reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", { status: 200, reason: "" }],
  [
    "an odd status and reason",
    "GET",
    "HTTP/1.1 599 Caf\xe9 au lait\r\nContent-Length: 0\r\n\r\n",
    { status: 599, reason: "Caf\xe9 au lait" },
  ],
  [
    "fields with order, case, repeats, empty values and Latin-1",
    "GET",
    `HTTP/1.1 200 OK\r\nzz: 1\r\nSet-Cookie: a=1; Path=/\r\nAa:\r\nset-cookie: b=2\r\nX: ${ALL_LATIN1}\r\nzZ: 3\r\n` +
      "Content-Length: 0\r\n\r\n",
    {
      fields: rawFields(
        "zz: 1",
        "Set-Cookie: a=1; Path=/",
        "Aa:",
        "set-cookie: b=2",
        `X: ${ALL_LATIN1}`,
        "zZ: 3",
        "Content-Length: 0",
      ),
    },
  ],
  [
    "Latin-1 in a Content-Disposition",
    "GET",
    `HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Disposition: attachment; filename="${ALL_LATIN1}"\r\n\r\nx`,
    { fields: rawFields("Content-Length: 1", `Content-Disposition: attachment; filename="${ALL_LATIN1}"`) },
  ],
  [
    "a head of 24 KiB",
    "GET",
    `HTTP/1.1 200 OK\r\nX-Big: ${BIG_FIELD}\r\nContent-Length: 0\r\n\r\n`,
    { fields: rawFields(`X-Big: ${BIG_FIELD}`, "Content-Length: 0") },
  ],
  [
    "100 fields",
    "GET",
    `HTTP/1.1 200 OK\r\n${Array.from({ length: 99 }, (_, i) => `X-${i}: ${i}\r\n`).join("")}Content-Length: 0\r\n\r\n`,
    { fields: [...Array.from({ length: 99 }, (_, i) => [`X-${i}`, `${i}`]).flat(), "Content-Length", "0"] },
  ],
  [
    "no hop-by-hop fields, nor those that Connection names",
    "GET",
    "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n" +
      "Upgrade: h2c\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n",
    { fields: rawFields("X-End: 2", "Content-Length: 0") },
  ],
  [
    "a redirect untouched",
    "GET",
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:3000/login?next=%2F\r\nContent-Length: 0\r\n\r\n",
    { fields: rawFields("Location: http://127.0.0.1:3000/login?next=%2F", "Content-Length: 0") },
  ],
  [
    "a part untouched",
    "GET",
    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab",
    { status: 206, fields: rawFields("Content-Range: bytes 0-1/9", "Content-Length: 2"), body: "ab" },
  ],
  [
    "compressed bytes untouched",
    "GET",
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    { fields: rawFields("Content-Encoding: gzip", "Content-Length: 4"), body: "\x1f\x8b\x08\x00" },
  ],
  [
    "a date that the service did not set is not added",
    "GET",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    {
      fields: rawFields("Content-Length: 0"),
    },
  ],
];

describe("what a visitor gets", () => {
  test.each(ANSWERS)("%s", async (_, method, answer, expected) => {
    tunnel.serve(async ({ connection, fields }) => {
      await connection.send(
        fields.includes("next") ? "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext" : answer,
      );
      if (/^HTTP\/1\.0|\r\nConnection: close\r\n/.test(answer)) connection.close();
    });
    const visitor = await tunnel.send(`${method} / HTTP/1.1\r\nHost: app.localhost\r\n\r\n`);
    const { body, fields, ...rest } = await visitor.answer(method);
    expect({ ...rest, body: body.toString("latin1"), fields: withoutKeepAlive(fields) }).toMatchObject(
      expected,
    );

    // Were the answer's end in the wrong place, this one would not stand where it should.
    visitor.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nX-Case: next\r\n\r\n");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("no chunks in HTTP/1.0: the end of the connection ends the body", async () => {
    tunnel.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    const visitor = await tunnel.send(
      "GET / HTTP/1.0\r\nHost: app.localhost\r\nConnection: keep-alive\r\n\r\n",
    );
    const answer = await visitor.answer();
    expect(answer).toMatchObject({ status: 200, framing: "close" });
    expect(answer.body.toString()).toBe("hello");
  });

  test("the close of its connection when it asked for that", async () => {
    tunnel.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const visitor = await tunnel.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n");
    expect(fieldValues((await visitor.answer()).fields, "connection")).toEqual(["close"]);
    expect(await visitor.ended).toBe("fin");
  });
});

/** What the server says of its own connection with the visitor. */
function withoutKeepAlive(fields: string[]): string[] {
  return fields.filter((_, i) => {
    const name = fields[i - (i % 2)]!.toLowerCase();
    return name !== "connection" && name !== "keep-alive";
  });
}

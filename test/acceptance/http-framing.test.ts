import { once } from "node:events";
import { createServer, request as sendRequest, type IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { describe, expect } from "vitest";
import { Cut, fieldValues, rawFields, type RawAnswer } from "../support/raw-visitor.ts";
import { acceptance, whole } from "./acceptance.ts";
import {
  ALL_LATIN1,
  chunked,
  CLOSE,
  expectInStep,
  forwarded,
  FORWARDED,
  forwardedWithBody,
  get,
  HOST,
  KEEP_ALIVE,
  ok,
  request,
  withoutKeepAlive,
} from "./messages.ts";
import type { ReceivedBody } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";

const KIB = 1024;
const CHUNKED = "Transfer-Encoding: chunked";
/** Beyond what a signed number of 32 bits can count. */
const HUGE = 2 ** 31 + 1;
const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
/** Around what one read, one chunk of the link and one window hold. */
const SIZES = [1, 2, 1_460, 4_095, 16_384, 65_535, 65_536, 65_537, 262_144, 262_145, 1_000_003];

/** Bytes that differ wherever one looks, and hold every value. */
function pattern(bytes: number): string {
  return Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) & 0xff)).toString("latin1");
}

interface Seen {
  line?: string;
  fields?: string[];
  framing?: ReceivedBody["framing"];
  body?: string;
  trailers?: string[];
}

describe("a request's body", () => {
  acceptance.for<[name: string, sent: string, seen: Seen]>([
    ...["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"].map((method): [string, string, Seen] => [
      `there is none of ${method}: nothing is said of it`,
      request(`${method} /`),
      { line: `${method} / HTTP/1.1`, fields: forwarded(HOST), framing: "none" },
    ]),
    [
      "there is none of POST: a length of 0 says so",
      request("POST /"),
      { fields: rawFields(HOST, ...FORWARDED, KEEP_ALIVE, "Content-Length: 0"), framing: "length" },
    ],
    [
      "by length keeps its length",
      request("POST /x", ["Content-Length: 3"], "abc"),
      { line: "POST /x HTTP/1.1", fields: forwardedWithBody(HOST, "Content-Length: 3"), body: "abc" },
    ],
    [
      "of length 0 keeps that, of GET too",
      get("/", "Content-Length: 0"),
      { fields: forwarded(HOST, "Content-Length: 0"), framing: "length", body: "" },
    ],
    ["of GET by length is kept", request("GET /", ["Content-Length: 5"], "hello"), { body: "hello" }],
    ["of GET in chunks is kept", request("GET /", [CHUNKED], chunked("hello")), { body: "hello" }],
    ["of DELETE by length is kept", request("DELETE /", ["Content-Length: 2"], "id"), { body: "id" }],
    ["of OPTIONS in chunks is kept", request("OPTIONS *", [CHUNKED], chunked("{}")), { body: "{}" }],
    [
      "in chunks goes in chunks, said once",
      request("POST /", ["transfer-encoding: Chunked"], chunked("hello", " world")),
      {
        fields: rawFields(HOST, ...FORWARDED, CLOSE, CHUNKED),
        framing: "chunked",
        body: "hello world",
        trailers: [],
      },
    ],
    [
      "in chunks loses their extensions",
      request("POST /", [CHUNKED], '5;name=value\r\nhello\r\n6;a;b="c";d\r\n world\r\n0;last\r\n\r\n'),
      { framing: "chunked", body: "hello world" },
    ],
    [
      "in chunks whose sizes are spelled oddly",
      request("POST /", [CHUNKED], "00000005\r\nhello\r\nA\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n"),
      { body: "hello01234567890123456789" },
    ],
    [
      "in chunks and empty is an empty one",
      request("PUT /", [CHUNKED], chunked()),
      { body: "", trailers: [] },
    ],
    [
      "in a thousand chunks of a byte",
      request("POST /", [CHUNKED], chunked(...Array<string>(1_000).fill("x"))),
      { body: "x".repeat(1_000) },
    ],
    [
      "that looks like chunks and goes by length",
      request("POST /", ["Content-Length: 10"], "5\r\nhello\r\n"),
      { body: "5\r\nhello\r\n" },
    ],
    [
      "that looks like a last chunk, in a chunk",
      request("POST /", [CHUNKED], chunked("0\r\n\r\n", HIDDEN)),
      { body: `0\r\n\r\n${HIDDEN}` },
    ],
    [
      "that looks like a request, by length",
      request("POST /", [`Content-Length: ${HIDDEN.length}`], HIDDEN),
      { body: HIDDEN },
    ],
    [
      "has its trailers behind it, and not among the fields",
      request(
        "POST /",
        ["Trailer: X-Sum", CHUNKED],
        chunked("abc").slice(0, -2) + `X-Sum: 99\r\nx-text: ${ALL_LATIN1}\r\nX-SUM: 98\r\nX-Empty: \r\n\r\n`,
      ),
      {
        fields: rawFields(HOST, "Trailer: X-Sum", ...FORWARDED, CLOSE, CHUNKED),
        body: "abc",
        trailers: rawFields("X-Sum: 99", `x-text: ${ALL_LATIN1}`, "X-SUM: 98", "X-Empty: "),
      },
    ],
    [
      "has trailers that nobody announced",
      request("POST /", [CHUNKED], `${chunked("abc").slice(0, -2)}X-Sum: 1\r\n\r\n`),
      { body: "abc", trailers: rawFields("X-Sum: 1") },
    ],
    [
      "has no trailers about the connection or about forwarding",
      request(
        "POST /",
        [CHUNKED],
        chunked("a").slice(0, -2) +
          "X-Forwarded-For: 203.0.113.9\r\nKeep-Alive: timeout=5\r\nX-Sum: 1\r\nTE: x\r\n\r\n",
      ),
      { trailers: rawFields("X-Sum: 1") },
    ],
    [
      "behind blank lines ahead of the request",
      `\r\n\r\n${request("POST /after", ["Content-Length: 1"], "x")}`,
      { line: "POST /after HTTP/1.1", body: "x" },
    ],
  ])("%s", async ([, sent, seen], { tunnel }) => {
    expect(await whatArrives(tunnel, sent)).toMatchObject(seen);
  });

  acceptance.for(SIZES)("of %d bytes arrives whole, by length and in chunks", async (size, { tunnel }) => {
    const body = pattern(size);
    const byLength = await whatArrives(tunnel, request("POST /", [`Content-Length: ${size}`], body));
    expect(byLength.body === body).toBe(true);
    tunnel.backend.requests = [];
    const pieces = body.match(/[^]{1,5000}/g)!;
    const inChunks = await whatArrives(tunnel, request("POST /", [CHUNKED], chunked(...pieces)));
    expect(inChunks.framing).toBe("chunked");
    expect(inChunks.body === body).toBe(true);
  });

  acceptance.for([
    ["by length", ["Content-Length: 5"], "hello"],
    ["in chunks", [CHUNKED], `${chunked("he", "llo").slice(0, -2)}X-Sum: 1\r\n\r\n`],
  ] as const)("%s may come byte by byte, as may its head", async ([, fields, body], { tunnel }) => {
    tunnel.backend.serve(async (each) => each.connection.send(ok((await each.body()).bytes.toString())));
    const visitor = await tunnel.visitor();
    const mark = Object.entries(tunnel.mark()).map(([name, value]) => `${name}: ${value}`);
    for (const byte of request("POST /", [...fields, ...mark], body)) {
      await new Promise((resolve) => visitor.socket.write(Buffer.from(byte, "latin1"), resolve));
    }
    expect((await visitor.answer()).body.toString()).toBe("hello");
    await expectInStep(tunnel, visitor);
  });

  acceptance.for<[name: string, sent: string, status: number]>([
    ["two lengths that differ", request("POST /", ["Content-Length: 1", "Content-Length: 2"], "ab"), 400],
    ["two lengths that agree", request("POST /", ["Content-Length: 2", "Content-Length: 2"], "ab"), 400],
    ["a list of lengths", request("POST /", ["Content-Length: 2, 2"], "ab"), 400],
    ["a negative length", request("POST /", ["Content-Length: -2"], "ab"), 400],
    ["a length with a sign", request("POST /", ["Content-Length: +2"], "ab"), 400],
    ["a length in hexadecimal", request("POST /", ["Content-Length: 0x2"], "ab"), 400],
    ["a length beyond all numbers", request("POST /", [`Content-Length: ${"9".repeat(30)}`], "ab"), 400],
    ["an empty length", request("POST /", ["Content-Length: "], ""), 400],
    ["length and chunks", request("POST /", ["Content-Length: 1", CHUNKED], chunked("a")), 400],
    ["chunks twice", request("POST /", [CHUNKED, CHUNKED], chunked("a")), 400],
    [
      "chunks before another coding",
      request("POST /", ["Transfer-Encoding: chunked, gzip"], chunked("a")),
      400,
    ],
    ["a coding that is none", request("POST /", ["Transfer-Encoding: identity"], ""), 400],
    [
      "an unknown coding in chunks",
      request("POST /", ["Transfer-Encoding: gzip, chunked"], chunked("a")),
      501,
    ],
    ["chunks in HTTP/1.0", `POST / HTTP/1.0\r\n${HOST}\r\n${CHUNKED}\r\n\r\n${chunked("a")}`, 400],
  ])("framed by %s is refused by the edge", async ([, sent, status], { tunnel }) => {
    const visitor = await tunnel.request(sent);
    expect((await visitor.answer()).status).toBe(status);
    expect(await visitor.ended).toBe("fin");
    expect(tunnel.backend.requests).toEqual([]);
  });

  acceptance.for([
    ["a size that is no number", "xyz\r\nabc\r\n0\r\n\r\n"],
    ["a negative size", "-1\r\nabc\r\n0\r\n\r\n"],
    ["a size beyond all numbers", `${"f".repeat(20)}\r\nabc\r\n`],
    ["a chunk longer than its size", "2\r\nabc\r\n0\r\n\r\n"],
    ["a chunk ended by LF alone", "3\r\nabc\n0\r\n\r\n"],
    ["a size ended by LF alone", "3\nabc\r\n0\r\n\r\n"],
    ["a space before a size", " 3\r\nabc\r\n0\r\n\r\n"],
    ["a trailer that is none", "3\r\nabc\r\n0\r\nX Y\r\n\r\n"],
    ["a trailer that would frame the body", "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"],
  ])("in chunks with %s is refused, and no end of it is made up", async ([, body], { tunnel }) => {
    // What came of the body before may have been passed on already; then it ends there, and not by a last chunk.
    tunnel.allow(/FIN within/);
    const visitor = await tunnel.request(request("POST /", [CHUNKED], body));
    expect((await visitor.answer()).status).toBe(400);
    expect(await visitor.ended).toBe("fin");
    for (const connection of tunnel.backend.connections) expect(connection.text).not.toContain("\r\n0\r\n");
  });
});

describe("an answer's body", () => {
  type Expected = Partial<Pick<RawAnswer, "status" | "reason" | "fields" | "framing" | "trailers">> & {
    body?: string;
  };

  acceptance.for<[name: string, method: string, answer: string, expected: Expected]>([
    [
      "by length keeps its length",
      "GET",
      ok("hello"),
      { status: 200, reason: "OK", fields: rawFields("Content-Length: 5"), framing: "length", body: "hello" },
    ],
    [
      "of length 0 keeps that",
      "GET",
      "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
      { status: 404, fields: rawFields("Content-Length: 0"), framing: "length", body: "" },
    ],
    [
      "in chunks goes in chunks, said once, their extensions dropped",
      "GET",
      `HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n006;c\r\n world\r\n0;d\r\n\r\n`,
      { fields: rawFields(CHUNKED), framing: "chunked", body: "hello world", trailers: [] },
    ],
    [
      "in chunks and empty is an empty one",
      "GET",
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n0\r\n\r\n`,
      { framing: "chunked", body: "", trailers: [] },
    ],
    [
      "has its trailers behind it, and not among the fields",
      "GET",
      `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n${CHUNKED}\r\n\r\n` +
        `2\r\nok\r\n0\r\nX-Sum: 7\r\nx-text: ${ALL_LATIN1}\r\nX-SUM: 8\r\n\r\n`,
      {
        fields: rawFields("Trailer: X-Sum", CHUNKED),
        body: "ok",
        trailers: rawFields("X-Sum: 7", `x-text: ${ALL_LATIN1}`, "X-SUM: 8"),
      },
    ],
    [
      "has trailers that nobody announced",
      "GET",
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${chunked("ok").slice(0, -2)}Grpc-Status: 0\r\n\r\n`,
      { fields: rawFields(CHUNKED), body: "ok", trailers: rawFields("Grpc-Status: 0") },
    ],
    [
      "has no trailers about the connection",
      "GET",
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${chunked("ok").slice(0, -2)}Connection: close\r\nX-Sum: 1\r\n\r\n`,
      { trailers: rawFields("X-Sum: 1") },
    ],
    [
      "that ends by close goes in chunks",
      "GET",
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
      { fields: rawFields(CHUNKED), framing: "chunked", body: "until the end" },
    ],
    [
      "that ends by close and is empty goes in chunks",
      "GET",
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
      { framing: "chunked", body: "" },
    ],
    [
      "of HTTP/1.0 goes in chunks",
      "GET",
      "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold",
      { status: 200, fields: rawFields("Server: old", CHUNKED), body: "old" },
    ],
    [
      "of HTTP/1.0 by length goes by length",
      "GET",
      "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
      { fields: rawFields("Content-Length: 3"), framing: "length", body: "old" },
    ],
    [
      "of HEAD is none, and its length stays",
      "HEAD",
      "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
      { fields: rawFields("Content-Length: 12345"), framing: "none" },
    ],
    [
      "of HEAD is none, and its length of 0 stays",
      "HEAD",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      { fields: rawFields("Content-Length: 0"), framing: "none" },
    ],
    [
      "of HEAD is none without a length",
      "HEAD",
      'HTTP/1.1 200 OK\r\nETag: "a"\r\n\r\n',
      { status: 200, framing: "none" },
    ],
    [
      "of HEAD is none in chunks",
      "HEAD",
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n`,
      { status: 200, framing: "none" },
    ],
    [
      "of 404 to HEAD is none",
      "HEAD",
      "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n",
      { status: 404, framing: "none" },
    ],
    [
      "of 204 is none",
      "DELETE",
      "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",
      { status: 204, fields: rawFields("X: 1"), framing: "none" },
    ],
    [
      "of 204 is none, nor is a length said",
      "GET",
      "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
      { status: 204, fields: [], framing: "none" },
    ],
    [
      "of 304 is none, and its length stays",
      "GET",
      'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n',
      { status: 304, fields: rawFields('ETag: "a"', "Content-Length: 99"), framing: "none" },
    ],
    [
      "of 304 is none without a length",
      "GET",
      'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
      { status: 304, fields: rawFields('ETag: "a"'), framing: "none" },
    ],
    [
      "of 304 is none in chunks",
      "GET",
      `HTTP/1.1 304 Not Modified\r\n${CHUNKED}\r\n\r\n`,
      { framing: "none" },
    ],
    [
      "of 205 is an empty one",
      "POST",
      "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
      { status: 205, body: "" },
    ],
    ["of 200 to TRACE is one", "TRACE", ok("TRACE / HTTP/1.1"), { body: "TRACE / HTTP/1.1" }],
    [
      "that looks like chunks and goes by length",
      "GET",
      ok("5\r\nhello\r\n0\r\n\r\n"),
      { body: "5\r\nhello\r\n0\r\n\r\n" },
    ],
    ["that looks like an answer", "GET", ok(ok("inner")), { body: ok("inner") }],
  ])("%s", async ([, method, answer, expected], { tunnel }) => {
    tunnel.backend.serve(async ({ connection }) => {
      await connection.send(answer);
      if (/^HTTP\/1\.0|\r\nConnection: close\r\n(?!X-Sum)/.test(answer)) connection.end();
    });
    const visitor = await tunnel.request(request(`${method} /`));
    const { body, fields, ...rest } = await visitor.answer(method);
    const arrived = { ...rest, body: body.toString("latin1"), fields: withoutKeepAlive(fields) };
    expect(arrived).toMatchObject(expected);
    // Were the answer's end in the wrong place, the next one would not stand where it should.
    await expectInStep(tunnel, visitor);
  });

  acceptance.for(SIZES)("of %d bytes arrives whole, however it is framed", async (size, { tunnel }) => {
    const body = pattern(size);
    const pieces = body.match(/[^]{1,5000}/g)!;
    const visitor = await tunnel.visitor();
    for (const answer of [
      ok(body),
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${chunked(...pieces)}`,
      `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${body}`,
    ]) {
      tunnel.backend.serve(async ({ connection }) => {
        await connection.send(answer);
        if (answer.includes("Connection: close")) connection.end();
      });
      visitor.request(get());
      expect((await visitor.answer()).body.toString("latin1") === body).toBe(true);
    }
    await expectInStep(tunnel, visitor);
  });

  acceptance.for<[name: string, answer: string]>([
    ["by length", "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"],
    ["in chunks", `HTTP/1.1 200 OK\r\nX-A: b\r\n${CHUNKED}\r\n\r\n${chunked("he", "llo")}`],
  ])("%s may come byte by byte, as may its head", async ([, answer], { tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(...answer.split("")));
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).body.toString()).toBe("hello");
    await expectInStep(tunnel, visitor);
  });
});

whole("a body of more than 2 GiB arrives whole, both ways", { timeout: 600_000 }, async ({ tunnel }) => {
  const server = createServer((incoming, response) => {
    const upload = countBytes(incoming);
    if (incoming.method === "POST") void upload.then((bytes) => response.end(String(bytes)));
    else void pipeline(piecesOf(HUGE), response.writeHead(200, { "Content-Length": HUGE }));
  });
  tunnel.backend.handOver(server);
  for (const method of ["GET", "POST"]) {
    const outgoing = sendRequest({
      ...tunnel.address,
      method,
      agent: false,
      headers: {
        Host: "app.localhost",
        ...tunnel.mark(),
        ...(method === "POST" && { "Content-Length": HUGE }),
      },
    });
    const answered = once(outgoing, "response") as Promise<[IncomingMessage]>;
    if (method === "POST") await pipeline(piecesOf(HUGE), outgoing);
    else outgoing.end();
    const [answer] = await answered;
    if (method === "POST") expect(await text(answer)).toBe(String(HUGE));
    else expect(await countBytes(answer)).toBe(HUGE);
  }
});

describe("a visitor of HTTP/1.0", () => {
  acceptance("has its request sent on as HTTP/1.1", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(`${old("POST /old", "Content-Length: 2")}hi`);
    expect((await visitor.answer()).status).toBe(200);
    const [seen] = tunnel.backend.requests;
    expect(seen!.line).toBe("POST /old HTTP/1.1");
    expect(seen!.fields).toEqual(forwardedWithBody(HOST, "Content-Length: 2"));
    expect((await seen!.body()).bytes.toString()).toBe("hi");
    expect(await visitor.ended).toBe("fin");
  });

  acceptance.for<[name: string, answer: string]>([
    [
      "in chunks, with trailers",
      `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${chunked("hello").slice(0, -2)}X-Sum: 1\r\n\r\n`,
    ],
    ["that ends by close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"],
    ["of HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello"],
  ])("gets no chunks of a body %s: the end of the connection ends it", async ([, answer], { tunnel }) => {
    for (const fields of [[], ["Connection: keep-alive"], ["TE: chunked", "Connection: TE"]]) {
      tunnel.backend.serve(async ({ connection }) => {
        await connection.send(answer);
        if (!answer.includes(CHUNKED)) connection.end();
      });
      const visitor = await tunnel.request(old("GET /", ...fields));
      const got = await visitor.answer();
      expect(got).toMatchObject({ status: 200, framing: "close" });
      expect(fieldValues(got.fields, "trailer")).toEqual([]);
      expect(got.body.toString()).toBe("hello");
    }
  });

  acceptance(
    "that asks to keep its connection alive does so while bodies have lengths",
    async ({ tunnel }) => {
      tunnel.backend.answer(ok("kept"));
      const visitor = await tunnel.visitor();
      for (let i = 0; i < 3; i++) {
        visitor.request(old(`GET /${i}`, "Connection: keep-alive"));
        const answer = await visitor.answer();
        expect(answer.body.toString()).toBe("kept");
        expect(fieldValues(answer.fields, "connection").join().toLowerCase()).toBe("keep-alive");
      }
      visitor.request(old("GET /last"));
      expect((await visitor.answer()).body.toString()).toBe("kept");
      expect(await visitor.ended).toBe("fin");
    },
  );

  acceptance("sees a body without a length that is cut short as a reset", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(old("GET /"));
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
    await visitor.head();
    await visitor.bytes(5);
    connection.reset();
    expect(await visitor.ended).toBe("rst");
  });

  acceptance("sees a body in chunks that is cut short as a reset", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(old("GET /"));
    const { connection } = await arrived;
    await connection.send(`HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n5\r\nhello\r\n`);
    await visitor.head();
    await visitor.bytes(5);
    connection.end();
    expect(await visitor.ended).toBe("rst");
  });

  acceptance("needs no Host, and then has the server's own domain", async ({ tunnel }) => {
    const visitor = await tunnel.request("GET / HTTP/1.0\r\nX: 1\r\n\r\n");
    expect((await visitor.answer()).status).toBe(404);
    expect(await visitor.ended).toBe("fin");
  });

  acceptance("has no Expect, which came with HTTP/1.1", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(`${old("POST /", "Expect: 100-continue", "Content-Length: 1")}x`);
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [] });
    expect(tunnel.backend.requests[0]!.fields).toEqual(forwardedWithBody(HOST, "Content-Length: 1"));
  });
});

describe("a body cut short by the local service is a visible cut", () => {
  acceptance.for<[name: string, head: string, part: string]>([
    ["by length", "Content-Length: 10", "hello"],
    ["by length, before its first byte", "Content-Length: 10", ""],
    ["by length, before its last byte", `Content-Length: ${100 * KIB}`, "x".repeat(100 * KIB - 1)],
    ["in chunks", CHUNKED, "5\r\nhello\r\n"],
    ["in chunks, before the first", CHUNKED, ""],
    ["in chunks, within one", CHUNKED, "ff\r\nhello"],
    ["in chunks, within the last one", CHUNKED, "5\r\nhello\r\n0\r\n"],
    ["in chunks, within the trailers", CHUNKED, "5\r\nhello\r\n0\r\nX-Sum: 1\r\n"],
  ])("%s", async ([, head, part], { tunnel }) => {
    for (const way of ["end", "reset"] as const) {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get());
      const { connection } = await arrived;
      await connection.send(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${part}`);
      expect((await visitor.head()).status).toBe(200);
      connection[way]();
      const { text } = await visitor.rest();
      expect(text).not.toMatch(/(?:^|\r\n)0\r\n/);
      expect(text.length).toBeLessThanOrEqual(part.length + 100);
    }
  });

  acceptance("as a visitor reads it: an error, and no answer", async ({ tunnel }) => {
    tunnel.backend.serve(async ({ connection }) => {
      await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
      connection.end();
    });
    const visitor = await tunnel.request(get());
    const error = await visitor.answer().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Cut);
    expect((error as Cut).partial).toContain("hello");
  });
});

/** Sends one request, answers it, and says what the local service has seen. */
async function whatArrives(tunnel: Tunnel, sent: string): Promise<Required<Seen>> {
  let body: ReceivedBody | undefined;
  tunnel.backend.serve(async (each) => {
    body = await each.body();
    await each.connection.send(each.method === "HEAD" ? "HTTP/1.1 200 OK\r\n\r\n" : ok("ok"));
  });
  const visitor = await tunnel.request(sent);
  expect((await visitor.answer(sent.trim().split(" ")[0])).status).toBe(200);
  const { line, fields } = tunnel.backend.requests[0]!;
  await expectInStep(tunnel, visitor);
  expect(tunnel.backend.requests).toHaveLength(2);
  const { framing, bytes, trailers } = body!;
  return { line, fields, framing, body: bytes.toString("latin1"), trailers };
}

/** A request of HTTP/1.0. */
function old(start: string, ...fields: string[]): string {
  return `${start} HTTP/1.0\r\n${[HOST, ...fields].join("\r\n")}\r\n\r\n`;
}

/** So many bytes, in pieces of a MiB. */
function* piecesOf(bytes: number): Generator<Buffer> {
  const piece = Buffer.alloc(1024 * KIB, "x");
  for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, left);
}

async function countBytes(body: Readable): Promise<number> {
  let bytes = 0;
  for await (const chunk of body) bytes += (chunk as Buffer).length;
  return bytes;
}

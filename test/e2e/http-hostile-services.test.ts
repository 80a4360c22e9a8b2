import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Cut, type RawVisitor } from "../support/raw-visitor.ts";
import type { RawConnection } from "../support/raw-backend.ts";
import { TunnelledService } from "../support/tunnelled-service.ts";

const GET = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start();
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

type Deed = string | ((connection: RawConnection) => Promise<void> | void);

/** What comes before any body, so that the visitor can be told. */
const BEFORE_THE_HEAD: [name: string, deed: Deed][] = [
  ["garbage", "\x00\xff garbage\r\n\r\n"],
  ["another protocol's greeting", "220 mail.example ESMTP\r\n"],
  ["nothing, and closes", (connection) => connection.end()],
  ["nothing, and resets", (connection) => connection.reset()],
  [
    "half a head, and closes",
    async (connection) => {
      await connection.send("HTTP/1.1 200 OK\r\nContent-");
      connection.end();
    },
  ],
  [
    "half a head, and resets",
    async (connection) => {
      await connection.send("HTTP/1.1 200 OK\r\nContent-");
      connection.reset();
    },
  ],
  ["status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"],
  ["status 000", "HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n"],
  ["status 600", "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n"],
  ["status 1000", "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"],
  ["a control byte in a field", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n"],
  ["NUL in a field", "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"],
  ["DEL in a field", "HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n"],
  ["a bare CR in a field", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"],
  ["a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
  [
    "length and chunks",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"],
  ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  ["an unasked 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
  ["a head of a megabyte", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(1024 * 1024)}\r\n\r\n`],
  ["a thousand interim answers", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)],
];

/** What breaks off within a body. */
const WITHIN_THE_BODY: [name: string, head: string, part: string][] = [
  ["a body shorter than its length", "Content-Length: 10", "short"],
  ["chunks without the last one", "Transfer-Encoding: chunked", "5\r\nshort\r\n"],
  ["a chunk cut short", "Transfer-Encoding: chunked", "ff\r\nshort"],
  ["an odd chunk size", "Transfer-Encoding: chunked", "5\r\nshort\r\nxyz\r\n"],
  ["a negative chunk size", "Transfer-Encoding: chunked", "5\r\nshort\r\n-1\r\n"],
  ["trailers that are none", "Transfer-Encoding: chunked", "5\r\nshort\r\n0\r\nX Y\r\n\r\n"],
];

describe("a local service that answers nonsense costs one visitor a 502", () => {
  test.each(BEFORE_THE_HEAD)("%s", async (_, deed) => {
    tunnel.serve(({ connection }) => (typeof deed === "string" ? connection.send(deed) : deed(connection)));
    const visitor = await tunnel.send(GET);
    const answer = await visitor.answer();
    expect(answer.status).toBe(502);
    await expectServed(visitor);
  });
});

describe("a local service that breaks off within a body is visibly cut", () => {
  test.each(WITHIN_THE_BODY)("%s", async (_, head, part) => {
    tunnel.serve(async ({ connection }) => {
      await connection.send(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${part}`);
      connection.end();
    });
    const visitor = await tunnel.send(GET);
    await expect(visitor.answer()).rejects.toBeInstanceOf(Cut);
    await expectServed(await tunnel.visitor());
  });
});

test("what a service says beyond its body answers nobody", async () => {
  tunnel.serve(async ({ connection }) => {
    await connection.send(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`);
  });
  const visitor = await tunnel.send(GET, GET, GET);
  for (let i = 0; i < 3; i++) expect((await visitor.answer()).body.toString()).toBe("ok");
});

test("the page for a service that is not there carries the request id of both logs", async () => {
  await using gone = await TunnelledService.start();
  await gone.backend[Symbol.asyncDispose]();
  const { status, text } = await gone.world.visit("/", { headers: { Accept: "application/json" } });
  const { error } = JSON.parse(text) as { error: { status: number; code: string; requestId: string } };
  expect({ status, error }).toMatchObject({ status: 502, error: { status: 502, code: "REFUSED" } });
  expect(await gone.world.logged("client", "request failed")).toMatchObject({ requestId: error.requestId });
  expect(await gone.world.logged("server", "request")).toMatchObject({
    requestId: error.requestId,
    status: 502,
  });
});

/** This visitor, or another one, is served. */
async function expectServed(visitor: RawVisitor): Promise<void> {
  tunnel.answer(OK);
  visitor.send(GET);
  expect((await visitor.answer()).body.toString()).toBe("ok");
}

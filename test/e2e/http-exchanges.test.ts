import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Cut } from "../support/raw-visitor.ts";
import { TunnelledService, type ServiceRequest } from "../support/tunnelled-service.ts";

const MIB = 1024 * 1024;
const GET = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start("auto");
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: app.localhost\r\n\r\n`;
}

function post(fields: string, body = ""): string {
  return `POST / HTTP/1.1\r\nHost: app.localhost\r\n${fields}\r\n\r\n${body}`;
}

function ok(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** Resolves with the next request that reaches the local service, which does nothing by itself. */
function nextRequest(): Promise<ServiceRequest> {
  return new Promise((resolve) => tunnel.serve((request) => resolve(request)));
}

describe("one connection of a visitor", () => {
  test("answers pipelined requests in their order, bodies and HEAD among them", async () => {
    tunnel.serve(async (request) => {
      const { bytes } = await request.body();
      const target = request.line.split(" ")[1]!;
      const answer = ok(`${target} ${bytes.toString()}`);
      await request.connection.send(
        request.line.startsWith("HEAD") ? answer.split("\r\n\r\n")[0] + "\r\n\r\n" : answer,
      );
    });
    const visitor = await tunnel.send(
      get("/1"),
      "POST /2 HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 3\r\n\r\nabc",
      "HEAD /3 HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
      "PUT /4 HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n",
      get("/5"),
    );
    expect((await visitor.answer()).body.toString()).toBe("/1 ");
    expect((await visitor.answer()).body.toString()).toBe("/2 abc");
    expect((await visitor.answer("HEAD")).framing).toBe("none");
    expect((await visitor.answer()).body.toString()).toBe("/4 xy");
    expect((await visitor.answer()).body.toString()).toBe("/5 ");
  });

  test("serves 100 requests, one behind another", async () => {
    tunnel.serve((request) => request.connection.send(ok(request.line)));
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 100; i++) {
      visitor.send(get(`/${i}`));
      expect((await visitor.answer()).body.toString()).toBe(`GET /${i} HTTP/1.1`);
    }
  });

  test("outlives the local service's connections", async () => {
    tunnel.serve(async ({ connection }) => {
      await connection.send(ok("last"));
      connection.end();
    });
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 5; i++) {
      visitor.send(GET);
      expect((await visitor.answer()).body.toString()).toBe("last");
    }
  });

  test("goes on behind a page of the server's own", async () => {
    tunnel.answer(ok("served"));
    const visitor = await tunnel.send("GET / HTTP/1.1\r\nHost: nowhere.localhost\r\n\r\n", GET);
    expect((await visitor.answer()).status).toBe(404);
    expect((await visitor.answer()).body.toString()).toBe("served");
  });
});

describe("Expect: 100-continue", () => {
  test("is answered by the local service, and the body comes behind its 100", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(post("Expect: 100-continue\r\nContent-Length: 5"));
    const request = await arrived;
    expect(request.fields).toContain("Expect");
    expect(request.connection.receivedBytes).toBe(request.connection.text.indexOf("\r\n\r\n") + 4);

    await request.connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    expect(await visitor.head()).toMatchObject({ status: 100 });
    visitor.send("hello");
    expect((await request.body()).bytes.toString()).toBe("hello");
    await request.connection.send(ok("thanks"));
    expect((await visitor.answer()).body.toString()).toBe("thanks");
  });

  test("refused is the final status alone", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(post("Expect: 100-continue\r\nContent-Length: 5"));
    await (await arrived).connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    const answer = await visitor.answer();
    expect(answer).toMatchObject({ status: 417, interims: [] });
    expect(answer.body.toString()).toBe("no");
  });

  test("does not hold a visitor back who sends at once", async () => {
    tunnel.serve(async (request) => {
      const { bytes } = await request.body();
      await request.connection.send(ok(bytes.toString()));
    });
    const visitor = await tunnel.send(post("Expect: 100-continue\r\nContent-Length: 5", "eager"));
    expect((await visitor.answer()).body.toString()).toBe("eager");
  });

  test("an unasked 100 is passed on, and nothing waits for it", async () => {
    tunnel.answer(`HTTP/1.1 100 Continue\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.send(post("Content-Length: 1", "x"), GET);
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [{ status: 100 }] });
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [{ status: 100 }] });
  });
});

describe("interim answers", () => {
  test("103 reaches the visitor before the final answer is there", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(GET);
    const { connection } = await arrived;
    for (const file of ["a", "b"]) {
      await connection.send(`HTTP/1.1 103 Early Hints\r\nLink: </${file}.css>; rel=preload\r\n\r\n`);
      const hint = await visitor.head();
      expect(hint).toMatchObject({ status: 103, fields: ["Link", `</${file}.css>; rel=preload`] });
    }
    await connection.send(ok("done"));
    expect((await visitor.answer()).body.toString()).toBe("done");
  });

  test("are kept from an HTTP/1.0 visitor", async () => {
    tunnel.answer(`HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.send("GET / HTTP/1.0\r\nHost: app.localhost\r\n\r\n");
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [] });
  });
});

describe("bodies and answers at once", () => {
  test("an answer reaches an uploader whose upload is unfinished, and the rest is taken", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(post("Content-Length: 10", "first"));
    const request = await arrived;
    await request.connection.send(ok("early"));
    expect((await visitor.answer()).body.toString()).toBe("early");
    visitor.send("later");
    expect((await request.body()).bytes.toString()).toBe("firstlater");
    // The connection is in step: the rest of the upload is no request.
    tunnel.answer(ok("next"));
    visitor.send(GET);
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("an uploader gets the refusal of a service that answers and closes", async () => {
    tunnel.serve(async ({ connection }) => {
      await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
      connection.end();
    });
    const visitor = await tunnel.send(post(`Content-Length: ${64 * MIB}`, "x".repeat(MIB)));
    const answer = await visitor.answer();
    expect(answer.status).toBe(413);
    expect(answer.body.toString()).toBe("big");
  });

  test("bytes go both ways while neither body has ended", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(post("Transfer-Encoding: chunked"));
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect((await visitor.head()).status).toBe(200);
    for (const word of ["one", "two", "three"]) {
      const chunk = `${word.length.toString(16)}\r\n${word}\r\n`;
      visitor.send(chunk);
      await connection.takeUntil(word);
      await connection.send(chunk);
      expect((await visitor.bytes(chunk.length)).toString()).toBe(chunk);
    }
    visitor.send("0\r\n\r\n");
    await connection.takeUntil("0\r\n\r\n");
    await connection.send("0\r\n\r\n");
    expect((await visitor.bytes(5)).toString()).toBe("0\r\n\r\n");
  });

  test("the head comes before the first byte of the body", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(GET);
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    expect((await visitor.head()).status).toBe(200);
    await connection.send("body");
    expect((await visitor.bytes(4)).toString()).toBe("body");
  });
});

describe("who leaves in the middle", () => {
  test("a visitor, while it waits: the local service's connection ends", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(GET);
    const { connection } = await arrived;
    visitor.abort();
    expect(await connection.untilClosed()).toBeDefined();
  });

  test("a visitor, in the middle of its upload: the local service sees no false end", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(post("Transfer-Encoding: chunked", "5\r\nhello\r\n"));
    const { connection } = await arrived;
    await connection.takeUntil("hello\r\n");
    visitor.abort();
    await connection.untilClosed();
    expect(connection.text).not.toContain("0\r\n\r\n");
  });

  test("a visitor, in the middle of an endless answer: the local service's connection ends", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(GET);
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    await visitor.head();
    visitor.abort();
    expect(await connection.untilClosed()).toBeDefined();
  });

  test.each([
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ["by length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"],
  ])("the local service, in a body %s: a visible cut", async (_, part) => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(GET);
    const { connection } = await arrived;
    await connection.send(part);
    connection.end();
    const error = await visitor.answer().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Cut);
    expect((error as Cut).partial).toContain("hello");
  });

  test("the local service, by a reset within a body that ends by close: a reset for HTTP/1.0 too", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send("GET / HTTP/1.0\r\nHost: app.localhost\r\n\r\n");
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
    await visitor.head();
    await visitor.bytes(5);
    connection.reset();
    expect(await visitor.ended).toBe("rst");
  });
});

test("what is sent twice reaches the local service twice, what is sent once never does", async () => {
  // A reused connection that the service closes as the next request comes.
  const methods: string[] = [];
  tunnel.serve(async ({ line, connection }) => {
    methods.push(line.split(" ")[0]!);
    if (methods.length % 2 === 1) await connection.send(ok("fine"));
    else connection.reset();
  });
  const visitor = await tunnel.send(GET);
  expect((await visitor.answer()).status).toBe(200);
  visitor.send(post("Content-Length: 1", "x"));
  expect((await visitor.answer()).status).toBe(502);
  expect(methods).toEqual(["GET", "POST"]);
});

test("a visitor that half-closes behind its request has left", async () => {
  const arrived = nextRequest();
  const visitor = await tunnel.send(GET);
  const { connection } = await arrived;
  visitor.end();
  await connection.untilClosed();
  expect(await visitor.rest()).toMatchObject({ text: "" });
});

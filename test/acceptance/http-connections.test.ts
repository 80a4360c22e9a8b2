import { describe, expect } from "vitest";
import { fieldValues } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, expectInStep, get, HOST, ok, request } from "./messages.ts";

const CHUNKED = "Transfer-Encoding: chunked";

describe("pipelined requests", () => {
  acceptance("are answered in their order, bodies and HEAD among them", async ({ tunnel }) => {
    tunnel.backend.serve(async ({ method, target, connection, body }) => {
      const answer = ok(`${target} ${(await body()).bytes.toString()}`);
      await connection.send(method === "HEAD" ? `${answer.split("\r\n\r\n")[0]}\r\n\r\n` : answer);
    });
    const visitor = await tunnel.request(
      get("/1"),
      request("POST /2", ["Content-Length: 3"], "abc"),
      request("HEAD /3"),
      request("PUT /4", [CHUNKED], chunked("xy")),
      get("/5"),
    );
    expect((await visitor.answer()).body.toString()).toBe("/1 ");
    expect((await visitor.answer()).body.toString()).toBe("/2 abc");
    expect((await visitor.answer("HEAD")).framing).toBe("none");
    expect((await visitor.answer()).body.toString()).toBe("/4 xy");
    expect((await visitor.answer()).body.toString()).toBe("/5 ");
    await expectInStep(tunnel, visitor);
  });

  acceptance(
    "wait for a slow one before them, and reach the local service one by one",
    async ({ tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(...Array.from({ length: 20 }, (_, i) => get(`/${i}`)));
      const { connection } = await arrived;
      const [other] = [await tunnel.visitor()];
      tunnel.backend.serve((each) => each.connection.send(ok(each.target)));
      other.request(get("/other"));
      expect((await other.answer()).body.toString()).toBe("/other");
      expect(tunnel.backend.requests.map(({ target }) => target)).toEqual(["/0", "/other"]);
      await connection.send(ok("/0"));
      for (let i = 0; i < 20; i++) expect((await visitor.answer()).body.toString()).toBe(`/${i}`);
      expect(tunnel.backend.requests.map(({ target }) => target).slice(2)).toEqual(
        Array.from({ length: 19 }, (_, i) => `/${i + 1}`),
      );
    },
  );

  acceptance("are all answered, 200 in one go", async ({ tunnel }) => {
    tunnel.backend.serve(({ target, connection }) => connection.send(ok(target)));
    const visitor = await tunnel.request(...Array.from({ length: 200 }, (_, i) => get(`/${i}`)));
    for (let i = 0; i < 200; i++) expect((await visitor.answer()).body.toString()).toBe(`/${i}`);
    await expectInStep(tunnel, visitor);
  });

  acceptance("behind one that asks for close get no answer, and are not sent on", async ({ tunnel }) => {
    tunnel.backend.serve(({ target, connection }) => connection.send(ok(target)));
    const visitor = await tunnel.request(get("/1"), get("/2", "Connection: close"), get("/3"));
    expect((await visitor.answer()).body.toString()).toBe("/1");
    expect((await visitor.answer()).body.toString()).toBe("/2");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    expect(tunnel.backend.requests.map(({ target }) => target)).toEqual(["/1", "/2"]);
  });

  acceptance(
    "before a malformed one are answered, it is refused, and those behind are not sent on",
    async ({ tunnel }) => {
      tunnel.backend.serve(({ target, connection }) => connection.send(ok(target)));
      const visitor = await tunnel.request(get("/1"), get("/2"), get("/3", "X Y: 1"), get("/4"));
      expect((await visitor.answer()).body.toString()).toBe("/1");
      expect((await visitor.answer()).body.toString()).toBe("/2");
      expect((await visitor.answer()).status).toBe(400);
      expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
      expect(tunnel.backend.requests.map(({ target }) => target)).toEqual(["/1", "/2"]);
    },
  );

  acceptance("behind an answer of the edge's own are served", async ({ tunnel }) => {
    tunnel.backend.answer(ok("served"));
    const visitor = await tunnel.request("GET / HTTP/1.1\r\nHost: nowhere.localhost\r\n\r\n", get());
    expect((await visitor.answer()).status).toBe(404);
    expect((await visitor.answer()).body.toString()).toBe("served");
  });

  acceptance("behind a 502 are served", async ({ tunnel }) => {
    tunnel.backend.serve(({ target, connection }) =>
      target === "/bad" ? connection.reset() : connection.send(ok(target)),
    );
    const visitor = await tunnel.request(get("/bad"), get("/1"), request("POST /bad"), get("/2"));
    expect((await visitor.answer()).status).toBe(502);
    expect((await visitor.answer()).body.toString()).toBe("/1");
    expect((await visitor.answer()).status).toBe(502);
    expect((await visitor.answer()).body.toString()).toBe("/2");
  });

  acceptance(
    "behind a body that is cut short have no answer that could be taken for the rest",
    async ({ tunnel }) => {
      tunnel.backend.serve(async ({ target, connection }) => {
        if (target !== "/cut") return connection.send(ok(target));
        await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        connection.end();
      });
      const visitor = await tunnel.request(get("/cut"), get("/1"));
      await visitor.head();
      expect((await visitor.rest()).text).toBe("hello");
    },
  );
});

describe("a visitor's connection", () => {
  acceptance("serves 200 requests, one behind another", async ({ tunnel }) => {
    tunnel.backend.serve(({ line, connection }) => connection.send(ok(line)));
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 200; i++) {
      visitor.request(get(`/${i}`));
      expect((await visitor.answer()).body.toString()).toBe(`GET /${i} HTTP/1.1`);
    }
  });

  acceptance.for<[name: string, connection: string, closes: boolean]>([
    ["in so many words", "Connection: close", true],
    ["among other options", "Connection: X-A, Close", true],
    ["in capitals", "connection: CLOSE", true],
    ["not, but to keep it alive", "Connection: keep-alive", false],
    ["not, but something like it", "Connection: closed", false],
  ])("ends behind the answer when the visitor asks for that: %s", async ([, field, closes], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(get("/", field));
    const answer = await visitor.answer();
    expect(answer.body.toString()).toBe("ok");
    expect(fieldValues(answer.fields, "connection")).toEqual([closes ? "close" : "keep-alive"]);
    if (closes) expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    else await expectInStep(tunnel, visitor);
  });

  acceptance("ends behind the answer to a POST whose visitor asked for that", async ({ tunnel }) => {
    tunnel.backend.serve(async (each) => each.connection.send(ok((await each.body()).bytes.toString())));
    const visitor = await tunnel.request(
      request("POST /", ["Connection: close", CHUNKED], chunked("a", "b")),
    );
    expect((await visitor.answer()).body.toString()).toBe("ab");
    expect(await visitor.ended).toBe("fin");
  });

  acceptance.for<[name: string, answer: string, way: "end" | "close" | "stay"]>([
    ["closes behind a body by length", ok("last"), "end"],
    ["closes behind a body in chunks", `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${chunked("last")}`, "end"],
    ["says close, and does", ok("last", "Connection: close"), "end"],
    ["says close, and stays", ok("last", "Connection: close"), "stay"],
    ["closes at once, with both its halves", ok("last"), "close"],
    ["speaks HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nlast", "end"],
    ["frames its bodies by close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nlast", "end"],
  ])("outlives those of a local service that %s", async ([, answer, way], { tunnel }) => {
    tunnel.backend.serve(async ({ connection }) => {
      await connection.send(answer);
      if (way !== "stay") connection[way]();
    });
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 10; i++) {
      visitor.request(get(`/${i}`));
      const got = await visitor.answer();
      expect([got.status, got.body.toString()]).toEqual([200, "last"]);
      expect(fieldValues(got.fields, "connection")).toEqual(["keep-alive"]);
    }
    expect(tunnel.backend.connections).toHaveLength(10);
  });

  acceptance(
    "that the visitor half-closes behind its request is one that it has left",
    async ({ tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get());
      const { connection } = await arrived;
      visitor.end();
      await connection.untilClosed();
      expect(await visitor.rest()).toMatchObject({ text: "" });
    },
  );
});

describe("who leaves in the middle", () => {
  acceptance.for(["abort", "close", "end"] as const)(
    "a visitor, while it waits (%s): the local service's connection ends",
    async (way, { tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get());
      const { connection } = await arrived;
      visitor[way]();
      expect(await connection.untilClosed()).toBeDefined();
    },
  );

  acceptance.for<[name: string, fields: string[], body: string]>([
    ["in chunks", [CHUNKED], "5\r\nhello\r\n"],
    ["in chunks, within one", [CHUNKED], "9\r\nhello"],
    ["by length", ["Content-Length: 10"], "hello"],
  ])(
    "a visitor, in the middle of its upload %s: the local service sees no false end",
    async ([, fields, body], { tunnel }) => {
      tunnel.allow(/FIN within/);
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(request("POST /", fields, body));
      const { connection } = await arrived;
      await connection.takeUntil("hello");
      visitor.abort();
      await connection.untilClosed();
      expect(connection.text).not.toContain("0\r\n\r\n");
      expect(connection.text).toMatch(/hello(?:\r\n)?$/);
    },
  );

  acceptance.for<[name: string, framing: string, part: string]>([
    ["in chunks", CHUNKED, "5\r\nhello\r\n"],
    ["by length", "Content-Length: 1000000", "hello"],
    ["by close", "Connection: close", "hello"],
  ])(
    "a visitor, in the middle of an answer %s: the local service's connection ends",
    async ([, framing, part], { tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get());
      const { connection } = await arrived;
      await connection.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n${part}`);
      await visitor.head();
      visitor.abort();
      expect(await connection.untilClosed()).toBeDefined();
    },
  );
});

describe("a reused connection to the local service", () => {
  /** One request, so that there is an idle connection. */
  acceptance("is used again while both ends keep it alive", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 10; i++) {
      visitor.request(get());
      expect((await visitor.answer()).status).toBe(200);
    }
    // It rests for a turn of the client's event loop first, in which the next request may come.
    expect(tunnel.backend.connections.length).toBeLessThanOrEqual(2);
  });

  acceptance.for<[name: string, way: "end" | "close" | "reset", start: string]>([
    ["ended as the next GET comes", "end", "GET /"],
    ["closed as the next GET comes", "close", "GET /"],
    ["reset as the next GET comes", "reset", "GET /"],
    ["reset as the next HEAD comes", "reset", "HEAD /"],
    ["reset as the next OPTIONS comes", "reset", "OPTIONS *"],
    ["closed as the next DELETE comes", "close", "DELETE /"],
  ])("that is %s gives no 502: that request is sent again", async ([, way, start], { tunnel }) => {
    const used = new Set<unknown>();
    tunnel.backend.serve(async ({ connection }) => {
      if (used.has(connection)) return connection[way]();
      used.add(connection);
      await connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    });
    const visitor = await tunnel.visitor();
    for (let i = 0; i < 10; i++) {
      visitor.request(request(start));
      expect((await visitor.answer(start.split(" ")[0])).status).toBe(204);
    }
    expect(used.size).toBe(10);
  });

  acceptance.for<[name: string, start: string, fields: string[], body: string]>([
    ["POST without a body", "POST /", ["Content-Length: 0"], ""],
    ["POST by length", "POST /", ["Content-Length: 1"], "x"],
    ["POST in chunks", "POST /", [CHUNKED], chunked("x")],
    ["PATCH", "PATCH /", ["Content-Length: 1"], "x"],
    ["PROPPATCH", "PROPPATCH /", ["Content-Length: 1"], "x"],
  ])("never carries what must not be sent twice: %s", async ([, start, fields, body], { tunnel }) => {
    const seen: string[] = [];
    const used = new Set<unknown>();
    tunnel.backend.serve(async (each) => {
      seen.push(each.method);
      await each.body();
      if (used.has(each.connection) || each.method !== "GET") return each.connection.reset();
      used.add(each.connection);
      await each.connection.send(ok("fine"));
    });
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).status).toBe(200);
    visitor.request(request(start, fields, body));
    expect((await visitor.answer()).status).toBe(502);
    await expectInStep(tunnel, visitor);
    expect(seen).toEqual(["GET", start.split(" ")[0]]);
    const posted = tunnel.backend.requests.find(({ method }) => method !== "GET")!;
    expect(posted.connection).not.toBe([...used][0]);
  });

  acceptance("that fails within an answer is not given a second try", async ({ tunnel }) => {
    let requests = 0;
    tunnel.backend.serve(async ({ connection }) => {
      if (++requests === 1) return connection.send(ok("fine"));
      await connection.send("HTTP/1.1 200 OK\r\nContent-");
      connection.reset();
    });
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).status).toBe(200);
    visitor.request(get());
    expect((await visitor.answer()).status).toBe(502);
    expect(requests).toBe(2);
  });

  acceptance("that fails twice is a 502, and not tried a third time", async ({ tunnel }) => {
    let requests = 0;
    tunnel.backend.serve(({ connection }) =>
      ++requests === 1 ? connection.send(ok("fine")) : connection.reset(),
    );
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).status).toBe(200);
    visitor.request(get());
    expect((await visitor.answer()).status).toBe(502);
    expect(requests).toBe(3);
  });

  acceptance(
    "closed by the service at any moment behind its answer: none of 300 requests fails",
    async ({ tunnel }) => {
      let requests = 0;
      tunnel.backend.serve(async ({ connection }) => {
        const turns = requests++ % 12;
        await connection.send(ok("fine"));
        for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
        if (requests % 3 === 0) connection.reset();
        else connection.close();
      });
      const visitor = await tunnel.visitor();
      for (let i = 0; i < 300; i++) {
        visitor.request(i % 10 === 0 ? request("POST /", ["Content-Length: 2"], "ab") : get());
        expect((await visitor.answer()).status).toBe(200);
      }
    },
  );

  acceptance("whose service announced how long it stays is not used beyond that", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok", "Keep-Alive: timeout=1"));
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).status).toBe(200);
    await expectInStep(tunnel, visitor);
    expect(tunnel.backend.connections).toHaveLength(2);
  });

  acceptance("is not shared while an answer is on its way", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const slow = await tunnel.request(get("/slow"));
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nslow");
    await slow.head();
    const other = await tunnel.visitor();
    await expectInStep(tunnel, other);
    await connection.send("ness");
    expect((await slow.bytes(8)).toString()).toBe("slowness");
    expect(tunnel.backend.connections).toHaveLength(2);
    await expectInStep(tunnel, slow);
  });
});

describe("the host of a request", () => {
  acceptance.for<[name: string, head: string, status: number]>([
    ["has no tunnel", "GET / HTTP/1.1\r\nHost: other.localhost\r\n", 404],
    ["is the domain itself", "GET / HTTP/1.1\r\nHost: localhost\r\n", 404],
    ["is below the tunnel's", `GET / HTTP/1.1\r\nHost: x.app.localhost\r\n`, 404],
    ["is missing", "GET / HTTP/1.1\r\nX: 1\r\n", 400],
    ["is there twice", `GET / HTTP/1.1\r\n${HOST}\r\n${HOST}\r\n`, 400],
    ["is empty", "GET / HTTP/1.1\r\nHost: \r\n", 400],
    ["is a list", "GET / HTTP/1.1\r\nHost: app.localhost, app.localhost\r\n", 400],
    ["holds a path", "GET / HTTP/1.1\r\nHost: app.localhost/x\r\n", 400],
  ])("that %s is answered by the edge", async ([, head, status], { tunnel }) => {
    const visitor = await tunnel.request(`${head}\r\n`);
    expect((await visitor.answer()).status).toBe(status);
    expect(tunnel.backend.requests).toEqual([]);
  });
});

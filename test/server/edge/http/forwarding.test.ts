import { describe, expect, test } from "vitest";
import { fieldValue, fieldValues } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, post } from "./edge-under-test.ts";

describe("the request's fields", () => {
  test("keep their order, case, repeats, empty values and bytes", async () => {
    await using world = await EdgeUnderTest.start();
    const latin1 = Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i)).join("");
    const utf8 = Buffer.from("naïve 日本 🦆").toString("latin1");
    await world.send(
      get("/", `b: 1\r\nA: 2\r\nB:\r\na: ${latin1}\r\nCookie: x=1\r\nCookie: y=2\r\nZ: ${utf8}\r\n`),
    );
    const { head } = await world.route.next();
    expect(head.fields.slice(0, 16)).toEqual([
      "Host",
      "app.test",
      "b",
      "1",
      "A",
      "2",
      "B",
      "",
      "a",
      latin1,
      "Cookie",
      "x=1",
      "Cookie",
      "y=2",
      "Z",
      utf8,
    ]);
  });

  test("lose what is about the visitor's connection, and what Connection names", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(
      get(
        "/",
        "Connection: close, X-Hop\r\nX-Hop: 1\r\nconnection: x-other\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\n" +
          "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nTrailer: X\r\n" +
          "Upgrade: websocket\r\nHTTP2-Settings: AAMA\r\nX-End: 3\r\n",
      ),
    );
    const { head } = await world.route.next();
    expect(names(head.fields)).toEqual(["Host", "X-End", ...SET_HERE]);
  });

  test("keep what Connection may not name", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(
      post(
        "hello",
        "Connection: host, content-length, content-type, cache-control\r\nContent-Type: text/plain\r\n",
      ),
    );
    const { head } = await world.route.next();
    expect(names(head.fields)).toEqual(["Host", "Content-Length", "Content-Type", ...SET_HERE]);
  });

  test("say who the visitor is, whatever the visitor says", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(
      get(
        "/",
        "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\n" +
          "X-Forwarded-Prefix: /evil\r\n" +
          "X-Forwarded-Anything: 1\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\n" +
          "X-Forwarded_Proto: https\r\nX_Real_IP: 1.2.3.4\r\nConnection: X-Forwarded-For, Forwarded\r\n",
      ),
    );
    const { head } = await world.route.next();
    expect(head.fields).toEqual([
      "Host",
      "app.test",
      "X-Forwarded-For",
      "127.0.0.1",
      "X-Forwarded-Proto",
      "http",
      "X-Forwarded-Host",
      "app.test",
      "Forwarded",
      "for=127.0.0.1;host=app.test;proto=http",
      "X-Real-IP",
      "127.0.0.1",
    ]);
  });

  test("name the host with its port, quoted where it must be", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send("GET / HTTP/1.1\r\nHost: APP.test:8080\r\n\r\n");
    const visit = await world.route.next();
    expect(visit.values("host")).toEqual(["APP.test:8080"]);
    expect(visit.values("x-forwarded-host")).toEqual(["APP.test:8080"]);
    expect(visit.values("forwarded")).toEqual(['for=127.0.0.1;host="APP.test:8080";proto=http']);
  });

  test.each([
    ["GET http://app.test/a/b?c HTTP/1.1", "/a/b?c", "app.test"],
    ["GET HTTP://APP.TEST:80/a HTTP/1.1", "/a", "APP.TEST:80"],
    ["GET https://app.test HTTP/1.1", "/", "app.test"],
    ["GET http://app.test?x HTTP/1.1", "/?x", "app.test"],
    ["OPTIONS http://app.test HTTP/1.1", "*", "app.test"],
  ])("of an absolute target (%s) hold its host", async (line, target, host) => {
    await using world = await EdgeUnderTest.start();
    await world.send(`${line}\r\nHost: other.test\r\n\r\n`);
    const visit = await world.route.next();
    expect(visit.head.target).toBe(target);
    expect(visit.values("host")).toEqual([host]);
    expect(visit.values("x-forwarded-host")).toEqual([host]);
  });

  test("of an HTTP/1.0 request without Host hold the server's domain", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send("POST /old HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    const visit = await world.route.next();
    expect(visit.values("host")).toEqual(["app.test"]);
    expect(visit.values("expect")).toEqual([]);
  });
});

describe("the request's line", () => {
  test.each([
    "//",
    "/?",
    "/a/../b/./c",
    "/%2e%2F%zz",
    "/a?b?c=%00&d",
    `/${"x".repeat(8000)}`,
    "/a;b=c,d",
    "/'\"<>\\^`{|}",
  ])("has its target untouched: %s", async (target) => {
    await using world = await EdgeUnderTest.start();
    await world.send(get(target));
    expect((await world.route.next()).head.target).toBe(target);
  });

  test("may be OPTIONS *", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n");
    expect((await world.route.next()).head).toMatchObject({ method: "OPTIONS", target: "*" });
  });

  test.each([
    "GET",
    "HEAD",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "REPORT",
    "M-SEARCH",
    "PURGE",
  ])("may have the method %s", async (method) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(`${method} / HTTP/1.1\r\nHost: app.test\r\n\r\n`);
    const visit = await world.route.next();
    expect(visit.head.method).toBe(method);
    visit.respond(200);
    expect((await visitor.answer(method)).status).toBe(200);
  });
});

describe("the request's body", () => {
  test("of length 0 keeps its length, and opens the stream with its end", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(post(""));
    const visit = await world.route.next();
    expect(visit.request.end).toBe(true);
    expect(visit.values("content-length")).toEqual(["0"]);
  });

  test("in chunks is passed on as it comes, with its trailers behind it", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n",
    );
    const visit = await world.route.next();
    await visit.until(() => visit.writtenBytes === 5);
    expect(visit.ended).toBe(false);
    expect(visit.values("trailer")).toEqual(["X-Sum"]);
    visitor.send(
      "6\r\n world\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: x\r\n\r\n",
    );
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe("hello world");
    expect(visit.trailers).toBe("X-Sum: 1\r\nx-sum: 2\r\n");
  });

  test.each(["Connection: close", "CONNECTION: x", "Content-Length: 1", "Host: a", "Transfer_Encoding: x"])(
    "with the trailer %s is refused, since what follows could not be read",
    async (trailer) => {
      await using world = await EdgeUnderTest.start({ lingerMs: 50 });
      const visitor = await world.send(
        `POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${trailer}\r\n\r\n`,
      );
      expect((await visitor.answer()).status).toBe(400);
    },
  );

  test("of no length, in chunks, ends without trailers", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    const visit = await world.route.next();
    await visit.until(() => visit.ended);
    expect(visit.trailers).toBeUndefined();
    expect(visit.request.end).toBe(false);
  });
});

describe("the answer's fields", () => {
  test("keep their order, case, repeats, empty values and bytes", async () => {
    await using world = await EdgeUnderTest.start();
    const latin1 = Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i)).join("");
    const visitor = await world.send(get());
    const fields = `b: 1\r\nSet-Cookie: x=1\r\nA: 2\r\nset-cookie: y=2\r\nB: \r\na: ${latin1}\r\nDate: never\r\n`;
    (await world.route.next()).accepted(`HTTP/1.1 299 S\xfcper\r\nContent-Length: 0\r\n${fields}`).finish();
    const answer = await visitor.answer();
    expect(answer.reason).toBe("S\xfcper");
    expect(answer.fields.slice(0, 16)).toEqual([
      "Content-Length",
      "0",
      "b",
      "1",
      "Set-Cookie",
      "x=1",
      "A",
      "2",
      "set-cookie",
      "y=2",
      "B",
      "",
      "a",
      latin1,
      "Date",
      "never",
    ]);
  });

  test("have their bytes kept too where the head leaves before its body", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 \xe9\r\nX: \xfc\xe9\r\n");
    const head = await visitor.head();
    expect(head.reason).toBe("\xe9");
    expect(fieldValue(head.fields, "x")).toBe("\xfc\xe9");
  });

  test("have no Date, Server or other field of ours", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    (await world.route.next()).respond(200, "x");
    expect(names((await visitor.answer()).fields)).toEqual(["Content-Length", "Connection", "Keep-Alive"]);
  });

  test("lose what is about the local connection, and what Connection names", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    (await world.route.next()).respond(
      200,
      "x",
      "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Connection: close\r\n" +
        "Upgrade: h2c\r\nTrailer: X\r\nTE: x\r\nExpect: x\r\nX-End: 1\r\n",
    );
    const { fields } = await visitor.answer();
    expect(names(fields)).toEqual(["Content-Length", "X-End", "Connection", "Keep-Alive"]);
    expect(fieldValue(fields, "connection")).toBe("keep-alive");
  });

  test("may be 24 KiB long, and a hundred", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const fields = Array.from({ length: 100 }, (_, i) => `X-${i}: ${"v".repeat(240)}\r\n`).join("");
    (await world.route.next()).respond(200, "x", fields);
    expect(names((await visitor.answer()).fields).filter((name) => name.startsWith("X-"))).toHaveLength(100);
  });

  test.each([
    ["UTF-8", Buffer.from('attachment; filename="naïve 日本.txt"').toString("latin1")],
    ["Latin-1", 'attachment; filename="na\xefve.txt"'],
    ["every byte beyond ASCII", Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i)).join("")],
  ])("keep a Content-Disposition in %s behind a length, and before one", async (_, value) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const disposition = `Content-Disposition: ${value}\r\n`;
    const visit = await world.route.next();
    visit
      .accepted(`HTTP/1.1 200 OK\r\n${disposition}Content-Length: 1\r\n${disposition}${disposition}`)
      .data("x")
      .finish();
    const answer = await visitor.answer();
    expect(fieldValues(answer.fields, "content-disposition")).toEqual([value, value, value]);
  });
});

const SET_HERE = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP"];

function names(fields: string[]): string[] {
  return fields.filter((_, i) => i % 2 === 0);
}

test("a tunnel's host header takes the place of the visitor's, which stands in X-Forwarded-Host", async () => {
  await using world = await EdgeUnderTest.start();
  world.route.hostHeader = "127.0.0.1:3000";
  await world.send("GET / HTTP/1.1\r\nA: 1\r\nhOST: App.Test:80\r\nB: 2\r\n\r\n");
  const { fields } = (await world.route.next()).head;
  expect(fields.slice(0, 6)).toEqual(["A", "1", "hOST", "127.0.0.1:3000", "B", "2"]);
  expect(fields).toContain("App.Test:80");
  await world.send("GET / HTTP/1.0\r\n\r\n");
  expect((await world.route.next()).values("host")).toEqual(["127.0.0.1:3000"]);
});

describe("Destination, of MOVE and COPY,", () => {
  test.each<[destination: string, sent: string]>([
    ["http://app.test/b", "http://127.0.0.1:3000/b"],
    ["https://app.test/b%20c/?d", "http://127.0.0.1:3000/b%20c/?d"],
    ["HTTP://APP.test:80", "http://127.0.0.1:3000"],
    ["https://app.test:443/b", "http://127.0.0.1:3000/b"],
    ["http://app.test./b", "http://127.0.0.1:3000/b"],
    ["/b", "/b"],
    ["//app.test/b", "//app.test/b"],
    ["http://other.test/b", "http://other.test/b"],
    ["http://app.test.evil.test/b", "http://app.test.evil.test/b"],
    ["http://evil@app.test/b", "http://evil@app.test/b"],
    ["http://app.test:8080/b", "http://app.test:8080/b"],
    ["https://app.test:80/b", "https://app.test:80/b"],
    ["ftp://app.test/b", "ftp://app.test/b"],
    ["http:///b", "http:///b"],
    ["", ""],
  ])("follows host_header where it names the visitor's host: %j", async (destination, sent) => {
    await using world = await EdgeUnderTest.start();
    world.route.hostHeader = "127.0.0.1:3000";
    await world.send(`MOVE /a HTTP/1.1\r\nHost: app.test\r\nDestination: ${destination}\r\n\r\n`);
    expect((await world.route.next()).values("destination")).toEqual([sent]);
  });

  test("follows the port of the visitor's Host", async () => {
    await using world = await EdgeUnderTest.start();
    world.route.hostHeader = "nas";
    for (const [destination, sent] of [
      ["http://app.test:8080/b", "http://nas/b"],
      ["http://app.test/b", "http://app.test/b"],
    ]) {
      await world.send(`COPY /a HTTP/1.1\r\nHost: app.test:8080\r\nDestination: ${destination}\r\n\r\n`);
      expect((await world.route.next()).values("destination")).toEqual([sent]);
    }
  });

  test("has the scheme by which the service is asked, with a host_header or without", async () => {
    await using world = await EdgeUnderTest.start();
    world.route.scheme = "https";
    await world.send(`MOVE /a HTTP/1.1\r\nHost: app.test\r\nDestination: http://app.test/b\r\n\r\n`);
    expect((await world.route.next()).values("destination")).toEqual(["https://app.test/b"]);
    world.route.hostHeader = "nas.test";
    await world.send(`MOVE /a HTTP/1.1\r\nHost: app.test\r\nDestination: http://app.test/b\r\n\r\n`);
    expect((await world.route.next()).values("destination")).toEqual(["https://nas.test/b"]);
  });

  test("follows the host that a trusted proxy says the visitor asked for", async () => {
    await using world = await EdgeUnderTest.start({ trustedProxies: ["127.0.0.1"] });
    await world.send(move("https://shop.test/b"));
    expect((await world.route.next()).values("destination")).toEqual(["http://app.test/b"]);
    await world.send(move("https://app.test/b"));
    expect((await world.route.next()).values("destination")).toEqual(["https://app.test/b"]);
  });
});

/** By way of a proxy. */
function move(destination: string): string {
  return `MOVE /a HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Host: shop.test\r\nDestination: ${destination}\r\n\r\n`;
}

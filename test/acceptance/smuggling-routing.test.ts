import { describe, expect } from "vitest";
import { Cut, fieldValues } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import type { Tunnel } from "./tunnel.ts";
import { chunked, get, HOST, ok, request } from "./messages.ts";
import {
  answerWithTarget,
  expectOneRequest,
  expectOthersUnharmed,
  expectRefused,
  HIDDEN,
} from "./smuggling.ts";

describe("a Host that two readers would understand in two ways is refused", () => {
  acceptance.for<[name: string, fields: string]>([
    ["none", "X: y"],
    ["an empty one", "Host:"],
    ["one of spaces", "Host:   "],
    ["two that are equal", "Host: app.localhost\r\nHost: app.localhost"],
    ["two that differ", "Host: app.localhost\r\nHost: other.localhost"],
    ["two, the second in odd case", "Host: other.localhost\r\nhOsT: app.localhost"],
    ["two with other fields between", "Host: app.localhost\r\nX: y\r\nHost: other.localhost"],
    ["two, the second empty", "Host: app.localhost\r\nHost:"],
    ["a list", "Host: app.localhost, other.localhost"],
    ["a list without spaces", "Host: app.localhost,other.localhost"],
    ["two names", "Host: app.localhost other.localhost"],
    ["two names with a tab", "Host: app.localhost\tother.localhost"],
    ["user information", "Host: app.localhost@other.localhost"],
    ["user information before", "Host: other.localhost:80@app.localhost"],
    ["a path", "Host: app.localhost/x"],
    ["a path that is empty", "Host: app.localhost/"],
    ["a query", "Host: app.localhost?x"],
    ["a fragment", "Host: app.localhost#other.localhost"],
    ["a backslash", "Host: app.localhost\\other.localhost"],
    ["a scheme", "Host: http://app.localhost"],
    ["two slashes", "Host: //app.localhost"],
    ["a percent escape", "Host: app%2elocalhost"],
    ["a NUL", "Host: app.localhost\0"],
    ["a NUL and another name", "Host: app.localhost\0.other.localhost"],
    ["a vertical tab", "Host: \x0bapp.localhost"],
    ["a no-break space", "Host: \xa0app.localhost"],
    ["a byte order mark", "Host: \xef\xbb\xbfapp.localhost"],
    ["quotes", 'Host: "app.localhost"'],
    ["brackets", "Host: [app.localhost]"],
    ["braces", "Host: {app.localhost}"],
    ["a semicolon", "Host: app.localhost;other.localhost"],
    ["a bar", "Host: app.localhost|other"],
    ["a wildcard", "Host: *.localhost"],
    ["a star", "Host: *"],
    ["a dot at its beginning", "Host: .app.localhost"],
    ["two dots", "Host: app..localhost"],
    ["two dots at its end", "Host: app.localhost.."],
    ["a dot", "Host: ."],
    ["a port that is none", "Host: app.localhost:http"],
    ["a port with a sign", "Host: app.localhost:+80"],
    ["a port behind a space", "Host: app.localhost: 80"],
    ["two ports", "Host: app.localhost:80:80"],
    ["a port beyond all ports", "Host: app.localhost:65536"],
    ["a port of six digits", "Host: app.localhost:000080"],
    ["a port and a name", "Host: app.localhost:80.other.localhost"],
    ["a port and a path", "Host: app.localhost:80/x"],
    ["a colon alone", "Host: :80"],
    ["an unclosed IPv6 address", "Host: [::1"],
    ["an IPv6 address without brackets", "Host: ::1"],
    ["an IPv6 address with a zone", "Host: [fe80::1%25lo]"],
    ["an IPv6 address with a name behind", "Host: [::1]app.localhost"],
    ["letters beyond ASCII", "Host: \xc3\xa4pp.localhost"],
    ["a label of 64 letters", `Host: ${"a".repeat(64)}.localhost`],
    ["a name of 300 letters", `Host: ${"a.".repeat(145)}localhost`],
    ["a space before its colon", "Host : app.localhost"],
    ["a fold", "Host:\r\n app.localhost"],
    ["a fold behind", "Host: app.localhost\r\n other.localhost"],
    ["a space before its name", " Host: app.localhost"],
    ["a CR within", "Host: app.localhost\rHost: other.localhost"],
    ["a LF within", "Host: app.localhost\nHost: other.localhost"],
    ["__proto__ beside a colon", "Host: __proto__:__proto__"],
  ])("%s", ([, fields], { tunnel }) => expectRefused(tunnel, `GET / HTTP/1.1\r\n${fields}\r\n\r\n${HIDDEN}`));
});

describe("a target that is a whole URL", () => {
  acceptance.for<[target: string, host: string, arrives: string]>([
    ["http://app.localhost/x", "other.localhost", "/x"],
    ["http://app.localhost/x", "app.localhost", "/x"],
    ["HTTP://APP.LOCALHOST/x", "other.localhost", "/x"],
    [
      "http://app.localhost:80/x?y=http://other.localhost/",
      "nobody.localhost",
      "/x?y=http://other.localhost/",
    ],
    ["http://app.localhost", "other.localhost:8080", "/"],
    ["http://app.localhost?q", "other.localhost", "/?q"],
    ["https://app.localhost/x", "other.localhost", "/x"],
    ["http://app.localhost//other.localhost/x", "app.localhost", "//other.localhost/x"],
    ["http://app.localhost/http://other.localhost/", "app.localhost", "/http://other.localhost/"],
  ])("%s with the Host %s says itself where it goes", async ([target, host, arrives], { tunnel }) => {
    await expectOneRequest(tunnel, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, {
      target: arrives,
      body: "",
    });
    const authority = /^https?:\/\/([^/?]+)/i.exec(target)![1];
    const { fields } = tunnel.backend.requests[0]!;
    expect(fieldValues(fields, "host")).toEqual([authority]);
    expect(fieldValues(fields, "x-forwarded-host")).toEqual([authority]);
  });

  acceptance.for([
    "http://other.localhost/",
    "http://127.0.0.1/",
    "http://app.localhost.other.test/",
    "http://[::1]/",
  ])("%s does not go where its Host says", async (target, { tunnel }) => {
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(`GET ${target} HTTP/1.1\r\n${HOST}\r\n\r\n`);
    expect((await visitor.answer()).status).toBe(404);
    expect(tunnel.backend.requests).toEqual([]);
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[target: string]>([
    ["ftp://app.localhost/"],
    ["file:///etc/passwd"],
    ["javascript:alert(1)"],
    ["ws://app.localhost/"],
    ["app.localhost/"],
    ["http:app.localhost/"],
    ["http:/app.localhost/"],
    ["http:///app.localhost/"],
    ["http://"],
    ["http://@app.localhost/"],
    ["http://app.localhost@other.localhost/"],
    ["http://other.localhost@app.localhost/"],
    ["http://app.localhost:x/"],
    ["http://app.localhost:80:80/"],
    ["http://app.localhost\\other.localhost/"],
    ["http://app.localhost#/"],
    ["http://app.localhost,other.localhost/"],
    ["http://app%2elocalhost/"],
    ["http://[app.localhost]/"],
    ["http://*/"],
    ["/x#y"],
    ["*"],
    ["app.localhost:80"],
    ["?x"],
    ["x"],
    ["\\x"],
    ["/\x01"],
    ["/\xe9"],
    ["/\x7f"],
  ])("or %j is refused", ([target], { tunnel }) =>
    expectRefused(tunnel, `GET ${target} HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`),
  );
});

describe("a request with an Expect", () => {
  const LENGTH = `Content-Length: ${HIDDEN.length}`;

  acceptance.for<[name: string, fields: string[], body: string]>([
    ["and its body at once", ["Expect: 100-continue", LENGTH], HIDDEN],
    ["in odd case", ["eXPECT: 100-Continue", LENGTH], HIDDEN],
    ["in chunks", ["Expect: 100-continue", "Transfer-Encoding: chunked"], chunked(HIDDEN)],
    ["twice in a field", ["Expect: 100-continue, 100-continue", LENGTH], HIDDEN],
    ["in two fields", ["Expect: 100-continue", "Expect: 100-continue", LENGTH], HIDDEN],
    ["and an unknown one", ["Expect: 100-continue, x-hidden", LENGTH], HIDDEN],
    ["that nobody knows", ["Expect: x-hidden", LENGTH], HIDDEN],
    ["that is empty", ["Expect:", LENGTH], HIDDEN],
    ["that begins oddly", ["Expect: y 100-continue", LENGTH], HIDDEN],
    ["with a parameter", ["Expect: 100-continue;a=b", LENGTH], HIDDEN],
    ["with a comma before", ["Expect: ,100-continue", LENGTH], HIDDEN],
    ["under another name", ["X-Expect: 100-continue", LENGTH], HIDDEN],
    ["that Connection names", ["Connection: expect", "Expect: 100-continue", LENGTH], HIDDEN],
    ["that scripts would read", ["HTTP_EXPECT: 100-continue", "Expect_: 100-continue", LENGTH], HIDDEN],
  ])("%s is one request, its body a body", async ([, fields, body], { tunnel }) => {
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(request("POST /x", fields, body));
    const { status } = await visitor.answer();
    expect([200, 417]).toContain(status);
    expect(tunnel.backend.requests.length).toBe(status === 200 ? 1 : 0);
    for (const each of tunnel.backend.requests) {
      expect((await each.body()).bytes.toString()).toBe(HIDDEN);
      expect(fieldValues(each.fields, "expect").length).toBeLessThanOrEqual(2);
    }
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[name: string, answer: string]>([
    ["a 417", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"],
    ["a 404", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"],
    ["a 200", ok("fine")],
    ["a 200 in chunks", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunked("fine")}`],
    ["a 100 and a 200", `HTTP/1.1 100 Continue\r\n\r\n${ok("fine")}`],
    [
      "two 100s and a 403",
      `${"HTTP/1.1 100 Continue\r\n\r\n".repeat(2)}HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n`,
    ],
  ])("whose body is withheld until %s has no other request in its place", async ([, answer], { tunnel }) => {
    tunnel.allow(/FIN within the body/);
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", ["Expect: 100-continue", LENGTH]));
    const { connection } = await arrived;
    await connection.send(answer);
    expect((await visitor.answer()).status).toBe(Number(/HTTP\/1\.1 ([2-5]\d\d)/.exec(answer)![1]));
    await expectOthersUnharmed(tunnel);
    // Where the body belongs, there comes a request; it is the body, or nothing.
    visitor.send(HIDDEN);
    visitor.request(get("/behind"));
    answerWithTarget(tunnel);
    const next = await visitor.answer().catch((error: unknown) => error);
    if (next instanceof Cut) expect(next.partial).toBe("");
    else expect(next).toMatchObject({ status: 200, body: Buffer.from("/behind") });
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[name: string, sent: string]>([
    ["and no body", request("GET /x", ["Expect: 100-continue"])],
    ["and an empty one", request("POST /x", ["Expect: 100-continue", "Content-Length: 0"])],
    ["in HTTP/1.0", `POST /x HTTP/1.0\r\n${HOST}\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n`],
  ])("%s makes nobody wait", async ([, sent], { tunnel }) => {
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(sent);
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [] });
    expect(fieldValues(tunnel.backend.requests[0]!.fields, "expect")).toEqual([]);
    // The connection may end behind it; what comes then is no part of this request.
    const next = await visitor
      .request(get("/behind"))
      .answer()
      .catch((error: unknown) => error);
    if (next instanceof Cut) expect(next.partial).toBe("");
    else expect(next).toMatchObject({ status: 200, body: Buffer.from("/behind") });
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[name: string, fields: string]>([
    ["folded", "Expect:\r\n 100-continue"],
    ["with a space before its colon", "Expect : 100-continue"],
    ["with a NUL", "Expect: 100-continue\0"],
    ["with a bare CR", "Expect: 100-continue\rX: y"],
    ["with two lengths", "Expect: 100-continue\r\nContent-Length: 0"],
    ["with a length and chunks", "Expect: 100-continue\r\nTransfer-Encoding: chunked"],
  ])("%s is refused", ([, fields], { tunnel }) =>
    expectRefused(tunnel, request("POST /", [fields, LENGTH], HIDDEN)),
  );
});

/** Nothing of what stands behind the request is taken for a request, or for the other protocol. */
async function expectNothingBehind(
  sent: string,
  behind: string,
  answer: string,
  tunnel: Tunnel,
): Promise<void> {
  const arrived = tunnel.backend.next();
  const visitor = await tunnel.request(sent);
  visitor.send(behind);
  const { connection } = await arrived;
  await connection.send(answer);
  const got = await visitor.answer();
  visitor.send(behind);
  const next = await visitor.answer().catch((error: unknown) => error);
  // The connection ends, or what stands behind is refused; it is not marked, so it is charged if it arrives.
  if (!(next instanceof Cut)) expect(next).toMatchObject({ status: 400 });
  expect(got.status).toBe(Number(/HTTP\/1\.1 (\d+)/.exec(answer)![1]));
  await expectOthersUnharmed(tunnel);
}

describe("an upgrade", () => {
  const KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const WEBSOCKET = ["Connection: Upgrade", "Upgrade: websocket", KEY];

  acceptance.for<[name: string, answer: string]>([
    ["with 426", "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"],
    ["with 426 and a body", "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 7\r\n\r\nversion"],
    ["with 400 in chunks", `HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n${chunked("no")}`],
    ["with 403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"],
    ["with 200", ok("no socket here")],
    ["with 204", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["with 304", "HTTP/1.1 304 Not Modified\r\n\r\n"],
    ["with 200 that says Upgrade", ok("no", "Connection: Upgrade", "Upgrade: websocket")],
    [
      "with 503 and a 101 behind it",
      "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" +
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
  ])(
    "of a wrong version that is refused %s opens nothing for a request behind it",
    ([, answer], { tunnel }) =>
      expectNothingBehind(
        request("GET /ws", [...WEBSOCKET, "Sec-WebSocket-Version: 777"]),
        HIDDEN,
        answer,
        tunnel,
      ),
  );

  acceptance.for<[name: string, fields: string[], body: string]>([
    ["by length", [`Content-Length: ${HIDDEN.length}`], HIDDEN],
    ["of a byte", ["Content-Length: 1"], "x"],
  ])("with a body %s that is refused has it as a body", async ([, fields, body], { tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /ws", [...WEBSOCKET, ...fields], body));
    const asked = await arrived;
    expect((await asked.body()).bytes.toString()).toBe(body);
    await asked.connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(403);
    visitor.send(HIDDEN);
    await expectOthersUnharmed(tunnel);
  });

  acceptance("with chunks is refused by the edge", ({ tunnel }) =>
    expectRefused(
      tunnel,
      request("POST /ws", [...WEBSOCKET, "Transfer-Encoding: chunked"], chunked(HIDDEN)),
      [411],
    ),
  );

  acceptance.for<[name: string, fields: string[]]>([
    ["with a length and chunks", [...WEBSOCKET, "Content-Length: 0", "Transfer-Encoding: chunked"]],
    ["with two lengths", [...WEBSOCKET, "Content-Length: 0", "Content-Length: 5"]],
    ["with a folded Upgrade", ["Connection: Upgrade", "Upgrade:\r\n websocket"]],
    ["with two Hosts", [...WEBSOCKET, "Host: other.localhost"]],
  ])("%s is refused by the edge", ([, fields], { tunnel }) =>
    expectRefused(tunnel, request("GET /ws", fields, HIDDEN)),
  );

  acceptance.for<[name: string, fields: string[]]>([
    ["to h2c", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]],
    ["to h2c in capitals", ["Connection: upgrade", "Upgrade: H2C"]],
    ["to h2c, without its settings", ["Connection: Upgrade", "Upgrade: h2c"]],
    ["to h2c with a version", ["Connection: Upgrade", "Upgrade: h2c/1"]],
    ["to h2c twice", ["Connection: Upgrade", "Upgrade: h2c", "Upgrade: h2c"]],
    ["to h2c in a list of itself", ["Connection: Upgrade", "Upgrade: h2c, H2c , h2C"]],
    ["that Connection does not name", ["Upgrade: websocket", KEY]],
    ["that Connection names and that is not there", ["Connection: Upgrade"]],
    ["that is empty", ["Connection: Upgrade", "Upgrade:"]],
  ])("%s is not passed on", async ([, fields], { tunnel }) => {
    await expectOneRequest(tunnel, request("GET /x", fields), { target: "/x", body: "" });
    const arrived = tunnel.backend.requests[0]!.fields;
    for (const name of ["upgrade", "http2-settings"]) expect(fieldValues(arrived, name)).toEqual([]);
    expect(fieldValues(arrived, "connection")).toEqual(["keep-alive"]);
  });

  acceptance("to h2c has nothing of HTTP/2 behind it", async ({ tunnel }) => {
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(
      request("GET /x", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]),
    );
    visitor.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    expect((await visitor.answer()).body.toString()).toBe("/x");
    expect((await visitor.answer()).status).toBe(505);
    expect(await visitor.ended).toBe("fin");
    await expectOthersUnharmed(tunnel);
  });

  acceptance("to h2c among others leaves the others", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(
      request("GET /ws", ["Connection: Upgrade", "Upgrade: h2c, websocket", KEY]),
    );
    const asked = await arrived;
    expect(fieldValues(asked.fields, "upgrade")).toEqual(["websocket"]);
    await asked.connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(403);
  });

  acceptance.for<[name: string, fields: string[], answer: string]>([
    [
      "that nobody asked for",
      [],
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    [
      "to another protocol",
      WEBSOCKET,
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ["to none", WEBSOCKET, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"],
    [
      "to h2c, stripped",
      ["Connection: Upgrade", "Upgrade: h2c"],
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
  ])("answered by a 101 %s is a 502, and opens nothing", async ([, fields, answer], { tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("GET /ws", fields));
    await (await arrived).connection.send(answer + ok("poison"));
    expect((await visitor.answer()).status).toBe(502);
    visitor.send(HIDDEN.replace("app.", "nobody."));
    await expectOthersUnharmed(tunnel);
  });
});

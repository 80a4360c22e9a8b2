import { describe, expect } from "vitest";
import { fieldValue, fieldValues, rawFields } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import type { Tunnel } from "./tunnel.ts";
import {
  ALL_LATIN1,
  expectInStep,
  forwarded,
  forwardedWithBody,
  FORWARDED,
  get,
  HOST,
  KEEP_ALIVE,
  ok,
  request,
  utf8,
  withoutKeepAlive,
} from "./messages.ts";

const KIB = 1024;
const GZIP = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00\x43\xbe\xb7\xe8\x01\x00\x00\x00";

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `X-Number-${i}: value ${i}`);
}

describe("a request's fields", () => {
  acceptance.for<[name: string, fields: string[]]>([
    ["their order and case", ["zz: 1", "AA: 2", "Mm: 3", "aB-cD: 4"]],
    ["repeats, near and far", ["X-A: 1", "X-A: 2", "X-B: 3", "x-a: 1"]],
    ["empty values", ["X-Empty: ", "X-Next: 1", "X-Last: "]],
    ["spaces and tabs within a value", ["X-Spaced: a  b\tc   d"]],
    ["commas, quotes and backslashes", ['X-List: a, "b, \\"c\\"",, d']],
    ["two Cookie fields", ["Cookie: a=1; b=2", "Cookie: c=3"]],
    ["colons in a value", ["X-Time: 12:34:56::"]],
    ["every character of a token in a name", ["X!#$%&'*+-.^`|~9: 1"]],
    ["every printable character of ASCII", [`X-Ascii: ${ascii()}`]],
    ["every byte of Latin-1", [`X-Latin: ${ALL_LATIN1}`]],
    ["bytes of UTF-8", [`X-Utf8: ${utf8("日本 🦆 é")}`]],
    ["bytes that are neither", ["X-Bytes: \xff\xfe\x80\xc0"]],
    [
      "Latin-1 in a Content-Disposition",
      [`Content-Disposition: form-data; name="${ALL_LATIN1}"`, "Content-Length: 0"],
    ],
    [
      "Latin-1 in a Content-Disposition behind a length",
      ["Content-Length: 0", `Content-Disposition: form-data; name="${ALL_LATIN1}"`],
    ],
    ["a Range and conditions", ["Range: bytes=0-1,4-", 'If-Range: "a"', 'If-None-Match: "a", W/"b"']],
    ["what encodings it accepts", ["Accept-Encoding: gzip, br;q=0.5, zstd"]],
    ["no encodings where it names none", ["Accept: */*"]],
    ["credentials", ["Authorization: Basic dXNlcjpwYXNz", "X-Api-Key: k"]],
    [
      "its Date, Via and User-Agent",
      ["Date: Thu, 01 Jan 1970 00:00:00 GMT", "Via: 1.0 x", "User-Agent: t/1"],
    ],
    ["Max-Forwards", ["Max-Forwards: 0"]],
    ["fields of methods that override", ["X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin"]],
    ["names that objects have", ["__proto__: 1", "constructor: 2", "toString: 3", "hasOwnProperty: 4"]],
    ["100 of them", numbered(98)],
    ["one of 14 KiB", [`X-Big: ${"b".repeat(14 * KIB)}`]],
    ["14 KiB in cookies", Array.from({ length: 14 }, (_, i) => `Cookie: c${i}=${"c".repeat(KIB)}`)],
    ["14 KiB in a hundred fields", numbered(98).map((field) => `${field}${"n".repeat(130)}`)],
  ])("keep %s", async ([, fields], { tunnel }) => {
    await expectFields(tunnel, get("/", ...fields), forwarded(HOST, ...fields));
  });

  acceptance("may stand before Host", async ({ tunnel }) => {
    const sent = "GET / HTTP/1.1\r\nzz: 1\r\nhost: app.localhost\r\nAa: 2\r\n\r\n";
    await expectFields(
      tunnel,
      sent,
      rawFields("zz: 1", "host: app.localhost", "Aa: 2", ...FORWARDED, KEEP_ALIVE),
    );
  });

  acceptance("lose the spaces around a value, which are no part of it", async ({ tunnel }) => {
    await expectFields(tunnel, get("/", "X-Padded: \t a b \t "), forwarded(HOST, "X-Padded: a b"));
  });

  acceptance.for<[name: string, host: string]>([
    ["a port", "app.localhost:8080"],
    ["capitals", "APP.LocalHost"],
    ["a dot at its end", "app.localhost."],
  ])("keep Host with %s as the visitor spelled it", async ([, host], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect((await visitor.answer()).status).toBe(200);
    const { fields } = tunnel.backend.requests[0]!;
    expect(fieldValue(fields, "host")).toBe(host);
    expect(fieldValue(fields, "x-forwarded-host")).toBe(host);
  });

  acceptance.for<[name: string, fields: string[]]>([
    ["hop-by-hop fields", ["Keep-Alive: timeout=9", "Proxy-Connection: keep-alive", "TE: trailers"]],
    ["what is for a proxy", ["Proxy-Authorization: Basic eA==", "Proxy-Authenticate: Basic"]],
    ["an Upgrade to h2c", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"]],
    ["an Upgrade that Connection does not name", ["Upgrade: websocket"]],
    ["what Connection names", ["Connection: close, X-One", "X-One: 1", "x-one: 2"]],
    [
      "what two Connection fields name",
      ["X-One: 1", "Connection: x-one", "Connection: ,X-TWO ,", "X-Two: 2"],
    ],
    ["a Trailer field without trailers to come", ["Trailer: X-Sum"]],
    ["an Expect without a body to wait for", ["Expect: 100-continue"]],
  ])("stay behind: %s", async ([, fields], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(get("/", "X-Before: 1", ...fields, "X-After: 2"));
    expect((await visitor.answer()).status).toBe(200);
    expect(tunnel.backend.requests[0]!.fields).toEqual(forwarded(HOST, "X-Before: 1", "X-After: 2"));
  });

  acceptance.for<[name: string, fields: string[]]>([
    ["X-Forwarded-For", ["X-Forwarded-For: 203.0.113.9", "x-forwarded-for: 203.0.113.10"]],
    ["X-Forwarded-Proto and -Host", ["X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test"]],
    [
      "other X-Forwarded fields",
      ["X-Forwarded-Prefix: /admin", "X-Forwarded-Port: 1", "X-FORWARDED-User: root"],
    ],
    ["Forwarded", ["Forwarded: for=203.0.113.9;proto=https"]],
    ["X-Real-IP", ["X-Real-IP: 203.0.113.9"]],
    ["spellings with underscores", ["X_Forwarded_For: 203.0.113.9", "X-Real_IP: 203.0.113.9"]],
  ])("are not believed about forwarding: %s", async ([, fields], { tunnel }) => {
    await expectFields(tunnel, get("/", "X-Before: 1", ...fields), forwarded(HOST, "X-Before: 1"));
  });

  acceptance.for<[named: string, kept: string[]]>([
    ["Host", [HOST]],
    ["Content-Length", [HOST, "Content-Length: 0"]],
    ["Content-Type", [HOST, "Content-Type: text/plain"]],
    ["X-Forwarded-For", [HOST]],
  ])("do not lose %s because Connection names it", async ([named, kept], { tunnel }) => {
    await expectFields(tunnel, get("/", ...kept.slice(1), `Connection: ${named}`), forwarded(...kept));
  });

  acceptance.for<[name: string, fields: string[]]>([
    ["of 40,000 bytes", [`X-Big: ${"x".repeat(40_000)}`]],
    ["of 300 fields", numbered(300)],
    ["of 40,000 bytes in many fields", numbered(240).map((field) => `${field}${"n".repeat(170)}`)],
  ])("are refused with 431 by the edge in a head %s", async ([, fields], { tunnel }) => {
    const visitor = await tunnel.request(get("/", ...fields));
    expect((await visitor.answer()).status).toBe(431);
    expect(tunnel.backend.requests).toEqual([]);
  });
});

describe("an answer's fields", () => {
  acceptance.for<[name: string, fields: string[]]>([
    ["their order, case and repeats", ["zz: 1", "AA: 2", "zZ: 3", "aB-cD: 4", "zz: 1"]],
    ["empty values", ["X-Empty: ", "X-Next: 1", "X-Last: "]],
    [
      "Set-Cookie fields apart",
      ["Set-Cookie: a=1; Path=/, x", "X: 1", "set-cookie: b=2", "Set-Cookie: a=1; Path=/, x"],
    ],
    ["every printable character of ASCII", [`X-Ascii: ${ascii()}`]],
    ["every byte of Latin-1", [`X-Latin: ${ALL_LATIN1}`]],
    ["bytes of UTF-8", [`X-Utf8: ${utf8("日本 🦆 é")}`]],
    ["Latin-1 in a Content-Disposition", [`Content-Disposition: attachment; filename="${ALL_LATIN1}"`]],
    [
      "UTF-8 in a Content-Disposition",
      [`Content-Disposition: attachment; filename="${utf8("日本 🦆")}.pdf"`],
    ],
    ["two WWW-Authenticate fields", ["WWW-Authenticate: Basic realm=a", "WWW-Authenticate: Negotiate"]],
    [
      "Date, Server and Via of its own",
      ["Date: Thu, 01 Jan 1970 00:00:00 GMT", "Server: s/1", "Via: 1.1 cache"],
    ],
    [
      "a policy for a browser",
      ["Strict-Transport-Security: max-age=1", "Content-Security-Policy: default-src 'none'"],
    ],
    ["Alt-Svc and Accept-Ranges", ['Alt-Svc: h3=":443"', "Accept-Ranges: bytes"]],
    ["names that objects have", ["__proto__: 1", "constructor: 2", "toString: 3"]],
    ["100 of them", numbered(99)],
    ["one of 24 KiB", [`X-Big: ${"v".repeat(24 * KIB)}`]],
    ["24 KiB in cookies", Array.from({ length: 24 }, (_, i) => `Set-Cookie: c${i}=${"c".repeat(KIB)}`)],
    ["24 KiB in a hundred fields", numbered(99).map((field) => `${field}${"n".repeat(225)}`)],
  ])("keep %s", async ([, fields], { tunnel }) => {
    tunnel.backend.answer(ok("ok", ...fields));
    const visitor = await tunnel.request(get());
    const answer = await visitor.answer();
    expect(withoutKeepAlive(answer.fields)).toEqual(rawFields(...fields, "Content-Length: 2"));
    expect(answer.body.toString()).toBe("ok");
    await expectInStep(tunnel, visitor);
  });

  acceptance("keep Latin-1 in a Content-Disposition behind a length", async ({ tunnel }) => {
    const fields = ["Content-Length: 1", `Content-Disposition: attachment; filename="${ALL_LATIN1}"`];
    tunnel.backend.answer(`HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\n\r\nx`);
    const visitor = await tunnel.request(get());
    const answer = await visitor.answer();
    expect(withoutKeepAlive(answer.fields)).toEqual(rawFields(...fields));
    expect(answer.body.toString()).toBe("x");
  });

  acceptance("are all there are: no Date, no Server, no Via is added", async ({ tunnel }) => {
    tunnel.backend.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    const visitor = await tunnel.request(get());
    expect(withoutKeepAlive((await visitor.answer()).fields)).toEqual(["Content-Length", "0"]);
  });

  acceptance("and its reason keep bytes beyond ASCII", async ({ tunnel }) => {
    tunnel.backend.answer("HTTP/1.1 599 Caf\xe9 au lait\r\nContent-Length: 0\r\n\r\n");
    const visitor = await tunnel.request(get());
    expect(await visitor.answer()).toMatchObject({ status: 599, reason: "Caf\xe9 au lait" });
  });

  acceptance("and an empty reason stay so", async ({ tunnel }) => {
    tunnel.backend.answer("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
    const visitor = await tunnel.request(get());
    expect(await visitor.answer()).toMatchObject({ status: 200, reason: "" });
  });

  acceptance.for<[name: string, fields: string[]]>([
    ["hop-by-hop fields", ["Keep-Alive: timeout=60", "Proxy-Authenticate: Basic", "Proxy-Connection: close"]],
    ["what Connection names", ["Connection: keep-alive, X-Hop", "X-Hop: 1", "x-hop: 2"]],
    ["an Upgrade that is only on offer", ["Connection: Upgrade", "Upgrade: h2c, foo/2"]],
    ["a Trailer field beside a length", ["Trailer: X-Sum"]],
  ])("stay behind: %s", async ([, fields], { tunnel }) => {
    tunnel.backend.answer(ok("ok", "X-Before: 1", ...fields, "X-After: 2"));
    const visitor = await tunnel.request(get());
    const arrived = withoutKeepAlive((await visitor.answer()).fields);
    expect(arrived).toEqual(rawFields("X-Before: 1", "X-After: 2", "Content-Length: 2"));
    await expectInStep(tunnel, visitor);
  });
});

describe("nothing is done to", () => {
  acceptance.for<[name: string, start: string, fields: string[], body: string]>([
    [
      "a redirect to the service's own address",
      "302 Found",
      ["Location: http://127.0.0.1:3000/in?next=%2F"],
      "",
    ],
    ["a redirect to a path", "301 Moved Permanently", ["Location: ../up/./x"], ""],
    [
      "a redirect of the method-keeping sort",
      "307 Temporary Redirect",
      ["Location: //app.localhost/x"],
      "moved",
    ],
    [
      "a Content-Location, a Refresh and a Link",
      "200 OK",
      ["Content-Location: /a", "Refresh: 0; url=/b", "Link: </c>"],
      "",
    ],
    [
      "cookies of another domain and path",
      "200 OK",
      ["Set-Cookie: a=1; Domain=127.0.0.1; Path=/x; Secure"],
      "",
    ],
    ["a part", "206 Partial Content", ["Content-Range: bytes 0-1/9"], "ab"],
    [
      "parts of several ranges",
      "206 Partial Content",
      ["Content-Type: multipart/byteranges; boundary=B"],
      "--B\r\nContent-Range: bytes 0-0/9\r\n\r\na\r\n--B--\r\n",
    ],
    ["a range that cannot be had", "416 Range Not Satisfiable", ["Content-Range: bytes */9"], ""],
    ["a compressed body", "200 OK", ["Content-Encoding: gzip", "Vary: Accept-Encoding"], GZIP],
    ["a body that only says it is compressed", "200 OK", ["Content-Encoding: br"], "plain"],
    ["an unknown encoding", "200 OK", ["Content-Encoding: x-own"], "\x00\x01\x02"],
    ["a page of HTML", "200 OK", ["Content-Type: text/html"], '<base href="http://127.0.0.1:3000/"><body>'],
    ["a failure of the service's own", "502 Bad Gateway", ["X-Own: 1"], "mine"],
    ["a status that nobody knows", "299 Fine", [], "fine"],
    ["a status of no class", "600 Beyond", [], "fine"],
    ["the highest status", "999 Denied", [], "fine"],
  ])("%s", async ([, start, fields, body], { tunnel }) => {
    const own = [...fields, `Content-Length: ${body.length}`];
    tunnel.backend.answer(`HTTP/1.1 ${start}\r\n${own.join("\r\n")}\r\n\r\n${body}`);
    const visitor = await tunnel.request(get("/", "Accept-Encoding: gzip, br"));
    const answer = await visitor.answer();
    expect(`${answer.status} ${answer.reason}`).toBe(start);
    expect(withoutKeepAlive(answer.fields)).toEqual(rawFields(...own));
    expect(answer.body.toString("latin1")).toBe(body);
    await expectInStep(tunnel, visitor);
  });

  acceptance("a large text that a visitor could have had compressed", async ({ tunnel }) => {
    const text = "compress me ".repeat(10_000);
    tunnel.backend.answer(ok(text, "Content-Type: text/plain"));
    const visitor = await tunnel.request(get("/", "Accept-Encoding: gzip, deflate, br, zstd"));
    const answer = await visitor.answer();
    expect(fieldValues(answer.fields, "content-encoding")).toEqual([]);
    expect(answer.body.toString()).toBe(text);
  });

  acceptance("a compressed upload", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const fields = ["Content-Encoding: gzip", `Content-Length: ${GZIP.length}`];
    const visitor = await tunnel.request(request("POST /", fields, GZIP));
    const { body, connection, ...seen } = await arrived;
    expect((await body()).bytes.toString("latin1")).toBe(GZIP);
    expect(seen.fields).toEqual(forwardedWithBody(HOST, ...fields));
    await connection.send(ok("ok"));
    expect((await visitor.answer()).status).toBe(200);
  });
});

/** Sends a request and checks which fields arrive. */
async function expectFields(tunnel: Tunnel, sent: string, arrive: string[]): Promise<void> {
  tunnel.backend.answer(ok("ok"));
  const visitor = await tunnel.request(sent);
  expect((await visitor.answer()).status).toBe(200);
  expect(tunnel.backend.requests.map(({ fields }) => fields)).toEqual([arrive]);
  await expectInStep(tunnel, visitor);
}

function ascii(): string {
  return Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).join("");
}

import { METHODS } from "node:http";
import { describe, expect } from "vitest";
import { fieldValue, rawFields } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, expectInStep, FORWARDED, get, HOST, KEEP_ALIVE, ok, request } from "./messages.ts";

/** Without a body these say nothing of one; the others say that there is none. */
const UNFRAMED = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "DELETE"]);

describe("a method", () => {
  acceptance.for(METHODS.filter((method) => method !== "CONNECT"))(
    "%s passes, without a body and with one",
    async (method, { tunnel }) => {
      tunnel.backend.serve(async ({ body, connection }) => {
        const { bytes } = await body();
        await connection.send(method === "HEAD" ? ok("").replace(": 0", ": 2") : ok(`<${bytes.toString()}>`));
      });
      const visitor = await tunnel.request(
        request(`${method} /x`),
        request(`${method} /x`, ["Content-Length: 3"], "abc"),
        request(`${method} /x`, ["Transfer-Encoding: chunked"], chunked("ab", "c")),
      );
      for (const body of ["<>", "<abc>", "<abc>"]) {
        expect((await visitor.answer(method)).body.toString()).toBe(method === "HEAD" ? "" : body);
      }
      const seen = tunnel.backend.requests;
      expect(seen.map(({ line }) => line)).toEqual(Array(3).fill(`${method} /x HTTP/1.1`));
      expect(fieldValue(seen[0]!.fields, "content-length")).toBe(UNFRAMED.has(method) ? undefined : "0");
      expect(fieldValue(seen[1]!.fields, "content-length")).toBe("3");
      expect(fieldValue(seen[2]!.fields, "transfer-encoding")).toBe("chunked");
    },
  );

  acceptance.for([
    ["that nobody knows", "BREW /", 501],
    ["in lower case, which is another one", "get /", 501],
    ["that begins like a known one", "GETX /", 501],
    ["CONNECT", "CONNECT app.localhost:80", 405],
    ["CONNECT to somewhere else", "CONNECT 127.0.0.1:22", 405],
  ] as const)("%s is refused by the edge", async ([, start, status], { tunnel }) => {
    const visitor = await tunnel.request(request(start));
    expect((await visitor.answer()).status).toBe(status);
    expect(await visitor.ended).toBe("fin");
    expect(tunnel.backend.requests).toEqual([]);
  });
});

describe("a target is untouched", () => {
  acceptance.for([
    ["dot segments", "/a/./b/../c"],
    ["dot segments above the root", "/../../etc/passwd"],
    ["dot segments in percent forms", "/%2e%2e/%2E/x"],
    ["empty segments", "//a//b/"],
    ["two slashes alone", "//"],
    ["what looks like an authority", "//other.test/x"],
    ["a bare question mark", "/?"],
    ["question marks in a query", "/a?b?c=??"],
    ["percent forms in both cases", "/%2f%2F/%00%7e?a=%26&b=%3D"],
    ["percent signs that are no forms", "/100%/%zz?%"],
    ["odd bytes that parsers let through", "/;=,!$&'()*+@:|{}^`\"<>[]\\"],
    ["semicolons and plus signs", "/a;v=1+2;w/b+c?d+e;f"],
    ["backslashes", "/a\\..\\b"],
    ["a colon in the first segment", "/a:b@c"],
    ["a query that looks like a URL", "/go?to=http://other.test:80//x"],
    ["a path that looks like a URL", "/http://other.test/x"],
    ["UTF-8 in percent forms", "/%E6%97%A5?q=%F0%9F%A6%86"],
    ["capital letters", "/CamelCase?Query=UPPER"],
    ["8,000 octets", `/${"x".repeat(7_999)}`],
    ["8,000 octets of query", `/?${"y".repeat(7_998)}`],
    ["a thousand segments", "/x".repeat(1_000)],
    ["a thousand parameters", `/?${Array.from({ length: 1_000 }, (_, i) => `p${i}=1`).join("&")}`],
  ] as const)("with %s", async ([, target], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(get(target));
    expect((await visitor.answer()).status).toBe(200);
    expect(tunnel.backend.requests.map(({ line }) => line)).toEqual([`GET ${target} HTTP/1.1`]);
    await expectInStep(tunnel, visitor);
  });
});

describe("a target of another form", () => {
  acceptance.for([
    ["OPTIONS * stays what it is", "OPTIONS *", "OPTIONS * HTTP/1.1"],
    ["a URL becomes its path", "GET http://app.localhost/a?b", "GET /a?b HTTP/1.1"],
    ["a URL with a port becomes its path", "GET http://app.localhost:8080/a", "GET /a HTTP/1.1"],
    ["a URL of https becomes its path", "GET https://app.localhost/a", "GET /a HTTP/1.1"],
    ["a URL in capitals becomes its path", "GET HTTP://APP.LOCALHOST/A", "GET /A HTTP/1.1"],
    ["a URL without a path becomes /", "GET http://app.localhost", "GET / HTTP/1.1"],
    ["a URL with a query alone becomes /?", "GET http://app.localhost?a=b", "GET /?a=b HTTP/1.1"],
    ["a URL keeps dots and slashes", "GET http://app.localhost//a/../b", "GET //a/../b HTTP/1.1"],
    ["a URL without a path becomes * for OPTIONS", "OPTIONS http://app.localhost", "OPTIONS * HTTP/1.1"],
  ] as const)("%s", async ([, start, line], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(request(start));
    expect((await visitor.answer()).status).toBe(200);
    expect(tunnel.backend.requests.map((each) => each.line)).toEqual([line]);
    await expectInStep(tunnel, visitor);
  });

  acceptance("the authority of a URL goes before Host, and becomes it", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request("GET http://app.localhost/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n");
    expect((await visitor.answer()).status).toBe(200);
    expect(tunnel.backend.requests[0]!.fields).toEqual(rawFields(HOST, ...FORWARDED, KEEP_ALIVE));
  });

  acceptance("a URL of a host without a tunnel finds none, whatever Host says", async ({ tunnel }) => {
    const visitor = await tunnel.request(request("GET http://other.localhost/"));
    expect((await visitor.answer()).status).toBe(404);
  });

  acceptance.for([
    ["* for another method than OPTIONS", "GET *"],
    ["no path", "GET app"],
    ["a fragment", "GET /a#b"],
    ["a URL of another scheme", "GET ftp://app.localhost/"],
    ["a URL with credentials", "GET http://user@app.localhost/"],
    ["a URL without a host", "GET http:///a"],
    ["a space", "GET /a b"],
  ] as const)("with %s is refused by the edge", async ([, start], { tunnel }) => {
    const visitor = await tunnel.request(request(start));
    expect((await visitor.answer()).status).toBe(400);
    expect(tunnel.backend.requests).toEqual([]);
  });

  acceptance.for([
    ["HTTP/2.0", "GET / HTTP/2.0", 505],
    ["HTTP/3.0", "GET / HTTP/3.0", 505],
    ["HTTP/1.2", "GET / HTTP/1.2", 505],
    ["HTTP/0.9", "GET /", 505],
    ["a version in lower case", "GET / http/1.1", 400],
  ] as const)("%s is no version spoken here", async ([, line, status], { tunnel }) => {
    const visitor = await tunnel.request(`${line}\r\n${HOST}\r\n\r\n`);
    expect((await visitor.answer()).status).toBe(status);
    expect(tunnel.backend.requests).toEqual([]);
  });

  acceptance("HTTP/2's preface is no version spoken here", async ({ tunnel }) => {
    const visitor = (await tunnel.visitor()).send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    expect((await visitor.answer()).status).toBe(505);
    expect(await visitor.ended).toBe("fin");
  });
});

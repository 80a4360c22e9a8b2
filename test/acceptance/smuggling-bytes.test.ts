import { describe, expect } from "vitest";
import { acceptance } from "./acceptance.ts";
import { chunked, HOST, request } from "./messages.ts";
import {
  answerWithTarget,
  expectOneRequest,
  expectOthersUnharmed,
  expectRefused,
  HIDDEN,
} from "./smuggling.ts";

const CHUNKED = "Transfer-Encoding: chunked";

/** A whole request with lines that stand between Host and the end of the head, as they are. */
function head(lines: string, start = "GET / HTTP/1.1"): string {
  return `${start}\r\n${HOST}\r\n${lines}\r\n\r\n${HIDDEN}`;
}

describe("lines that two readers would end in two places are refused", () => {
  acceptance.for<[name: string, bytes: string, status?: number]>([
    ["a request line ended by LF", `GET / HTTP/1.1\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a request line ended by CR", `GET / HTTP/1.1\r${HOST}\r\n\r\n${HIDDEN}`],
    ["a request line ended by CR CR LF", `GET / HTTP/1.1\r\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a request line ended by LF CR", `GET / HTTP/1.1\n\r${HOST}\r\n\r\n${HIDDEN}`],
    ["a CR within the target", `GET /a\rb HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a LF within the target", `GET /a\nb HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a CR behind the method", `GET\r / HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a NUL within the target", `GET /a\0b HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a tab between method and target", `GET\t/ HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a vertical tab behind the target", `GET /\x0bHTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a space within the target", `GET /a b HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["two requests in one line", `GET / HTTP/1.1 GET /hidden HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ["a space before the method", ` GET / HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["no version", `GET /\r\n${HOST}\r\n\r\n${HIDDEN}`, 505],
    ["a version of two digits", `GET / HTTP/1.10\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a version with a space", `GET / HTTP/1. 1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a protocol in lower case", `GET / http/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["fields ended by LF", `GET / HTTP/1.1\r\n${HOST}\nX: y\n\r\n${HIDDEN}`],
    ["a field ended by LF that hides a length", head("X: y\nContent-Length: 5")],
    ["a field ended by CR that hides a length", head("X: y\rContent-Length: 5")],
    ["a field ended by LF CR", head("X: y\n\rZ: 1")],
    ["a field ended by CR CR LF", head("X: y\r\r\nZ: 1")],
    ["a head ended by LF LF", `GET / HTTP/1.1\r\n${HOST}\n\n${HIDDEN}`],
    ["a head ended by CR CR", `GET / HTTP/1.1\r\n${HOST}\r\r${HIDDEN}`],
    ["a head ended by CR LF LF", `GET / HTTP/1.1\r\n${HOST}\r\n\n${HIDDEN}`],
    ["a head ended by LF CR LF", `GET / HTTP/1.1\r\n${HOST}\n\r\n${HIDDEN}`],
    ["a NUL in a value", head("X: a\0b")],
    ["a DEL in a value", head("X: a\x7fb")],
    ["a backspace in a value", head("X: a\bb")],
    ["a NUL in a name", head("X\0: a")],
    ["a byte of Latin-1 in a name", head("X\xe9: a")],
    ["a name in parentheses", head("X(y): a")],
    ["a name with a slash", head("X/y: a")],
    ["a name with a space behind", head("X : a")],
    ["a name with a space within", head("X y: a")],
    ["a name with a tab behind", head("X\t: a")],
    ["no name", head(": a")],
    ["no colon", head("Nonsense")],
    ["a folded value", head("X: a\r\n b")],
    ["a value folded by a tab", head("X: a\r\n\tb")],
    ["a fold that is all of the value", head("X:\r\n a")],
    ["a fold of nothing", head("X: a\r\n ")],
    ["a first line that is folded", `GET / HTTP/1.1\r\n X: y\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a Host that is folded", `GET / HTTP/1.1\r\nHost:\r\n app.localhost\r\n\r\n${HIDDEN}`],
    ["a byte order mark before the request", `\xef\xbb\xbfGET / HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["a NUL before the request", `\0GET / HTTP/1.1\r\n${HOST}\r\n\r\n${HIDDEN}`],
    ["an answer in place of a request", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ])("%s", ([, bytes, status = 400], { tunnel }) => expectRefused(tunnel, bytes, [status, 400]));

  acceptance.for<[name: string, sent: string]>([
    ["blank lines ahead of the request", `\r\n\r\n${request("GET /x")}`],
    ["a blank value", request("GET /x", ["X:"])],
    ["a value of spaces", request("GET /x", ["X:   "])],
    ["every byte beyond ASCII in a value", request("GET /x", ["X: \x80\x85\xa0\xff"])],
  ])("unless it is only %s", ([, sent], { tunnel }) =>
    expectOneRequest(tunnel, sent, { target: "/x", body: "" }),
  );
});

describe("chunks that two readers would end in two places are refused, and no end of them is made up", () => {
  const size = HIDDEN.length.toString(16);

  acceptance.for<[name: string, body: string]>([
    ["a size of 17 digits", `10000000000000005\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size just above 64 bits", `${"f".repeat(17)}\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a plus", `+5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a minus", `-5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a last chunk of minus nothing", `-0\r\n\r\n${HIDDEN}`],
    ["a size with 0x", `0x5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a last chunk of 0x0", `0x0\r\n\r\n${HIDDEN}`],
    ["a size with an underscore", `1_0\r\n0123456789abcdef\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a point", `5.0\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size in quotes", `"5"\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size behind a space", ` 5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size behind a tab", `\t5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size behind a NUL", `\x005\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a space within", `0 5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a tab behind", `5\t\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a vertical tab behind", `5\x0b\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size with a no-break space behind", `5\xa0\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["an empty size", `\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["an extension without a size", `;a\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["letters beyond f", `g\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size line ended by LF", `5\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size line ended by CR", `5\rhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size line ended by CR CR LF", `5\r\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a size line ended by LF CR", `5\n\rhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a LF in an extension", `5;a\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a LF in an extension that hides a chunk", `2;\nxx\r\n${size}\r\n0\r\n\r\n${HIDDEN}`],
    ["a CR in an extension", `5;a\rb\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a NUL in an extension", `5;a\0b\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["a LF in an extension's quotes", `5;a="\n"\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["CR LF in an extension's quotes", `5;a="\r\nhello\r\n0\r\n\r\n${HIDDEN}"\r\n`],
    ["data that is longer than its size", `2\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["data that is shorter than its size", `6\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
    ["nothing behind the data", `5\r\nhello0\r\n\r\n${HIDDEN}`],
    ["a LF behind the data", `5\r\nhello\n0\r\n\r\n${HIDDEN}`],
    ["a CR behind the data", `5\r\nhello\r0\r\n\r\n${HIDDEN}`],
    ["CR CR LF behind the data", `5\r\nhello\r\r\n0\r\n\r\n${HIDDEN}`],
    ["two bytes that are not CR LF behind the data", `5\r\nhelloXX0\r\n\r\n${HIDDEN}`],
    ["a blank line behind the data", `5\r\nhello\r\n\r\n0\r\n\r\n${HIDDEN}`],
    ["a last chunk ended by LF", `5\r\nhello\r\n0\n\n${HIDDEN}`],
    ["a last chunk with a LF behind it", `5\r\nhello\r\n0\r\n\n${HIDDEN}`],
    ["a last chunk with CR X behind it", `5\r\nhello\r\n0\r\n\rX${HIDDEN}`],
    ["a last chunk with a sign", `5\r\nhello\r\n+0\r\n\r\n${HIDDEN}`],
    ["a last chunk behind a space", `5\r\nhello\r\n 0\r\n\r\n${HIDDEN}`],
    ["a request in place of the blank line at the end", `0\r\n${HIDDEN}`],
    ["a trailer without a colon", `0\r\nNonsense\r\n\r\n${HIDDEN}`],
    ["a trailer with a space in its name", `0\r\nX Y: 1\r\n\r\n${HIDDEN}`],
    ["a trailer with a space before the colon", `0\r\nX : 1\r\n\r\n${HIDDEN}`],
    ["a folded trailer", `0\r\nX: 1\r\n 2\r\n\r\n${HIDDEN}`],
    ["a trailer ended by LF", `0\r\nX: 1\n\r\n${HIDDEN}`],
    ["a trailer ended by CR", `0\r\nX: 1\rZ: 2\r\n\r\n${HIDDEN}`],
    ["a NUL in a trailer", `0\r\nX: a\0b\r\n\r\n${HIDDEN}`],
    ["a Host among the trailers", `0\r\nHost: other.localhost\r\n\r\n${HIDDEN}`],
    ["a Host among them in capitals", `0\r\nHOST: other.localhost\r\n\r\n${HIDDEN}`],
    ["a length among the trailers", `0\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`],
    ["a length among them that scripts would read", `0\r\nContent_Length: 5\r\n\r\n${HIDDEN}`],
    ["a coding among the trailers", `0\r\n${CHUNKED}\r\n\r\n${HIDDEN}`],
  ])("%s", async ([, body], { tunnel }) => {
    // What came of the body before may have been passed on; then the request ends unfinished, by the end of its connection.
    tunnel.allow(/FIN within/);
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(request("POST /", [CHUNKED], body));
    expect((await visitor.answer()).status).toBe(400);
    visitor.send(HIDDEN);
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    for (const connection of tunnel.backend.connections) expect(connection.text).not.toContain("\r\n0\r\n");
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[name: string, body: string]>([
    ["sizes with zeros before them", `0000000005\r\nhello\r\n0000\r\n\r\n`],
    ["sizes in both cases", `00A\r\n0123456789\r\n00a\r\n0123456789\r\n0\r\n\r\n`],
    ["extensions", `5;a;b=c;d="e"\r\nhello\r\n0;f\r\n\r\n`],
    ["an extension that looks like a size", `5;a\r\nhello\r\n0;${size}\r\n\r\n`],
    ["an extension in quotes that looks like the end", `5;a="0"\r\nhello\r\n0\r\n\r\n`],
    ["trailers", `5\r\nhello\r\n0\r\nX: 1\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n`],
  ])("unless it is only %s", async ([, body], { tunnel }) => {
    const expected = body.startsWith("00A") ? "01234567890123456789" : "hello";
    await expectOneRequest(tunnel, request("POST /", [CHUNKED], body), { target: "/", body: expected });
  });

  acceptance.for<[name: string, body: string]>([
    ["a size with a space behind", `5 \r\nhello\r\n0\r\n\r\n`],
    ["a space before an extension", `5 ;a\r\nhello\r\n0\r\n\r\n`],
    ["a space within an extension", `5; a = b\r\nhello\r\n0\r\n\r\n`],
    ["a last chunk with a space behind", `5\r\nhello\r\n0 \r\n\r\n`],
    ["an extension without a name", `5;\r\nhello\r\n0\r\n\r\n`],
    ["an extension without a value", `5;a=\r\nhello\r\n0\r\n\r\n`],
    ["a quote that stays open", `5;a="b\r\nhello\r\n0\r\n\r\n`],
    ["a size with many zeros before it", `${"0".repeat(40)}5\r\nhello\r\n0\r\n\r\n`],
  ])("and %s is either refused, or one request", async ([, body], { tunnel }) => {
    tunnel.allow(/FIN within/);
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(request("POST /", [CHUNKED], body));
    const { status } = await visitor.answer();
    if (status === 200) {
      expect((await tunnel.backend.requests[0]!.body()).bytes.toString()).toBe("hello");
    } else {
      expect(status).toBe(400);
      expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    }
    await expectOthersUnharmed(tunnel);
  });
});

acceptance(
  "a request that comes byte by byte is the same request, and a broken one as broken",
  async ({ tunnel }) => {
    const whole = request("POST /slow", [CHUNKED], chunked(HIDDEN));
    answerWithTarget(tunnel);
    const visitor = await tunnel.visitor();
    visitor.socket.setNoDelay(true);
    const at = whole.indexOf("\r\n") + 2;
    visitor.request(whole.slice(0, at));
    for (const byte of whole.slice(at)) visitor.send(byte);
    expect((await visitor.answer()).body.toString()).toBe("/slow");
    expect((await tunnel.backend.requests[0]!.body()).bytes.toString()).toBe(HIDDEN);
    tunnel.backend.requests = [];
    const broken = await tunnel.visitor();
    for (const byte of `POST / HTTP/1.1\r\n${HOST}\r\nContent-Length: 0\r\n${CHUNKED}\r\n\r\n`)
      broken.send(byte);
    expect((await broken.answer()).status).toBe(400);
    expect(tunnel.backend.requests).toEqual([]);
    await expectOthersUnharmed(tunnel);
  },
);

acceptance("a chunk of a size that nobody reaches has everything behind it in it", async ({ tunnel }) => {
  tunnel.allow(/FIN within the body/);
  const arrived = tunnel.backend.next();
  const rest = `hello\r\n0\r\n\r\n${HIDDEN}`;
  const visitor = await tunnel.request(request("POST /", [CHUNKED], `ffffffffffffffff\r\n${rest}`));
  const { connection } = await arrived;
  await connection.until(() => tunnel.backend.requests[0]!.bodyBytes === rest.length);
  await expectOthersUnharmed(tunnel);
  visitor.end();
  await connection.untilClosed();
});

acceptance("another protocol's name before an HTTP version makes no second request", async ({ tunnel }) => {
  answerWithTarget(tunnel);
  const visitor = await tunnel.request(`GET /x RTSP/1.0\r\n${HOST}\r\n\r\n`);
  visitor.send(HIDDEN);
  const { status } = await visitor.answer();
  expect([200, 400, 505]).toContain(status);
  expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  expect(tunnel.backend.requests.length).toBe(status === 200 ? 1 : 0);
  await expectOthersUnharmed(tunnel);
});

import { describe, expect } from "vitest";
import { Cut } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, get, HOST, request } from "./messages.ts";
import {
  answerWithTarget,
  expectOneRequest,
  expectOthersUnharmed,
  expectRefused,
  expectRefusedOrOne,
  HIDDEN,
} from "./smuggling.ts";

const CHUNKED = "Transfer-Encoding: chunked";
/** Nothing, for who reads chunks; and a request behind it for whoever does so alone. */
const NO_CHUNKS = `0\r\n\r\n${HIDDEN}`;
const LENGTH = `Content-Length: ${NO_CHUNKS.length}`;
/** A chunk that holds a request, for who reads chunks; and the request alone for who stops behind the size. */
const HIDDEN_CHUNK = chunked(HIDDEN);
const SIZE_LINE = `${HIDDEN.length.toString(16)}\r\n`;

/** A request with these lines behind Host, as they stand: nothing is added. */
function post(lines: string[], body: string): string {
  return request("POST /", lines, body);
}

describe("a body that two readers would end in two places is refused", () => {
  acceptance.for<[name: string, bytes: string]>([
    ["a length for the edge, chunks for the service", post([LENGTH, CHUNKED], NO_CHUNKS)],
    ["chunks before the length", post([CHUNKED, LENGTH], NO_CHUNKS)],
    [
      "chunks for the edge, a length for the service",
      post([CHUNKED, `Content-Length: ${SIZE_LINE.length}`], HIDDEN_CHUNK),
    ],
    ["that length first", post([`Content-Length: ${SIZE_LINE.length}`, CHUNKED], HIDDEN_CHUNK)],
    ["a length of 0 beside chunks", post(["Content-Length: 0", CHUNKED], HIDDEN_CHUNK)],
    ["chunks between two lengths", post([LENGTH, CHUNKED, LENGTH], NO_CHUNKS)],
    [
      "chunks in lower case beside a length",
      post(["transfer-encoding: chunked", LENGTH.toLowerCase()], NO_CHUNKS),
    ],
    ["chunks and a length of GET", request("GET /", [LENGTH, CHUNKED], NO_CHUNKS)],
    ["chunks and a length of PUT", request("PUT /", [LENGTH, CHUNKED], NO_CHUNKS)],
    ["chunks and a length, with Connection: close", post(["Connection: close", LENGTH, CHUNKED], NO_CHUNKS)],
    [
      "chunks that Connection names, and a length",
      post(["Connection: transfer-encoding", CHUNKED, LENGTH], NO_CHUNKS),
    ],
    [
      "a length that Connection names, and chunks",
      post(["Connection: content-length", CHUNKED, LENGTH], NO_CHUNKS),
    ],
    [
      "two lengths, the short one first",
      post(["Content-Length: 0", `Content-Length: ${HIDDEN.length}`], HIDDEN),
    ],
    [
      "two lengths, the long one first",
      post([`Content-Length: ${HIDDEN.length}`, "Content-Length: 0"], HIDDEN),
    ],
    ["two lengths that are equal", post(["Content-Length: 0", "Content-Length: 0"], HIDDEN)],
    ["two lengths in two spellings", post(["Content-Length: 5", "content-LENGTH: 05"], `hello${HIDDEN}`)],
    [
      "three lengths",
      post(["Content-Length: 5", "Content-Length: 5", "Content-Length: 0"], `hello${HIDDEN}`),
    ],
    ["a list of equal lengths", post(["Content-Length: 5, 5"], `hello${HIDDEN}`)],
    ["a list without a space", post(["Content-Length: 5,5"], `hello${HIDDEN}`)],
    ["a list that begins empty", post(["Content-Length: ,5"], `hello${HIDDEN}`)],
    ["a list that ends empty", post(["Content-Length: 5,"], `hello${HIDDEN}`)],
    ["a length with a plus", post(["Content-Length: +5"], `hello${HIDDEN}`)],
    ["a length with a minus", post(["Content-Length: -5"], `hello${HIDDEN}`)],
    ["a length of minus nothing", post(["Content-Length: -0"], HIDDEN)],
    ["a hexadecimal length", post(["Content-Length: 0x5"], `hello${HIDDEN}`)],
    ["a hexadecimal digit", post(["Content-Length: a"], `0123456789${HIDDEN}`)],
    ["an octal length", post(["Content-Length: 0o5"], `hello${HIDDEN}`)],
    ["a length with an exponent", post(["Content-Length: 5e0"], `hello${HIDDEN}`)],
    ["a length with a point", post(["Content-Length: 5.0"], `hello${HIDDEN}`)],
    ["a length with an underscore", post(["Content-Length: 1_0"], `0123456789${HIDDEN}`)],
    ["a length with a space within", post(["Content-Length: 1 0"], `0123456789${HIDDEN}`)],
    ["a length with a tab within", post(["Content-Length: 1\t0"], `0123456789${HIDDEN}`)],
    ["a length in quotes", post(['Content-Length: "5"'], `hello${HIDDEN}`)],
    ["a length with a parameter", post(["Content-Length: 5;q=1"], `hello${HIDDEN}`)],
    ["a length with letters behind", post(["Content-Length: 5bytes"], `hello${HIDDEN}`)],
    ["a length behind a vertical tab", post(["Content-Length: \x0b5"], `hello${HIDDEN}`)],
    ["a length before a form feed", post(["Content-Length: 5\x0c"], `hello${HIDDEN}`)],
    ["a length behind a no-break space", post(["Content-Length: \xa05"], `hello${HIDDEN}`)],
    ["a length in the digits of another script", post(["Content-Length: \xd9\xa5"], `hello${HIDDEN}`)],
    ["an empty length", post(["Content-Length:"], HIDDEN)],
    ["a length of spaces", post(["Content-Length:   "], HIDDEN)],
    ["a length one beyond 64 bits", post(["Content-Length: 18446744073709551616"], HIDDEN)],
    ["a length that is 5 in 64 bits", post(["Content-Length: 18446744073709551621"], `hello${HIDDEN}`)],
    ["a length of 26 digits", post(["Content-Length: 99999999999999999999999999"], `hello${HIDDEN}`)],
    ["chunks in HTTP/1.0", `POST / HTTP/1.0\r\n${HOST}\r\n${CHUNKED}\r\n\r\n${NO_CHUNKS}`],
    [
      "chunks and a length in HTTP/1.0",
      `POST / HTTP/1.0\r\n${HOST}\r\n${CHUNKED}\r\n${LENGTH}\r\n\r\n${NO_CHUNKS}`,
    ],
  ])("%s", ([, bytes], { tunnel }) => expectRefused(tunnel, bytes));
});

describe("a coding that one reader takes for chunked and another does not is refused, with a length and without", () => {
  acceptance.for([
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: x-chunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunke",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: , , chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, cow",
    "Transfer-Encoding: cow, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked; foo",
    'Transfer-Encoding: "chunked"',
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: (x) chunked",
    "Transfer-Encoding: \\chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: \x0cchunked",
    "Transfer-Encoding: chunked\x0b",
    "Transfer-Encoding: chunked\x0c",
    "Transfer-Encoding: \xa0chunked",
    "Transfer-Encoding: chunked\xa0",
    "Transfer-Encoding: \x00chunked",
    "Transfer-Encoding: chunked\x00",
    "Transfer-Encoding: \x7fchunked",
    "Transfer-Encoding: ch\x0bunked",
    "Transfer-Encoding: chun\tked",
    "Transfer-Encoding: c\xc4\xb1hunked",
    "Transfer-Encoding: chun\xe2\x84\xaaed",
    "Transfer-Encoding:",
    "Transfer-Encoding: \t ",
    "Transfer-Encoding: 0",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\ntransfer-encoding: x",
    "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding: x\r\n chunked",
    "Transfer-Encoding: chunked\r\n , identity",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "Transfer-Encoding\x0b: chunked",
    "Transfer-Encoding\xa0: chunked",
    "Transfer-Encoding\x00: chunked",
    "Transfer Encoding: chunked",
    "\x0bTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\n\rTransfer-Encoding: chunked",
    "X: y\r\r\nTransfer-Encoding: chunked",
    "X: y\r\n\rTransfer-Encoding: chunked",
    "\nTransfer-Encoding: chunked",
    "Transfer-Encoding: \rchunked",
    "Transfer-Encoding: \nchunked",
    "Transfer-Encoding: chunked\r",
    "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding\n: chunked",
    "Transfer-Encoding chunked",
    "Transfer-Encoding=chunked",
    '"Transfer-Encoding": chunked',
    "Transfer-Encoding:: chunked",
    ": Transfer-Encoding: chunked",
  ])("%j", async (coding, { tunnel }) => {
    await expectRefused(tunnel, post([LENGTH, coding], NO_CHUNKS), [400, 501]);
    tunnel.backend.requests = [];
    await expectRefused(tunnel, post([coding], NO_CHUNKS), [400, 501]);
  });
});

describe("what looks odd and can be read in one way only is one request, and the next one the next", () => {
  acceptance.for<[name: string, sent: string, body: string]>([
    ["chunked in capitals", post(["TRANSFER-ENCODING: CHUNKED"], chunked("hello")), "hello"],
    ["chunked in odd case", post(["transfer-EncODing: cHUNKed"], chunked("hello")), "hello"],
    ["chunked without a space", post(["Transfer-Encoding:chunked"], chunked("hello")), "hello"],
    ["chunked between spaces", post(["Transfer-Encoding:   chunked   "], chunked("hello")), "hello"],
    ["a length between spaces", post(["Content-Length:   5   "], "hello"), "hello"],
    ["a length with zeros before it", post(["Content-Length: 00005"], "hello"), "hello"],
    [
      "a length under a name that scripts take for it",
      post(["Content_Length: 99", "Content-Length: 5"], "hello"),
      "hello",
    ],
    ["that name alone", post(["Content_Length: 5", "Content-Length: 0"], ""), ""],
    [
      "a coding under a name that scripts take for it",
      post(["Transfer_Encoding: chunked", "Content-Length: 5"], "hello"),
      "hello",
    ],
    [
      "fields that only begin like a length",
      post(["Content-Length-X: 99", "XContent-Length: 99", "Content-Length: 5"], "hello"),
      "hello",
    ],
    ["TE: chunked, which is about the answer", post(["TE: chunked", "Content-Length: 5"], "hello"), "hello"],
    [
      "a length that Connection names",
      post(["Connection: content-length", "Content-Length: 5"], "hello"),
      "hello",
    ],
    [
      "a coding that Connection names",
      post(["Connection: transfer-encoding", CHUNKED], chunked("hello")),
      "hello",
    ],
    ["a Host that Connection names", post(["Connection: host", "Content-Length: 5"], "hello"), "hello"],
    ["a body that is a request, by length", post([`Content-Length: ${HIDDEN.length}`], HIDDEN), HIDDEN],
    ["a body that is a request, in a chunk", post([CHUNKED], HIDDEN_CHUNK), HIDDEN],
    ["a body that is chunks, by length", post([`Content-Length: ${NO_CHUNKS.length}`], NO_CHUNKS), NO_CHUNKS],
    ["a GET whose body is a request", request("GET /", [`Content-Length: ${HIDDEN.length}`], HIDDEN), HIDDEN],
    [
      "a DELETE whose body is a request",
      request("DELETE /", [`Content-Length: ${HIDDEN.length}`], HIDDEN),
      HIDDEN,
    ],
    ["an OPTIONS whose body is a request", request("OPTIONS *", [CHUNKED], HIDDEN_CHUNK), HIDDEN],
    [
      "a method that asks for another",
      post(["X-HTTP-Method-Override: GET", `Content-Length: ${HIDDEN.length}`], HIDDEN),
      HIDDEN,
    ],
  ])("%s", ([, sent, body], { tunnel }) =>
    expectOneRequest(tunnel, sent, { target: sent.split(" ")[1]!, body }),
  );

  acceptance.for<[name: string, sent: string]>([
    ["a tab before chunked", post(["Transfer-Encoding: \tchunked"], chunked("hello"))],
    ["a tab behind chunked", post(["Transfer-Encoding: chunked\t"], chunked("hello"))],
    ["a tab before a length", post(["Content-Length:\t5"], "hello")],
    ["a tab behind a length", post(["Content-Length: 5\t"], "hello")],
  ])("%s, or it is refused", ([, sent], { tunnel }) =>
    expectRefusedOrOne(tunnel, sent, { target: "/", body: "hello" }),
  );

  acceptance("a HEAD whose body is a request", async ({ tunnel }) => {
    answerWithTarget(tunnel);
    const visitor = await tunnel.request(
      request("HEAD /", [`Content-Length: ${HIDDEN.length}`], HIDDEN),
      get("/pipelined"),
    );
    expect((await visitor.answer("HEAD")).status).toBe(200);
    expect((await visitor.answer()).body.toString()).toBe("/pipelined");
    await expectOthersUnharmed(tunnel);
  });
});

describe("a body that the local service does not wait for stays a body", () => {
  acceptance.for<[name: string, head: string, body: string]>([
    ["by length", post([`Content-Length: ${HIDDEN.length}`], ""), HIDDEN],
    ["in chunks", post([CHUNKED], ""), HIDDEN_CHUNK],
    ["of GET", request("GET /", [`Content-Length: ${HIDDEN.length}`], ""), HIDDEN],
    ["behind Expect", post(["Expect: 100-continue", `Content-Length: ${HIDDEN.length}`], ""), HIDDEN],
  ])("%s, sent behind the answer", async ([, head, body], { tunnel }) => {
    // The connection to the local service may be given up in the middle of the body, which is no request either.
    tunnel.allow(/FIN within the body/);
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(head);
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(404);
    await expectOthersUnharmed(tunnel);
    visitor.send(body);
    await expectOthersUnharmed(tunnel);
    // Either the visitor's connection goes on behind the body, or it has ended; nothing in between.
    const next = visitor.request(get("/behind")).answer();
    const answered = await next.then(
      ({ body }) => body.toString(),
      (error: unknown) => error,
    );
    if (answered !== "/behind") expect(answered).toBeInstanceOf(Cut);
    await expectOthersUnharmed(tunnel);
  });
});

/** The judge of all other cases: whether it sees what it is there to see. */
import { createServer } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { dialRaw, RawVisitor } from "../support/raw-visitor.ts";
import { MARK, Marks } from "./marked-visitor.ts";
import { chunked } from "./messages.ts";
import { StrictBackend } from "./strict-backend.ts";

const MARKED = `${MARK}: c.1`;

let backend: StrictBackend | undefined;
afterEach(async () => {
  await backend?.[Symbol.asyncDispose]();
});

function post(fields: string[], body: string): string {
  return `POST /x HTTP/1.1\r\n${["Host: a", MARKED, ...fields].join("\r\n")}\r\n\r\n${body}`;
}

/** What is held against a client that sends this, all at once or byte by byte, and ends. */
async function judged(sent: string, pieces: "whole" | "bytes"): Promise<string[]> {
  backend = await StrictBackend.start();
  backend.begin(new Marks("c"));
  const socket = await dialRaw(backend.target.port, backend.target.host);
  for (const piece of pieces === "whole" ? [sent] : sent)
    await new Promise((resolve) => socket.write(Buffer.from(piece, "latin1"), resolve));
  socket.end();
  while (backend.connections.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await backend.connections[0]!.untilEnded();
  socket.destroy();
  return backend.anomalies;
}

describe.for(["whole", "bytes"] as const)("sent %s", (pieces) => {
  test.for<[name: string, sent: string]>([
    ["a request without a body", `GET / HTTP/1.1\r\nHost: a\r\n${MARKED}\r\n\r\n`],
    ["OPTIONS *", `OPTIONS * HTTP/1.1\r\nHost: a\r\n${MARKED}\r\n\r\n`],
    ["a body by length", post(["Content-Length: 5"], "hello")],
    [
      "a body in chunks with trailers",
      post(["Transfer-Encoding: chunked"], `${chunked("hello").slice(0, -2)}X: 1\r\n\r\n`),
    ],
    ["two of them", post(["Content-Length: 1"], "x") + post(["Content-Length: 0"], "").replace("c.1", "c.2")],
  ])("nothing is held against %s", async ([, sent]) => {
    expect(await judged(sent, pieces)).toEqual([]);
  });

  test.for<[name: string, sent: string, anomaly: RegExp]>([
    ["garbage", "\x00\xff garbage\r\n\r\n", /no request/],
    ["a blank line ahead", `\r\n${post(["Content-Length: 0"], "")}`, /no request/],
    ["HTTP/1.0", post(["Content-Length: 0"], "").replace("/1.1", "/1.0"), /no request/],
    ["a space too many", post(["Content-Length: 0"], "").replace("/x ", "/x  "), /no request/],
    ["a bare LF", post(["X: 1\nY: 2"], ""), /bare LF/],
    ["a bare CR", post(["X: 1\rY: 2"], ""), /bare CR/],
    ["a folded field", post(["X: 1", " 2"], ""), /no field line/],
    ["a space before a colon", post(["Content-Length : 0"], ""), /no field line/],
    ["a control byte", post(["X: \x01"], ""), /no field line/],
    ["two lengths", post(["Content-Length: 1", "Content-Length: 1"], "x"), /in doubt/],
    ["a list of lengths", post(["Content-Length: 1, 1"], "x"), /in doubt/],
    [
      "length and chunks",
      post(["Content-Length: 1", "Transfer-Encoding: chunked"], chunked("x")),
      /in doubt/,
    ],
    ["another coding", post(["Transfer-Encoding: xchunked"], chunked("x")), /in doubt/],
    ["no Host", post(["Content-Length: 0"], "").replace("Host", "Hots"), /0 Host fields/],
    ["two Hosts", post(["Host: b", "Content-Length: 0"], ""), /2 Host fields/],
    ["a URL as target", post(["Content-Length: 0"], "").replace("/x", "http://a/"), /origin-form/],
    ["the visitor's Connection", post(["Connection: close, x", "Content-Length: 0"], ""), /own Connection/],
    ["a lone Upgrade", post(["Upgrade: x", "Content-Length: 0"], ""), /only one/],
    ["a hop-by-hop field", post(["TE: trailers", "Content-Length: 0"], ""), /hop-by-hop/],
    ["a chunk extension", post(["Transfer-Encoding: chunked"], "1;x\r\na\r\n0\r\n\r\n"), /odd chunk size/],
    ["a size that is none", post(["Transfer-Encoding: chunked"], "x\r\na\r\n0\r\n\r\n"), /odd chunk size/],
    ["a size that ends in LF", post(["Transfer-Encoding: chunked"], "1\na\r\n0\r\n\r\n"), /CRLF/],
    ["a chunk that is longer", post(["Transfer-Encoding: chunked"], "1\r\nab\r\n0\r\n\r\n"), /longer/],
    [
      "a trailer that frames",
      post(["Transfer-Encoding: chunked"], "0\r\nContent-Length: 1\r\n\r\n"),
      /no trailer/,
    ],
    ["a FIN within a head", "POST /x HTTP/1.1\r\nHost: a", /FIN within a head/],
    ["a FIN within a body", post(["Content-Length: 9"], "hello"), /FIN within the body/],
    ["a FIN within chunks", post(["Transfer-Encoding: chunked"], "5\r\nhello\r\n"), /FIN within the body/],
    ["bytes behind a body", post(["Content-Length: 1"], "xy\r\n\r\n"), /no request/],
    ["a request that nobody sent", "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", /nobody sent: GET \/hidden/],
    [
      "one behind another",
      `${post(["Content-Length: 0"], "")}GET /h HTTP/1.1\r\nHost: a\r\n\r\n`,
      /nobody sent: GET \/h/,
    ],
    ["a request of another case", post(["Content-Length: 0"], "").replace("c.1", "d.1"), /another case/],
    ["a POST sent twice", post(["Content-Length: 0"], "").repeat(2), /twice/],
    ["a GET sent three times", `GET / HTTP/1.1\r\nHost: a\r\n${MARKED}\r\n\r\n`.repeat(3), /twice/],
    [
      "a request behind an upgrade that was not granted",
      `GET / HTTP/1.1\r\nHost: a\r\n${MARKED}\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET /h HTTP/1.1\r\nHost: a\r\n\r\n`,
      /nobody sent: GET \/h/,
    ],
  ])("%s is seen", async ([, sent, anomaly]) => {
    const anomalies = await judged(sent, pieces);
    expect(anomalies).toHaveLength(1);
    expect(anomalies[0]).toMatch(anomaly);
  });
});

test("what a case's own service throws is held against the case", async () => {
  backend = await StrictBackend.start();
  backend.begin(new Marks("c"));
  backend.serve(() => expect(1).toBe(2));
  const socket = await dialRaw(backend.target.port, backend.target.host);
  socket.write(post(["Content-Length: 0"], ""));
  while (backend.anomalies.length === 0) await new Promise((resolve) => setImmediate(resolve));
  socket.destroy();
  expect(backend.anomalies).toEqual([expect.stringContaining("expected 1 to be 2")]);
});

test("a connection that is handed over is judged too", async () => {
  backend = await StrictBackend.start();
  backend.begin(new Marks("c"));
  const server = createServer(
    (request, response) => void request.resume().on("end", () => response.end("ok")),
  );
  backend.handOver(server);
  const visitor = await RawVisitor.connect(backend.target.port, backend.target.host);
  visitor.send(post(["Transfer-Encoding: chunked"], "5;x\r\nhello\r\n0\r\n\r\n"));
  expect((await visitor.answer()).body.toString()).toBe("ok");
  visitor.send("GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
  expect((await visitor.answer()).body.toString()).toBe("ok");
  const second = await RawVisitor.connect(backend.target.port, backend.target.host);
  second.send("GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
  expect((await second.answer()).body.toString()).toBe("ok");
  visitor.close();
  second.close();
  expect(backend.anomalies).toEqual([
    'an odd chunk size: "5;x"',
    "a request that nobody sent: GET /hidden HTTP/1.1",
  ]);
});

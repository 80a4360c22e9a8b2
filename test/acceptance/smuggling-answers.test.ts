import { describe, expect } from "vitest";
import { Cut, fieldValue, fieldValues } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, get, ok, request } from "./messages.ts";
import { expectOthersUnharmed } from "./smuggling.ts";
import type { Tunnel } from "./tunnel.ts";

const CHUNKED = "Transfer-Encoding: chunked";
/** A whole answer, hidden in another one or behind it: whoever gets it was given what nobody answered. */
const POISON = ok("poison", "Set-Cookie: stolen=1", "X-Poison: 1");

function head(...lines: string[]): string {
  return `HTTP/1.1 200 OK\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** Sends a request and another behind it, answers the first with these bytes, and gives what the visitor gets of both. */
async function answeredBy(tunnel: Tunnel, bytes: string, method = "GET"): Promise<string[]> {
  const arrived = tunnel.backend.next();
  const visitor = await tunnel.request(request(`${method} /`), get("/behind"));
  const { connection } = await arrived;
  tunnel.backend.answer(ok("behind"));
  await connection.send(bytes);
  const got: string[] = [];
  for (const each of [method, "GET"]) {
    try {
      const { status, fields, body, trailers } = await visitor.answer(each);
      expect([...fields, ...trailers].join("|")).not.toMatch(/poison|stolen/i);
      got.push(`${status} ${body.toString("latin1")}`);
    } catch (error) {
      if (!(error instanceof Cut)) throw error;
      expect(error.partial).not.toMatch(/X-Poison/i);
      got.push("cut");
      break;
    }
  }
  expect(visitor.unread).toBe("");
  return got;
}

describe("an answer that two readers would understand in two ways is a 502 and hurts nobody else", () => {
  acceptance.for<[name: string, answer: string]>([
    ["a CR in a value", head("X: a\rX-Poison: 1", "Content-Length: 2") + "ok"],
    ["a CR in a value that hides a head", head(`X: a\r\rHTTP/1.1 200 OK`, "Content-Length: 2") + "ok"],
    ["a CR at a value's end", head("X: a\r", "Content-Length: 2") + "ok"],
    ["a NUL in a value", head("X: a\0X-Poison: 1", "Content-Length: 2") + "ok"],
    ["a backspace in a value", head("X: a\bb", "Content-Length: 2") + "ok"],
    ["a DEL in a value", head("X: a\x7fb", "Content-Length: 2") + "ok"],
    ["a CR in the reason", "HTTP/1.1 200 O\rX-Poison: 1\r\nContent-Length: 2\r\n\r\nok"],
    ["a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"],
    ["an escape in the reason", "HTTP/1.1 200 O\x1b[2JK\r\nContent-Length: 2\r\n\r\nok"],
    ["a space in a name", head("X Poison: a", "Content-Length: 2") + "ok"],
    ["a NUL in a name", head("X\0: a", "Content-Length: 2") + "ok"],
    ["no name", head(": a", "Content-Length: 2") + "ok"],
    ["no colon", head("Nonsense", "Content-Length: 2") + "ok"],
    ["two lengths", head("Content-Length: 2", `Content-Length: ${POISON.length}`) + `ok${POISON}`],
    [
      "two lengths, the long one first",
      head(`Content-Length: ${POISON.length}`, "Content-Length: 2") + POISON,
    ],
    ["a list of lengths", head(`Content-Length: 2, ${POISON.length}`) + `ok${POISON}`],
    ["equal lengths, spelled in two ways", head("Content-Length: 2", "Content-Length: 02") + "ok"],
    ["a length with a sign", head("Content-Length: +2") + "ok"],
    ["a negative length", head("Content-Length: -1") + "ok"],
    ["a hexadecimal length", head("Content-Length: 0x2") + "ok"],
    ["a length of letters", head("Content-Length: two") + "ok"],
    ["a length beyond 64 bits", head("Content-Length: 18446744073709551618") + "ok"],
    ["a length with a space within", head("Content-Length: 0 2") + "ok"],
    ["an empty length", head("Content-Length:") + POISON],
    ["a length and chunks", head("Content-Length: 2", CHUNKED) + `${chunked("ok")}${POISON}`],
    ["chunks and a length", head(CHUNKED, `Content-Length: ${POISON.length}`) + `${chunked("ok")}${POISON}`],
    ["chunks twice", head(CHUNKED, CHUNKED) + chunked("ok")],
    ["chunks twice in a field", head("Transfer-Encoding: chunked, chunked") + chunked("ok")],
    ["chunks before another coding", head("Transfer-Encoding: chunked, gzip") + chunked("ok")],
    ["another coding before chunks", head("Transfer-Encoding: gzip, chunked") + chunked("ok")],
    ["a coding like chunked", head("Transfer-Encoding: xchunked") + chunked("ok")],
    ["a coding in quotes", head('Transfer-Encoding: "chunked"') + chunked("ok")],
    ["chunked behind a vertical tab", head("Transfer-Encoding: \x0bchunked") + chunked("ok")],
    ["a space before the coding's colon", head("Transfer-Encoding : chunked") + chunked("ok")],
    ["identity beside chunks", head("Transfer-Encoding: identity", CHUNKED) + chunked("ok")],
    ["a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["status 099", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["status 000", "HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["a status with a sign", "HTTP/1.1 +200 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["another version", "HTTP/3.7 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["another protocol", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["a request", "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"],
    ["a body alone", "ok"],
    [
      "a 101 that nobody asked for",
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${POISON}`,
    ],
    [
      "an interim answer with a CR in a value",
      `HTTP/1.1 103 Early Hints\r\nLink: a\rX-Poison: 1\r\n\r\n${ok("ok")}`,
    ],
  ])("%s", async ([, answer], { tunnel }) => {
    const got = await answeredBy(tunnel, answer);
    expect(got[0]).toMatch(/^502 /);
    expect(["200 behind", "cut"]).toContain(got[1]);
    await expectOthersUnharmed(tunnel);
  });

  acceptance.for<[name: string, answer: string]>([
    ["a folded value", head("X: a\r\n b", "Content-Length: 2") + "ok"],
    ["a folded coding", head("Transfer-Encoding:\r\n chunked") + chunked("ok")],
    ["a folded length", head("Content-Length:\r\n 2") + "ok"],
    ["a reason of Latin-1", "HTTP/1.1 200 \xe9\r\nContent-Length: 2\r\n\r\nok"],
    ["no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"],
    ["a length with zeros before it", head("Content-Length: 0002") + "ok"],
    ["blank lines ahead", `\r\n\r\n${ok("ok")}`],
  ])("%s is one too, or is passed on cleanly", async ([, answer], { tunnel }) => {
    const got = await answeredBy(tunnel, answer);
    expect(got[0]).toMatch(/^(?:502 |200 ok$)/);
    expect(["200 behind", "cut"]).toContain(got[1]);
    await expectOthersUnharmed(tunnel);
  });
});

describe("an answer that says in an odd way what can be read in one way only is passed on cleanly", () => {
  acceptance.for<[name: string, answer: string]>([
    ["a value ended by LF", head("X: a\nX-Y: 1", "Content-Length: 2") + "ok"],
    ["a head ended by LF LF", "HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok"],
    ["lines ended in both ways", "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\nok"],
    ["an interim head with LF", `HTTP/1.1 103 Early Hints\nLink: </x>\n\n${ok("ok")}`],
    ["two lengths that are equal", head("Content-Length: 2", "X: a", "Content-Length: 2") + "ok"],
    ["a list of equal lengths", head("Content-Length: 2, 2") + "ok"],
    ["a length beside identity", head("Transfer-Encoding: identity", "Content-Length: 2") + "ok"],
  ])("%s", async ([, answer], { tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(answer));
    const visitor = await tunnel.request(get());
    const { status, fields, body } = await visitor.answer();
    expect({ status, body: body.toString() }).toEqual({ status: 200, body: "ok" });
    const names = fields.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => name === "content-length" || name === "transfer-encoding")).toEqual([
      "content-length",
    ]);
    expect(fieldValue(fields, "content-length")).toBe("2");
    expect(visitor.unread).toBe("");
    await expectOthersUnharmed(tunnel);
  });
});

describe("what stands behind an answer is nobody's answer", () => {
  acceptance.for<[name: string, method: string, answer: string, expected: string]>([
    ["a length", "GET", ok("ok") + POISON, "200 ok"],
    ["a length of 0", "GET", head("Content-Length: 0") + POISON, "200 "],
    ["chunks", "GET", head(CHUNKED) + chunked("ok") + POISON, "200 ok"],
    [
      "chunks with trailers",
      "GET",
      head(CHUNKED) + chunked("ok").replace(/\r\n$/, "X: 1\r\n\r\n") + POISON,
      "200 ok",
    ],
    ["204", "GET", `HTTP/1.1 204 No Content\r\n\r\n${POISON}`, "204 "],
    [
      "204 with a length",
      "GET",
      `HTTP/1.1 204 No Content\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`,
      "204 ",
    ],
    ["204 in chunks", "GET", `HTTP/1.1 204 No Content\r\n${CHUNKED}\r\n\r\n${chunked(POISON)}`, "204 "],
    ["304", "GET", `HTTP/1.1 304 Not Modified\r\n\r\n${POISON}`, "304 "],
    [
      "304 with a length",
      "GET",
      `HTTP/1.1 304 Not Modified\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`,
      "304 ",
    ],
    ["304 in chunks", "GET", `HTTP/1.1 304 Not Modified\r\n${CHUNKED}\r\n\r\n${chunked(POISON)}`, "304 "],
    ["a HEAD", "HEAD", head("Content-Length: 5") + POISON, "200 "],
    ["a HEAD with its length", "HEAD", head(`Content-Length: ${POISON.length}`) + POISON, "200 "],
    ["a HEAD in chunks", "HEAD", head(CHUNKED) + chunked(POISON), "200 "],
    ["a HEAD without framing", "HEAD", head("X: 1") + POISON, "200 "],
    ["a 404 to HEAD", "HEAD", `HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone${POISON}`, "404 "],
    ["an interim one", "GET", `HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${ok("ok")}${POISON}`, "200 ok"],
    ["a hundred of them", "GET", "HTTP/1.1 102 Processing\r\n\r\n".repeat(100) + ok("ok") + POISON, "200 ok"],
    [
      "an interim one with a length",
      "GET",
      `HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n${ok("ok")}`,
      "200 ok",
    ],
    [
      "an interim one in chunks",
      "GET",
      `HTTP/1.1 103 Early Hints\r\n${CHUNKED}\r\n\r\n${ok("ok")}`,
      "200 ok",
    ],
  ])("of %s", async ([, method, answer, expected], { tunnel }) => {
    const [first, second] = await answeredBy(tunnel, answer, method);
    // Whoever notices early that the service talks too much may take it for broken as a whole.
    expect([expected, "cut"].includes(first!) || first!.startsWith("502 ")).toBe(true);
    expect(["200 behind", "cut", undefined]).toContain(second);
    await expectOthersUnharmed(tunnel);
  });

  acceptance("of the last one, said later, while the connection lies idle", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(get());
    const { connection } = await arrived;
    await connection.send(ok("ok"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    await connection.send(POISON);
    await connection.untilClosed();
    await expectOthersUnharmed(tunnel);
  });

  acceptance("of the last one, said in the moment when the next request comes", async ({ tunnel }) => {
    for (let i = 0; i < 10; i++) {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get(`/${i}`));
      const { connection } = await arrived;
      const said = connection.send(ok(`${i}`), POISON);
      expect((await visitor.answer()).body.toString()).toBe(`${i}`);
      await expectOthersUnharmed(tunnel);
      await said.catch(() => {});
    }
  });

  acceptance("of the first of two, said before the second was asked for", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(get("/first"));
    const { connection } = await arrived;
    await connection.send(ok("first") + ok("second, before anyone asked"));
    expect((await visitor.answer()).body.toString()).toBe("first");
    tunnel.backend.answer(ok("second"));
    visitor.request(get("/second"));
    expect((await visitor.answer()).body.toString()).toBe("second");
    await expectOthersUnharmed(tunnel);
  });
});

describe("a chunk in an answer that two readers would end in two places is a visible cut", () => {
  acceptance.for<[name: string, body: string]>([
    ["a size with a sign", `+2\r\nok\r\n0\r\n\r\n${POISON}`],
    ["a size with 0x", `0x2\r\nok\r\n0\r\n\r\n${POISON}`],
    ["a size of 17 digits", `10000000000000002\r\nok\r\n0\r\n\r\n${POISON}`],
    ["a size that is none", `two\r\nok\r\n0\r\n\r\n${POISON}`],
    ["an empty size", `\r\nok\r\n0\r\n\r\n${POISON}`],
    ["data longer than its size", `1\r\nok\r\n0\r\n\r\n${POISON}`],
    ["nothing behind the data", `2\r\nok0\r\n\r\n${POISON}`],
    ["a LF in an extension", `2;a\nok\r\n0\r\n\r\n${POISON}`],
    ["a trailer with a CR", `2\r\nok\r\n0\r\nX: a\rX-Poison: 1\r\n\r\n`],
    ["a trailer with a NUL", `2\r\nok\r\n0\r\nX: a\0\r\n\r\n`],
    ["a length among the trailers", `2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n`],
    ["a coding among the trailers", `2\r\nok\r\n0\r\n${CHUNKED}\r\n\r\n`],
  ])("%s", async ([, body], { tunnel }) => {
    const got = await answeredBy(tunnel, head(CHUNKED) + body);
    expect(got[0] === "cut" || got[0]!.startsWith("502 ")).toBe(true);
    await expectOthersUnharmed(tunnel);
  });
});

acceptance("fields about the connection do not get from one visitor to another", async ({ tunnel }) => {
  const arrived = tunnel.backend.next();
  const visitor = await tunnel.request(get());
  await (
    await arrived
  ).connection.send(
    ok(
      "ok",
      "Connection: X-Private, keep-alive",
      "X-Private: 1",
      "Keep-Alive: timeout=9, max=1",
      "Proxy-Connection: x",
    ),
  );
  const { fields } = await visitor.answer();
  for (const name of ["x-private", "proxy-connection"]) expect(fieldValues(fields, name)).toEqual([]);
  expect(fieldValues(fields, "connection").join()).not.toMatch(/private/i);
  await expectOthersUnharmed(tunnel);
});

import { describe, expect, test } from "vitest";
import { AnswerReader } from "../../../client/local/answer-reader.ts";
import { readAnswer } from "./read-answer.ts";

const CHUNKED = "Transfer-Encoding: chunked";

function head(...lines: string[]): string {
  return ["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n");
}

function chunked(body: string): string {
  return head(CHUNKED) + body;
}

describe("RFC 9112 section 2.2, 4 and 5: a head", () => {
  test("that stands as it is passed on is passed on byte for byte", () => {
    const lines =
      "HTTP/1.1 299 Fine \xe9\t!\r\nx-A: 1\r\nX-a: \xff \t2\r\nX-Empty: \r\nContent-Length: 0\r\n";
    expect(readAnswer(`${lines}\r\n`)).toMatchObject({ outcome: "whole", head: lines });
  });

  test.each([
    ["white space around values", "X:1\r\nY: \t2\r\nZ:\t3 \t\r\nE:\r\n", "X: 1\r\nY: 2\r\nZ: 3\r\nE: \r\n"],
    ["white space within values alone", "X: a \t b\r\n", "X: a \t b\r\n"],
  ])("is passed on with %s as encodeFields has it", (_, lines, passed) => {
    expect(readAnswer(`HTTP/1.1 204 No\r\n${lines}\r\n`).head).toBe(`HTTP/1.1 204 No\r\n${passed}`);
  });

  test.each([
    ["HTTP/1.1 204\r\n\r\n", "HTTP/1.1 204 \r\n"],
    ["HTTP/1.1 204 \r\n\r\n", "HTTP/1.1 204 \r\n"],
    ["HTTP/1.1 204   No \r\n\r\n", "HTTP/1.1 204   No \r\n"],
    ["HTTP/1.0 204 No\r\n\r\n", "HTTP/1.1 204 No\r\n"],
    ["HTTP/1.1 204\n\n", "HTTP/1.1 204 \r\n"],
    ["HTTP/1.1 204 No\nX: y\n\n", "HTTP/1.1 204 No\r\nX: y\r\n"],
    ["HTTP/1.1 204 No\nX:y \t\r\nY: z\n\r\n", "HTTP/1.1 204 No\r\nX: y\r\nY: z\r\n"],
    ["HTTP/1.1 204 No\r\nX: \nY:\n\n", "HTTP/1.1 204 No\r\nX: \r\nY: \r\n"],
    ["HTTP/1.1 204 No\r\nX: y\r\n\n", "HTTP/1.1 204 No\r\nX: y\r\n"],
  ])("may begin with %j", (text, passed) => {
    expect(readAnswer(text)).toMatchObject({ outcome: "whole", head: passed });
  });

  test.each([
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    " HTTP/1.1 200 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    "HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1\t200 OK\r\n\r\n",
    "HTTP/1.1 200\tOK\r\n\r\n",
    "HTTP/1.1 200OK\r\n\r\n",
    "HTTP/1.1 OK\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/1.1 000 OK\r\n\r\n",
    "\nHTTP/1.1 200 OK\n\n",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 200 O\x01K\r\n\r\n",
    "HTTP/1.1 200 O\rK\r\n\r\n",
    "HTTP/1.1 200 O\nK\r\n\r\n",
    "HTTP/1.1 200 OK\n\r\r\n",
    "HTTP/1.1 200 OK\r\r\n\r\n",
  ])("does not begin with %j", (text) => {
    expect(readAnswer(text).outcome).toBe("broken");
  });

  test.each([
    "X : a",
    "X\t: a",
    " X: a",
    "X Y: a",
    "X\xe9: a",
    "X(: a",
    ": a",
    "X",
    "X: a\r\n b",
    "X: a\r\n\tb",
    "X: a\0",
    "X: a\x01",
    "X: a\x7f",
    "X: a\rY: b",
    "X: a\n b",
    "X: a\r\r",
    "X: a\r",
    "X\0: a",
  ])("has no field line %j", (line) => {
    expect(readAnswer(head(line, "Content-Length: 0")).outcome).toBe("broken");
    expect(readAnswer(chunked(`0\r\n${line}\r\n\r\n`)).outcome).toBe("broken");
  });

  test.each<[string, string]>([
    ["another protocol", "SSH-2.0"],
    ["half a status line of another", "HTTP/2"],
    ["a bare CR", "HTTP/1.1 200 OK\r\nX: a\rb"],
    ["a control character", "HTTP/1.1 200 OK\r\nX: \0"],
    ["a fold", "HTTP/1.1 200 OK\r\nX: a\r\n "],
    ["a fold behind LF", "HTTP/1.1 200 OK\nX: a\n "],
  ])("is known to be broken by %s before its end comes", (_, text) => {
    for (const cuts of [[], Array.from(text, (_, i) => i)]) {
      expect(readAnswer(text, { ends: false, cuts }).outcome).toBe("broken");
    }
  });

  test("may have 64 KiB, in any number of fields, and comes to its end as soon as it has more", () => {
    const start = "HTTP/1.1 204 No\r\n";
    const room = 64 * 1024 - start.length - 2;
    expect(readAnswer(`${start}${"X: y\r\n".repeat(Math.floor(room / 6))}\r\n`).outcome).toBe("whole");
    expect(readAnswer(`${start}X: ${"y".repeat(room - 5)}\r\n\r\n`).outcome).toBe("whole");
    expect(readAnswer(`${start}X: ${"y".repeat(room - 4)}\r\n\r\n`).outcome).toBe("broken");
    expect(readAnswer(`${start}X: ${"y".repeat(room)}`, { ends: false }).outcome).toBe("broken");
    // Passed on it would have more.
    expect(readAnswer(`${start}${"X:y\r\n".repeat(Math.floor(room / 5))}\r\n`).outcome).toBe("broken");
  });

  test("that ends its lines with LF alone ends where it does with CRLF, in whichever pieces it comes", () => {
    const text = "HTTP/1.1 103 Hints\nLink: </a>\n\nHTTP/1.1 200 OK\nContent-Length: 4\r\nX: y\n\n\n\r\n!";
    for (const cuts of [[], Array.from(text, (_, i) => i)]) {
      expect(readAnswer(`${text}HTTP/1.1`, { cuts, ends: false })).toMatchObject({
        outcome: "whole",
        interims: ["HTTP/1.1 103 Hints\r\nLink: </a>\r\n"],
        head: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\n",
        body: "\n\r\n!",
        bytes: text.length,
      });
    }
  });

  test.each([600, 799, 999])("may have the status %i, of none of HTTP's classes", (status) => {
    const own = readAnswer(`HTTP/1.1 ${status} Odd\r\nContent-Length: 2\r\n\r\nok`);
    expect(own).toMatchObject({
      outcome: "whole",
      head: `HTTP/1.1 ${status} Odd\r\nContent-Length: 2\r\n`,
      body: "ok",
    });
  });

  test("that comes byte by byte takes no longer than its bytes", () => {
    const text = Buffer.from(`HTTP/1.1 204 No\r\nX: ${"y".repeat(65_000)}\r\n\r\n`);
    const reader = new AnswerReader("GET", { interimAnswer() {}, answer() {}, body() {} });
    const started = performance.now();
    for (let i = 0; i < text.length; i++) reader.push(text.subarray(i, i + 1));
    expect(reader.state).toBe("whole");
    // Looked at anew for each byte it would be two billion steps.
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  test("holds none of the bytes it came with", () => {
    let passed: Buffer | undefined;
    const reader = new AnswerReader("GET", {
      interimAnswer() {},
      answer: ({ bytes }) => (passed = bytes),
      body() {},
    });
    const bytes = Buffer.from(head("Content-Length: 0"));
    reader.push(bytes);
    bytes.fill("!");
    expect(passed?.toString()).toBe("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
  });
});

describe("RFC 9112 section 6: a body", () => {
  test.each<[string, string, string, string]>([
    ["nothing, to HEAD", "HEAD", head("Content-Length: 5"), ""],
    ["nothing, to HEAD in chunks", "HEAD", head(CHUNKED), ""],
    ["nothing, in a 204", "GET", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", ""],
    ["nothing, in a 304", "GET", `HTTP/1.1 304 Same\r\n${CHUNKED}\r\n\r\n`, ""],
    ["a length of 0", "GET", head("Content-Length: 0"), ""],
    ["a length", "GET", `${head("Content-Length: 5")}hello`, "hello"],
    ["a length with zeros before it", "GET", `${head("Content-Length: 0005")}hello`, "hello"],
    ["chunks", "GET", chunked("5\r\nhello\r\n00A;x=1\r\n0123456789\r\n0\r\n\r\n"), "hello0123456789"],
    ["chunks in HTTP/1.0", "GET", `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n\r\n1\r\nx\r\n0\r\n\r\n`, "x"],
  ])("ends by %s, and nothing behind belongs to it", (_, method, text, body) => {
    const own = readAnswer(`${text}HTTP/1.1 200 OK\r\n\r\n`, { method, ends: false });
    expect(own).toMatchObject({ outcome: "whole", body, bytes: text.length, fault: "" });
  });

  test("without a length ends with the connection", () => {
    expect(readAnswer(`${head()}hello`)).toMatchObject({ outcome: "whole", body: "hello" });
    expect(readAnswer(`${head()}hello`, { ends: false })).toMatchObject({ outcome: "cut", body: "hello" });
  });

  test.each([
    ["within its head", "HTTP/1.1 200 OK\r\n"],
    ["behind an interim head", "HTTP/1.1 103 Hints\r\n\r\n"],
    ["short of its length", `${head("Content-Length: 6")}hello`],
    ["within a chunk", chunked("6\r\nhello")],
    ["behind a chunk", chunked("5\r\nhello\r\n")],
    ["within its last chunk", chunked("5\r\nhello\r\n0\r\n")],
    ["within its trailers", chunked("0\r\nX: y\r\n")],
  ])("is cut by an end %s", (_, text) => {
    expect(readAnswer(text).outcome).toBe("cut");
  });

  test.each<[string, string]>([
    ["Content-Length: 2\r\nX: y\r\ncontent-length: 2", "Content-Length: 2\r\nX: y"],
    ["content-length: 2, 2", "content-length: 2"],
    ["Content-Length: 2 ,2,  2\r\nContent-Length:2", "Content-Length: 2"],
    ["Transfer-Encoding: identity\r\nContent-Length: 2", "Content-Length: 2"],
    ["Content-Length: 2\r\ntransfer-encoding: Identity \r\nX: y", "Content-Length: 2\r\nX: y"],
  ])("that says its length by %j is passed on with %j", (lines, passed) => {
    const text = `${head(lines)}ok`;
    const own = readAnswer(`${text}HTTP/1.1 200 OK`, { ends: false });
    expect(own).toMatchObject({
      outcome: "whole",
      head: `HTTP/1.1 200 OK\r\n${passed}\r\n`,
      body: "ok",
      bytes: text.length,
    });
  });

  test("with no coding but `identity` ends with the connection", () => {
    const own = readAnswer(`${head("Transfer-Encoding: identity", "X: y")}hello`);
    expect(own).toMatchObject({ outcome: "whole", head: "HTTP/1.1 200 OK\r\nX: y\r\n", body: "hello" });
    expect(own.untilTheEnd).toBe(true);
  });

  test.each([
    ["Content-Length: 2", "Content-Length: 3"],
    ["Content-Length: 2", "Content-Length: 02"],
    ["Content-Length: 2, 3"],
    ["Content-Length: 2, 02"],
    ["Content-Length: 2,"],
    ["Content-Length: ,2"],
    ["Content-Length: 2,,2"],
    ["Content-Length: 2, 2", "Content-Length: 3"],

    ["Content-Length: 2; 2"],
    ["Content-Length: 2,\xa02"],
    ["Content-Length: two, two"],
    ["Content-Length: +2"],
    ["Content-Length: -2"],
    ["Content-Length: 0x2"],
    ["Content-Length: 2 2"],
    ["Content-Length:"],
    ["Content-Length: two"],
    ["Content-Length: 2\t"],
    ["Transfer-Encoding: chunked \t"],
    [`Content-Length: ${"9".repeat(16)}`],
    ["Content-Length: 2", CHUNKED],
    [CHUNKED, "content-length: 2"],
    [CHUNKED, CHUNKED],
    ["Transfer-Encoding: chunked, chunked"],
    ["Transfer-Encoding: gzip, chunked"],
    ["Transfer-Encoding: chunked, gzip"],
    ["Transfer-Encoding: gzip"],
    ["Transfer-Encoding: identity, chunked"],
    ["Transfer-Encoding: chunked, identity"],
    ["Transfer-Encoding: identity", CHUNKED],
    [CHUNKED, "Transfer-Encoding: identity"],
    ["Transfer-Encoding: identity", "Content-Length: 2", "Content-Length: 3"],
    ["Transfer-Encoding:"],
    ["Transfer-Encoding: xchunked"],
    ['Transfer-Encoding: "chunked"'],
  ])("is not framed by %j %j, not even where there is none", (...lines) => {
    for (const [start, method] of [
      ["HTTP/1.1 200 OK", "GET"],
      ["HTTP/1.1 200 OK", "HEAD"],
      ["HTTP/1.1 204 No", "GET"],
      ["HTTP/1.1 103 Hints", "GET"],
    ]) {
      const text = [start, ...lines, "", ""].join("\r\n");
      expect(readAnswer(text, { method: method! }).outcome).toBe("broken");
    }
  });
});

describe("RFC 9112 section 7.1: chunks", () => {
  test.each([
    "+2\r\nok",
    "-2\r\nok",
    "0x2\r\nok",
    "g\r\nok",
    "\r\nok",
    " 2\r\nok",
    "2 \r\nok",
    "2\nok",
    "2\r\r\nok",
    "2\r\nok\n",
    "2\r\nokk\r\n",
    "2\r\nok0\r\n",
    "20000000000000\r\n", // 2^53
    "00000000000000002\r\nok", // 17 digits
    "fffffffffffffffff\r\n",
    "2;\r\nok",
    "2; a\r\nok",
    "2 ;a\r\nok",
    "2;a=\r\nok",
    '2;a="\r\nok',
    "2;a\nok",
    "2\nok\n",
    "2\r\nok\r\n0\n\r\n",
    "2\r\nok\r\n0\r\n\n",
    "2\r\nok\r\n0\r\nX: y\n\r\n",
    "2\r\nok\r\n0\r\nX: y\r\n\n",
    "2;a\0\r\nok",
    '2;a="\x80"\r\nok',
    `2;${"a".repeat(5_000)}`,
  ])("are none in %j", (body) => {
    for (const cuts of [[], Array.from(chunked(body), (_, i) => i)]) {
      expect(readAnswer(chunked(`${body}\r\n0\r\n\r\n`), { cuts }).outcome).toBe("broken");
    }
  });

  test.each(["xyz", "2\r\nokk", "2\r\nok\n", "+", "2;a\n", `2;${"a".repeat(5_000)}`])(
    "are known to be broken in %j before a line end comes",
    (body) => {
      expect(readAnswer(chunked(body), { ends: false }).outcome).toBe("broken");
    },
  );

  test.each([";a", ";a=b", ';a="b; \\" c"', ";a;b=1;c"])("may have the extension %s", (extension) => {
    const own = readAnswer(chunked(`2${extension}\r\nok\r\n0${extension}\r\n\r\n`));
    expect(own).toMatchObject({ outcome: "whole", body: "ok" });
  });

  test("may be as long as a number can say", () => {
    expect(readAnswer(chunked("001fffffffffffff\r\nab"), { ends: false })).toMatchObject({
      outcome: "cut",
      body: "ab",
    });
  });

  test("are followed by trailers, which keep order, case, repeats and bytes", () => {
    const own = readAnswer(chunked("0\r\nx-Sum: 1\r\nX-SUM:2 \r\nX-N: \xe9\r\n\r\n"));
    expect(own.trailers).toBe("x-Sum: 1\r\nX-SUM: 2\r\nX-N: \xe9\r\n");
  });

  test.each([
    "Content-Length: 5",
    "content-length: 0",
    "Transfer-Encoding: chunked",
    `X: ${"y".repeat(66_000)}`,
  ])("are not followed by the trailer %.30s", (line) => {
    expect(readAnswer(chunked(`0\r\n${line}\r\n\r\n`)).outcome).toBe("broken");
  });
});

describe("RFC 9110 section 15.2: interim answers", () => {
  test("come before the answer, each with its fields, and have no body", () => {
    const own = readAnswer(
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink:</a>\r\nContent-Length: 9\r\n\r\n${head("Content-Length: 0")}`,
    );
    expect(own).toMatchObject({
      outcome: "whole",
      interims: ["HTTP/1.1 100 Continue\r\n", "HTTP/1.1 103 Hints\r\nLink: </a>\r\nContent-Length: 9\r\n"],
      head: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    });
  });

  test.each([
    ["HTTP/1.1 103 Hints\r\nConnection: close\r\n\r\n"],
    ["HTTP/1.1 103 Hints\r\nProxy-Connection: x, Close\r\n\r\n"],
    ["HTTP/1.0 103 Hints\r\n\r\n"],
  ])("do not end the connection, as %j would", (text) => {
    expect(readAnswer(text).outcome).toBe("broken");
  });
});

describe("RFC 9110 section 7.8: a switch of protocols", () => {
  test.each([
    "Connection: upgrade\r\nUpgrade: x",
    "UPGRADE: x\r\nConnection: a, Upgrade \r\nContent-Length: 0",
  ])("is the end of the answer: %j", (lines) => {
    const text = `HTTP/1.1 101 Sure\r\n${lines}\r\n\r\n`;
    expect(readAnswer(`${text}\0\r\n`)).toMatchObject({ outcome: "switched", bytes: text.length });
  });

  test.each([
    "",
    "Connection: upgrade\r\n",
    "Upgrade: x\r\n",
    "Connection: upgrade\r\nUpgrade: \r\n",
    "Connection: no-upgrade\r\nUpgrade: x\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n",
    `Connection: upgrade\r\nUpgrade: x\r\n${CHUNKED}\r\n`,
  ])("is none with %j", (lines) => {
    expect(readAnswer(`HTTP/1.1 101 Sure\r\n${lines}\r\n`).outcome).toBe("broken");
  });

  test("is not in other answers", () => {
    const text = head("Connection: Upgrade", "Upgrade: x", "Content-Length: 2");
    expect(readAnswer(`${text}ok`)).toMatchObject({ outcome: "whole", body: "ok" });
  });
});

describe("RFC 9112 section 9.3: a connection takes another request", () => {
  test.each<[boolean, string]>([
    [true, head("Content-Length: 0")],
    [true, head("Content-Length: 0", "Connection: closed")],
    [true, chunked("0\r\n\r\n")],
    [true, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n"],
    [false, head("Content-Length: 0", "Connection: Close")],
    [false, head("Content-Length: 0", "Connection: x", "connection: keep-alive,close")],
    [false, head("Content-Length: 0", "Proxy-Connection: close")],
    [false, head()],
    [false, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    [false, "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n"],
    [false, `HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n${CHUNKED}\r\n\r\n0\r\n\r\n`],
  ])("%s: behind %j", (persistent, text) => {
    const own = readAnswer(text);
    expect(own.outcome).toBe("whole");
    expect(own.heads.at(-1)?.persistent).toBe(persistent);
  });
});

test("a reader that is stopped by what it told says no more", () => {
  const told: string[] = [];
  const reader: AnswerReader = new AnswerReader("GET", {
    interimAnswer() {
      told.push("interim");
      reader.stop();
    },
    answer: () => told.push("answer"),
    body: () => told.push("body"),
  });
  reader.push(Buffer.from(`HTTP/1.1 103 Hints\r\n\r\n${head("Content-Length: 2")}ok`));
  expect(told).toEqual(["interim"]);
});

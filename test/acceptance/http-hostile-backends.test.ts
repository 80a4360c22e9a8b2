import { describe, expect } from "vitest";
import type { RawConnection } from "../support/raw-backend.ts";
import { Cut, fieldValue } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, expectInStep, get, ok, request } from "./messages.ts";

const MIB = 1024 * 1024;
const CHUNKED = "Transfer-Encoding: chunked";
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";

type Deed = string | ((connection: RawConnection) => Promise<void> | void);

function head(...lines: string[]): string {
  return ["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n");
}

async function sendAndEnd(connection: RawConnection, text: string): Promise<void> {
  await connection.send(text);
  connection.end();
}

async function sendAndReset(connection: RawConnection, text: string): Promise<void> {
  await connection.send(text);
  connection.reset();
}

describe("a local service that answers with no answer costs one visitor a 502:", () => {
  acceptance.for<[name: string, deed: Deed]>([
    ["garbage", "\x00\xff garbage\r\n\r\n"],
    ["a megabyte of garbage", "\x80".repeat(MIB)],
    ["a request in place of an answer", get("/back")],
    ["another protocol's greeting", "220 mail.example ESMTP\r\n"],
    ["a greeting of SSH", "SSH-2.0-OpenSSH_9.2p1\r\n"],
    ["TLS bytes", "\x15\x03\x01\x00\x02\x02\x28"],
    ["HTTP/2 frames", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"],
    ["nothing, and closes", (connection) => connection.end()],
    ["nothing, and resets", (connection) => connection.reset()],
    ["blank lines, and closes", (connection) => sendAndEnd(connection, "\r\n\r\n")],
    ["half a status line, and closes", (connection) => sendAndEnd(connection, "HTTP/1.1 20")],
    ["half a head, and closes", (connection) => sendAndEnd(connection, "HTTP/1.1 200 OK\r\nContent-")],
    ["half a head, and resets", (connection) => sendAndReset(connection, "HTTP/1.1 200 OK\r\nContent-")],
    ["a head without its blank line", (connection) => sendAndEnd(connection, "HTTP/1.1 200 OK\r\nX: 1\r\n")],
    ["a 100 and nothing more", (connection) => sendAndEnd(connection, "HTTP/1.1 100 Continue\r\n\r\n")],
    ["a 103 and half a head", (connection) => sendAndEnd(connection, "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 2")],
    ["status 000", "HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n"],
    ["status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"],
    ["status 99", "HTTP/1.1 99 Short\r\nContent-Length: 0\r\n\r\n"],
    ["status 1000", "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"],
    ["a negative status", "HTTP/1.1 -20 Low\r\nContent-Length: 0\r\n\r\n"],
    ["a status in letters", "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"],
    ["HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["HTTP/9.9", "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a version in lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a control byte in its reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"],
    ["a bare CR in its reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"],
    ["a control byte in a field", head("X: a\x01b", "Content-Length: 0")],
    ["NUL in a field", head("X: a\x00b", "Content-Length: 0")],
    ["DEL in a field", head("X: a\x7fb", "Content-Length: 0")],
    ["a bare CR in a field", head("X: a\rSet-Cookie: b", "Content-Length: 0")],
    ["a bare LF in a field's name", head("X\nY: a", "Content-Length: 0")],
    ["a folded field", head("X: a", " b", "Content-Length: 0")],
    ["a field without a name", head(": a", "Content-Length: 0")],
    ["a field without a colon", head("X a", "Content-Length: 0")],
    ["a space in a name", head("X Y: a", "Content-Length: 0")],
    ["a space behind a name", head("Content-Length : 0")],
    ["a byte beyond ASCII in a name", head("X\xe9: a", "Content-Length: 0")],
    ["two lengths that differ", `${head("Content-Length: 5", "Content-Length: 6")}hello!`],
    ["a list of lengths that differ", `${head("Content-Length: 5, 6")}hello!`],
    ["a negative length", head("Content-Length: -1")],
    ["a length that is none", head("Content-Length: five")],
    ["a length beyond all numbers", head(`Content-Length: ${"9".repeat(30)}`)],
    ["length and chunks", `${head("Content-Length: 5", CHUNKED)}0\r\n\r\n`],
    ["chunks and length", `${head(CHUNKED, "Content-Length: 5")}0\r\n\r\n`],
    ["chunks twice", `${head(CHUNKED, CHUNKED)}0\r\n\r\n`],
    ["an unknown coding in chunks", `${head("Transfer-Encoding: gzip, chunked")}0\r\n\r\n`],
    ["an unknown coding", head("Transfer-Encoding: gzip")],
    ["a 101 that nobody asked for", SWITCHING],
    ["a 101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    ["a head of a megabyte", head(`X: ${"x".repeat(MIB)}`)],
    [
      "a head of a megabyte in many fields",
      head(...Array.from({ length: 9_000 }, (_, i) => `X-${i}: ${"x".repeat(100)}`)),
    ],
    ["a thousand interim answers", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)],
    ["a status line without end", `HTTP/1.1 200 ${"O".repeat(MIB)}`],
  ])("%s", async ([, deed], { tunnel }) => {
    tunnel.backend.serve(({ connection }) =>
      typeof deed === "string" ? connection.send(deed) : deed(connection),
    );
    const visitor = await tunnel.request(get());
    const answer = await visitor.answer();
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).not.toContain("127.0.0.1");
    await expectInStep(tunnel, visitor);
  });

  acceptance("a 101 to a request with a body", async ({ tunnel }) => {
    tunnel.backend.answer(SWITCHING);
    const visitor = await tunnel.request(request("POST /", ["Content-Length: 5"], "hello"));
    expect((await visitor.answer()).status).toBe(502);
  });

  acceptance("the connection that sent it takes no other request", async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) =>
      connection.send("HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
    );
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).status).toBe(502);
    await expectInStep(tunnel, visitor);
    expect(tunnel.backend.connections).toHaveLength(2);
  });

  acceptance(
    "its page says so as the visitor likes it, with the request's id of both logs",
    async ({ tunnel }) => {
      await tunnel.backend.down();
      const visitor = await tunnel.request(get("/", "Accept: application/json"));
      const answer = await visitor.answer();
      const { error } = JSON.parse(answer.body.toString()) as {
        error: { status: number; code: string; requestId: string };
      };
      expect(answer.status).toBe(502);
      expect(fieldValue(answer.fields, "content-type")).toMatch(/json/);
      expect(error).toMatchObject({ status: 502, code: "REFUSED" });
      await tunnel.client.printed(error.requestId);
      await tunnel.server.printed(error.requestId);
      const lines = [...tunnel.client.lines, ...tunnel.server.lines];
      const about = lines.filter(({ requestId }) => requestId === error.requestId);
      expect(about).toMatchObject([{ message: "request failed" }, { message: "request", status: 502 }]);
    },
  );
});

describe("a local service that breaks off within a body is visibly cut:", () => {
  acceptance.for<[name: string, framing: string, part: string]>([
    ["a body shorter than its length", "Content-Length: 10", "short"],
    ["chunks without the last one", CHUNKED, "5\r\nshort\r\n"],
    ["a chunk cut short", CHUNKED, "ff\r\nshort"],
    ["an odd chunk size", CHUNKED, "5\r\nshort\r\nxyz\r\n"],
    ["a negative chunk size", CHUNKED, "5\r\nshort\r\n-1\r\n"],
    ["a chunk size in 0x", CHUNKED, "5\r\nshort\r\n0x5\r\nshort\r\n0\r\n\r\n"],
    ["a chunk size beyond all numbers", CHUNKED, `5\r\nshort\r\n${"f".repeat(20)}\r\n`],
    ["an empty chunk size", CHUNKED, "5\r\nshort\r\n\r\n0\r\n\r\n"],
    ["a chunk longer than its size", CHUNKED, "5\r\nshorter\r\n0\r\n\r\n"],
    ["a chunk ended by LF alone", CHUNKED, "5\r\nshort\n0\r\n\r\n"],
    ["no chunk at all", CHUNKED, "short"],
    ["trailers that are none", CHUNKED, "5\r\nshort\r\n0\r\nX Y\r\n\r\n"],
    ["a control byte in a trailer", CHUNKED, "5\r\nshort\r\n0\r\nX: \x01\r\n\r\n"],
    ["a length in a trailer", CHUNKED, "5\r\nshort\r\n0\r\nContent-Length: 5\r\n\r\n"],
    ["trailers of a megabyte", CHUNKED, `5\r\nshort\r\n0\r\nX: ${"x".repeat(MIB)}\r\n\r\n`],
    ["chunk extensions of a megabyte", CHUNKED, `5;${"x".repeat(MIB)}\r\nshort\r\n0\r\n\r\n`],
  ])("%s", async ([, framing, part], { tunnel }) => {
    tunnel.backend.serve(({ connection }) => sendAndEnd(connection, head(framing) + part));
    const visitor = await tunnel.request(get());
    // Where all comes at once, the fault may be found before the head has gone on.
    const outcome = await visitor.answer().then(
      ({ status }) => status,
      (error: unknown) => error,
    );
    if (outcome !== 502) expect(outcome).toBeInstanceOf(Cut);
    await expectInStep(tunnel, await tunnel.visitor());
  });
});

describe("what a local service says beyond its answer reaches nobody:", () => {
  const forged = ok("forged");
  acceptance.for<[name: string, method: string, answer: string, body: string]>([
    ["an answer behind a body by length", "GET", ok("ok") + forged, "ok"],
    ["an answer behind chunks", "GET", `${head(CHUNKED)}${chunked("ok")}${forged}`, "ok"],
    ["bytes behind a body by length", "GET", `${ok("ok")}excess`, "ok"],
    ["line ends behind a body", "GET", `${ok("ok")}\r\n\r\n`, "ok"],
    ["a megabyte behind a body", "GET", ok("ok") + "x".repeat(MIB), "ok"],
    ["an answer behind an empty body", "GET", ok("") + forged, ""],
    ["a body behind HEAD", "HEAD", ok("forged"), ""],
    ["a body behind 204", "GET", "HTTP/1.1 204 No Content\r\n\r\nforged", ""],
    ["an answer behind 204", "GET", `HTTP/1.1 204 No Content\r\n\r\n${forged}`, ""],
    ["a body by length of 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nforged", ""],
    ["a body of 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nforged", ""],
    [
      "a body in chunks of 304",
      "GET",
      `HTTP/1.1 304 Not Modified\r\n${CHUNKED}\r\n\r\n${chunked("forged")}`,
      "",
    ],
    ["an answer behind a refusal", "GET", `HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno${forged}`, "no"],
  ])("%s", async ([, method, answer, body], { tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(answer));
    const visitor = await tunnel.request(...Array<string>(3).fill(request(`${method} /`)));
    for (let i = 0; i < 3; i++) expect((await visitor.answer(method)).body.toString()).toBe(body);
    expect(visitor.unread).toBe("");
    const other = await tunnel.visitor();
    await expectInStep(tunnel, other);
    await expectInStep(tunnel, visitor);
  });

  acceptance("an answer on an idle connection, before anyone asks", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).body.toString()).toBe("ok");
    const [connection] = tunnel.backend.connections;
    const startMs = performance.now();
    await connection!.send(forged);
    await connection!.untilClosed();
    // It would be closed behind 5 s of silence anyway.
    expect(performance.now() - startMs).toBeLessThan(4_000);
    await expectInStep(tunnel, visitor);
  });

  acceptance(
    "bytes of one exchange on an idle connection, while another is under way",
    async ({ tunnel }) => {
      tunnel.backend.answer(ok("ok"));
      const first = await tunnel.request(get("/first"));
      expect((await first.answer()).body.toString()).toBe("ok");
      const [idle] = tunnel.backend.connections;
      const arrived = tunnel.backend.next();
      const second = await tunnel.request(request("POST /second", ["Content-Length: 0"]));
      const { connection } = await arrived;
      expect(connection).not.toBe(idle);
      await idle!.send(forged).catch(() => {});
      await connection.send(ok("own"));
      expect((await second.answer()).body.toString()).toBe("own");
      await expectInStep(tunnel, first);
    },
  );
});

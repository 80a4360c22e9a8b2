import { describe, expect } from "vitest";
import { rawFields } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { ALL_LATIN1, chunked, expectInStep, expectInStepOrOver, get, HOST, ok, request } from "./messages.ts";

const MIB = 1024 * 1024;
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const CHUNKED = "Transfer-Encoding: chunked";

function expecting(...fields: string[]): string {
  return request("POST /", ["Expect: 100-continue", ...fields]);
}

describe("Expect: 100-continue", () => {
  acceptance.for<[name: string, field: string, body: string]>([
    ["by length", "Content-Length: 5", "hello"],
    ["in chunks", CHUNKED, chunked("hel", "lo")],
  ])(
    "is answered by the local service, and the body %s comes behind its 100",
    async ([, field, body], { tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(expecting(field));
      const asked = await arrived;
      expect(asked.fields).toContain("Expect");
      expect(asked.connection.text.endsWith("\r\n\r\n")).toBe(true);
      expect(visitor.unread).toBe("");

      await asked.connection.send(CONTINUE);
      expect(await visitor.head()).toMatchObject({ status: 100 });
      visitor.send(body);
      expect((await asked.body()).bytes.toString()).toBe("hello");
      await asked.connection.send(ok("thanks"));
      expect(await visitor.answer()).toMatchObject({ status: 200, interims: [] });
      await expectInStep(tunnel, visitor);
    },
  );

  acceptance("may be answered late, and nobody else says 100 meanwhile", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(expecting("Content-Length: 5"));
    const asked = await arrived;
    // How long nothing may be said: a 100 that the edge made up would come at once.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(visitor.unread).toBe("");
    expect(asked.bodyBytes).toBe(0);
    await asked.connection.send(CONTINUE);
    expect(await visitor.head()).toMatchObject({ status: 100 });
    visitor.send("hello");
    await asked.body();
    await asked.connection.send(ok("ok"));
    expect((await visitor.answer()).status).toBe(200);
  });

  acceptance.for([401, 403, 413, 417, 503, 302])(
    "refused with %d is the final status alone",
    async (status, { tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(expecting("Content-Length: 5"));
      const asked = await arrived;
      await asked.connection.send(`HTTP/1.1 ${status} No\r\nContent-Length: 2\r\n\r\nno`);
      const answer = await visitor.answer();
      expect(answer).toMatchObject({ status, interims: [] });
      expect(answer.body.toString()).toBe("no");
      expect(asked.bodyBytes).toBe(0);
    },
  );

  acceptance("refused: a body that comes all the same is no request", async ({ tunnel }) => {
    const hidden = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(expecting(`Content-Length: ${hidden.length}`));
    const asked = await arrived;
    await asked.connection.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(417);
    visitor.send(hidden);
    tunnel.backend.answer(ok("next"));
    visitor.request(get("/next"));
    // Either the connection is in step behind the body, or it has ended; nothing else may be said on it.
    const next = await visitor.answer().catch(() => undefined);
    if (next) expect(next.body.toString()).toBe("next");
    expect(tunnel.backend.requests.map(({ target }) => target)).not.toContain("/hidden");
  });

  acceptance.for<[name: string, field: string, body: string]>([
    ["by length", "Content-Length: 5", "eager"],
    ["in chunks", CHUNKED, chunked("eager")],
  ])("does not hold a visitor back who sends a body %s at once", async ([, field, body], { tunnel }) => {
    tunnel.backend.serve(async (asked) => asked.connection.send(ok((await asked.body()).bytes.toString())));
    const visitor = await tunnel.request(expecting(field) + body);
    const answer = await visitor.answer();
    expect(answer.body.toString()).toBe("eager");
    await expectInStepOrOver(tunnel, visitor, answer);
  });

  acceptance(
    "is no matter of a service that answers without a 100 when the body has come",
    async ({ tunnel }) => {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(expecting("Content-Length: 4"));
      const asked = await arrived;
      visitor.send("late");
      expect((await asked.body()).bytes.toString()).toBe("late");
      await asked.connection.send(ok("ok"));
      const answer = await visitor.answer();
      expect(answer).toMatchObject({ status: 200, interims: [] });
      await expectInStepOrOver(tunnel, visitor, answer);
    },
  );

  acceptance("in capitals means the same", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", ["EXPECT: 100-Continue", "Content-Length: 1"]));
    const { connection, body } = await arrived;
    await connection.send(CONTINUE);
    expect((await visitor.head()).status).toBe(100);
    visitor.send("x");
    await body();
    await connection.send(ok("ok"));
    expect((await visitor.answer()).status).toBe(200);
  });

  acceptance("of another expectation is the local service's to refuse", async ({ tunnel }) => {
    tunnel.backend.answer("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    const visitor = await tunnel.request(request("POST /", ["Expect: 200-ok", "Content-Length: 1"], "x"));
    expect((await visitor.answer()).status).toBe(417);
    expect(tunnel.backend.requests[0]!.fields).toEqual(expect.arrayContaining(["Expect", "200-ok"]));
  });

  acceptance("answered twice over is passed on twice, and nothing is out of step", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(expecting("Content-Length: 1"));
    const { connection, body } = await arrived;
    await connection.send(CONTINUE, CONTINUE);
    visitor.send("x");
    await body();
    await connection.send(ok("ok"));
    const answer = await visitor.answer();
    expect(answer.interims.map(({ status }) => status)).toEqual([100, 100]);
    await expectInStep(tunnel, visitor);
  });

  acceptance("unasked: a 100 is passed on, and nothing waits for it", async ({ tunnel }) => {
    tunnel.backend.answer(`${CONTINUE}${ok("done")}`);
    const visitor = await tunnel.request(request("POST /", ["Content-Length: 1"], "x"), get());
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [{ status: 100 }] });
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [{ status: 100 }] });
  });

  acceptance("a visitor who leaves instead of sending a body is seen to have left", async ({ tunnel }) => {
    tunnel.allow(/FIN within/);
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(expecting("Content-Length: 5"));
    const { connection } = await arrived;
    await connection.send(CONTINUE);
    await visitor.head();
    visitor.abort();
    await connection.untilClosed();
  });
});

describe("an interim answer", () => {
  acceptance("103 reaches the visitor before the final answer is there", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(get());
    const { connection } = await arrived;
    for (const file of ["a", "b"]) {
      await connection.send(`HTTP/1.1 103 Early Hints\r\nLink: </${file}.css>; rel=preload\r\n\r\n`);
      const hint = await visitor.head();
      expect(hint).toMatchObject({ status: 103, fields: ["Link", `</${file}.css>; rel=preload`] });
    }
    await connection.send(ok("done"));
    expect((await visitor.answer()).body.toString()).toBe("done");
    await expectInStep(tunnel, visitor);
  });

  acceptance.for([
    [102, "Processing"],
    [103, "Early Hints"],
    [104, "Upload Resumption Supported"],
    [199, "Odd"],
  ] as const)("%d is passed on with its reason", async ([status, reason], { tunnel }) => {
    tunnel.backend.answer(`HTTP/1.1 ${status} ${reason}\r\nX-A: b\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.request(get());
    const answer = await visitor.answer();
    expect(answer.interims).toMatchObject([{ status, reason, fields: ["X-A", "b"] }]);
    await expectInStep(tunnel, visitor);
  });

  acceptance("keeps order, case, repeats and bytes of its fields", async ({ tunnel }) => {
    const fields = ["Link: </a.css>; rel=preload", "link: </b.js>", "X-Empty: ", `X-Latin: ${ALL_LATIN1}`];
    tunnel.backend.answer(`HTTP/1.1 103 Early Hints\r\n${fields.join("\r\n")}\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.request(get());
    expect((await visitor.answer()).interims[0]!.fields).toEqual(rawFields(...fields));
  });

  acceptance("says nothing of the connection or of a body", async ({ tunnel }) => {
    const own = "Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 5\r\nKeep-Alive: timeout=1\r\nX-A: b";
    tunnel.backend.answer(`HTTP/1.1 103 Early Hints\r\n${own}\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.request(get());
    const answer = await visitor.answer();
    expect(answer.interims[0]!.fields).toEqual(["X-A", "b"]);
    expect(answer.body.toString()).toBe("done");
    await expectInStep(tunnel, visitor);
  });

  acceptance("is kept from a visitor of HTTP/1.0", async ({ tunnel }) => {
    tunnel.backend.answer(`HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${ok("done")}`);
    const visitor = await tunnel.request(`GET / HTTP/1.0\r\n${HOST}\r\n\r\n`);
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: [] });
  });

  acceptance("comes to HEAD and ahead of an answer without a body too", async ({ tunnel }) => {
    const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    tunnel.backend.serve(({ connection }) => connection.send(`${hint}HTTP/1.1 204 No Content\r\n\r\n`));
    const visitor = await tunnel.request(request("HEAD /"), get());
    for (const method of ["HEAD", "GET"])
      expect(await visitor.answer(method)).toMatchObject({ status: 204, interims: [{ status: 103 }] });
    await expectInStep(tunnel, visitor);
  });

  acceptance("stands before its own answer among pipelined ones", async ({ tunnel }) => {
    tunnel.backend.serve(({ target, connection }) =>
      connection.send(`HTTP/1.1 103 Early Hints\r\nX-For: ${target}\r\n\r\n${ok(target)}`),
    );
    const visitor = await tunnel.request(get("/1"), get("/2"), get("/3"));
    for (const target of ["/1", "/2", "/3"]) {
      const answer = await visitor.answer();
      expect(answer.interims.map(({ fields }) => fields)).toEqual([["X-For", target]]);
      expect(answer.body.toString()).toBe(target);
    }
  });
});

describe("a final answer before the end of an upload", () => {
  acceptance.for<[name: string, field: string, first: string, later: string]>([
    ["by length", "Content-Length: 10", "first", "later"],
    ["in chunks", CHUNKED, "5\r\nfirst\r\n", chunked("later")],
  ])("reaches the uploader, and the rest %s is taken", async ([, field, first, later], { tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", [field], first));
    const asked = await arrived;
    await asked.connection.send(ok("early"));
    expect((await visitor.answer()).body.toString()).toBe("early");
    visitor.send(later);
    expect((await asked.body()).bytes.toString()).toBe("firstlater");
    // The rest of the upload is no request.
    await expectInStep(tunnel, visitor);
  });

  acceptance("before its first byte reaches the uploader", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", ["Content-Length: 5"]));
    const asked = await arrived;
    await asked.connection.send("HTTP/1.1 400 Early\r\nContent-Length: 2\r\n\r\nno");
    expect(await visitor.answer()).toMatchObject({ status: 400 });
    visitor.send("hello");
    expect((await asked.body()).bytes.toString()).toBe("hello");
    await expectInStep(tunnel, visitor);
  });

  acceptance.for([401, 413, 500, 302])(
    "of %d by a service that closes reaches the uploader",
    async (status, { tunnel }) => {
      // The upload ends with the connection that nobody reads any more.
      tunnel.allow(/FIN within/);
      tunnel.backend.serve(async ({ connection }) => {
        await connection.send(
          `HTTP/1.1 ${status} Early\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig`,
        );
        connection.end();
      });
      const visitor = await tunnel.request(
        request("POST /", [`Content-Length: ${64 * MIB}`], "x".repeat(MIB)),
      );
      const answer = await visitor.answer();
      expect(answer.status).toBe(status);
      expect(answer.body.toString()).toBe("big");
    },
  );

  acceptance("by a service that resets behind it reaches the uploader", async ({ tunnel }) => {
    tunnel.backend.serve(async ({ connection, body }) => {
      await body();
      await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
      connection.close();
    });
    const visitor = await tunnel.request(request("POST /", [`Content-Length: ${MIB}`], "x".repeat(MIB)));
    expect((await visitor.answer()).status).toBe(413);
  });

  acceptance("may itself be unfinished: bytes go both ways", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(request("POST /", [CHUNKED]));
    const { connection } = await arrived;
    await connection.send(`HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n`);
    expect((await visitor.head()).status).toBe(200);
    for (const word of ["one", "two", "three"]) {
      const chunk = `${word.length.toString(16)}\r\n${word}\r\n`;
      visitor.send(chunk);
      await connection.takeUntil(word);
      await connection.send(chunk);
      expect((await visitor.bytes(chunk.length)).toString()).toBe(chunk);
    }
    visitor.send("0\r\n\r\n");
    await connection.takeUntil("0\r\n\r\n");
    await connection.send("0\r\n\r\n");
    expect((await visitor.bytes(5)).toString()).toBe("0\r\n\r\n");
    await expectInStep(tunnel, visitor);
  });

  acceptance("has its head out before the first byte of its body is there", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(get());
    const { connection } = await arrived;
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    expect((await visitor.head()).status).toBe(200);
    await connection.send("body");
    expect((await visitor.bytes(4)).toString()).toBe("body");
  });
});

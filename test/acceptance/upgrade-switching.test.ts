import { describe, expect } from "vitest";
import { pattern } from "../support/byte-pattern.ts";
import type { RawConnection } from "../support/raw-backend.ts";
import { fieldValues, rawFields } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { expectAtRest, noteRest } from "./at-rest.ts";
import type { MarkedVisitor } from "./marked-visitor.ts";
import { expectInStep, forwarded, get, HOST, ok, request } from "./messages.ts";
import { Firehose } from "./pattern-stream.ts";
import type { Tunnel } from "./tunnel.ts";
import { frame, OPCODE } from "./websocket-frames.ts";
import { within } from "./within.ts";

const SOON_MS = 5_000;
const MIB = 1024 * 1024;
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat/1\r\nConnection: Upgrade\r\n\r\n";
const WEBSOCKET_SWITCH = SWITCH.replace("chat/1", "websocket").replace(
  "\r\n\r\n",
  "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
);
const WEBSOCKET = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

function upgrade(protocol = "chat/1", ...fields: string[]): string {
  return get("/chat", "Connection: Upgrade", `Upgrade: ${protocol}`, ...fields);
}

interface Switched {
  visitor: MarkedVisitor;
  connection: RawConnection;
}

async function switched(tunnel: Tunnel): Promise<Switched> {
  const arrived = tunnel.backend.next();
  const visitor = await tunnel.request(upgrade());
  const { connection } = await arrived;
  await connection.send(SWITCH);
  expect((await visitor.head()).status).toBe(101);
  return { visitor, connection };
}

describe("an upgrade that is granted", () => {
  acceptance("hands both heads on, with what is about the connection", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(
      upgrade("websocket", ...WEBSOCKET, "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: x; y=1"),
    );
    const { connection, fields } = await arrived;
    expect(fields).toEqual(
      forwarded(
        HOST,
        "Connection: Upgrade",
        "Upgrade: websocket",
        ...WEBSOCKET,
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: x; y=1",
      ).slice(0, -2),
    );
    const agreed = ["Sec-WebSocket-Protocol: b", "Sec-WebSocket-Extensions: x; y=2", "Set-Cookie: a=b"];
    await connection.send(WEBSOCKET_SWITCH.replace("\r\n\r\n", `\r\n${agreed.join("\r\n")}\r\n\r\n`));
    const head = await visitor.head();
    expect(head).toMatchObject({ status: 101, reason: "Switching Protocols" });
    expect(fieldValues(head.fields, "upgrade")).toEqual(["websocket"]);
    expect(fieldValues(head.fields, "connection")).toEqual(["Upgrade"]);
    expect(head.fields.join("\n")).toContain(
      rawFields("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ...agreed).join("\n"),
    );
  });

  acceptance("is so for whatever protocol, method and spelling", async ({ tunnel }) => {
    for (const [method, connection, protocol] of [
      ["GET", "Upgrade", "something"],
      ["POST", "upgrade", "tcp"],
      ["OPTIONS", "keep-alive, Upgrade", "TLS/1.3"],
      ["GET", "UPGRADE", "WebSocket"],
    ] as const) {
      const arrived = tunnel.backend.next();
      const fields = [`Connection: ${connection}`, `Upgrade: ${protocol}`];
      const visitor = await tunnel.request(request(`${method} /`, fields));
      const asked = await arrived;
      expect(asked.method).toBe(method);
      expect(fieldValues(asked.fields, "upgrade")).toEqual([protocol]);
      await asked.connection.send(SWITCH.replace("chat/1", protocol), "hello");
      expect((await visitor.head()).status).toBe(101);
      expect((await visitor.bytes(5)).toString()).toBe("hello");
    }
  });

  acceptance("carries bytes of any kind both ways", async ({ tunnel }) => {
    const { visitor, connection } = await switched(tunnel);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    for (let i = 1; i <= 3; i++) {
      visitor.send(bytes);
      expect(await connection.take(256)).toEqual(bytes);
      await connection.send(bytes);
      expect(await visitor.bytes(256)).toEqual(bytes);
    }
  });

  acceptance("carries what looks like HTTP, and it is none", async ({ tunnel }) => {
    const { visitor, connection } = await switched(tunnel);
    const hidden = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    visitor.send(hidden);
    await connection.takeUntil(hidden);
    await connection.send(ok("not an answer"));
    expect((await visitor.bytes(ok("not an answer").length)).toString()).toBe(ok("not an answer"));
    expect(tunnel.backend.requests).toHaveLength(1);
  });

  acceptance("carries megabytes both ways at once", async ({ tunnel }) => {
    const { visitor, connection } = await switched(tunnel);
    const totalBytes = 8 * MIB;
    void new Firehose(visitor.socket, { stream: 1, totalBytes });
    void new Firehose(connection.socket, { stream: 2, totalBytes });
    const [up, down] = await Promise.all([connection.take(totalBytes), visitor.bytes(totalBytes)]);
    expect(up.equals(pattern(1, 0, totalBytes))).toBe(true);
    expect(down.equals(pattern(2, 0, totalBytes))).toBe(true);
  });

  acceptance("keeps what the service sends with its 101", async ({ tunnel }) => {
    const hello = frame(OPCODE.text, "early words", { masked: false }).toString("latin1");
    tunnel.backend.serve(({ connection }) => connection.send(`${WEBSOCKET_SWITCH}${hello}`));
    const visitor = await tunnel.request(upgrade("websocket", ...WEBSOCKET));
    await visitor.head();
    expect((await visitor.bytes(hello.length)).toString("latin1")).toBe(hello);
  });

  acceptance("keeps what the visitor sends with its request, and before the 101", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const early = frame(OPCODE.text, "eager").toString("latin1");
    const visitor = await tunnel.request(`${upgrade("websocket", ...WEBSOCKET)}${early}`);
    const { connection } = await arrived;
    visitor.send("words");
    await connection.send(WEBSOCKET_SWITCH);
    expect((await connection.take(early.length + 5)).toString("latin1")).toBe(`${early}words`);
    expect((await visitor.head()).status).toBe(101);
  });

  acceptance("keeps a lot that the visitor sends before the 101", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const totalBytes = 2 * MIB;
    const visitor = await tunnel.request(upgrade());
    void new Firehose(visitor.socket, { stream: 4, totalBytes });
    const { connection } = await arrived;
    await connection.send(SWITCH);
    expect((await connection.take(totalBytes)).equals(pattern(4, 0, totalBytes))).toBe(true);
  });

  acceptance("takes the request's body first", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const fields = ["Connection: Upgrade", "Upgrade: chat/1", "Content-Length: 4"];
    const visitor = await tunnel.request(request("POST /chat", fields, "bodyeager"));
    const asked = await arrived;
    expect((await asked.body()).bytes.toString()).toBe("body");
    await asked.connection.send(SWITCH);
    await asked.connection.takeUntil("eager");
    expect((await visitor.head()).status).toBe(101);
  });

  acceptance("may come behind other requests on the same connection", async ({ tunnel }) => {
    const visitor = await tunnel.visitor();
    await expectInStep(tunnel, visitor);
    const arrived = tunnel.backend.next();
    visitor.request(upgrade());
    const { connection } = await arrived;
    await connection.send(SWITCH, "hello");
    expect((await visitor.head()).status).toBe(101);
    expect((await visitor.bytes(5)).toString()).toBe("hello");
  });

  acceptance("may come behind interim answers", async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) =>
      connection.send(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${SWITCH}`, "hello"),
    );
    const visitor = await tunnel.request(upgrade());
    expect([(await visitor.head()).status, (await visitor.head()).status]).toEqual([103, 101]);
    expect((await visitor.bytes(5)).toString()).toBe("hello");
  });
});

describe("an upgraded connection's end", () => {
  acceptance(
    "is a half-close where the visitor's is, and what comes back behind it arrives",
    async ({ tunnel }) => {
      await noteRest(tunnel);
      const { visitor, connection } = await switched(tunnel);
      visitor.send("over").end();
      await connection.takeUntil("over");
      await connection.untilEnded();
      await connection.send("and out");
      connection.end();
      expect(await visitor.rest()).toEqual({ end: "fin", text: "and out" });
      await expectAtRest(tunnel);
    },
  );

  acceptance(
    "is a half-close where the service's is, and what comes behind it arrives",
    async ({ tunnel }) => {
      await noteRest(tunnel);
      const { visitor, connection } = await switched(tunnel);
      await connection.send("over");
      connection.end();
      expect(await visitor.rest()).toEqual({ end: "fin", text: "over" });
      visitor.send("and out").end();
      await connection.takeUntil("and out");
      await connection.untilEnded();
      await expectAtRest(tunnel);
    },
  );

  acceptance("comes behind megabytes that were sent before it, both ways", async ({ tunnel }) => {
    const { visitor, connection } = await switched(tunnel);
    const bytes = pattern(6, 0, 4 * MIB);
    visitor.send(bytes).end();
    connection.socket.end(bytes);
    const { end, text } = await visitor.rest();
    await connection.untilEnded();
    expect(end).toBe("fin");
    expect(Buffer.from(text, "latin1").equals(bytes)).toBe(true);
    expect((await connection.take(bytes.length)).equals(bytes)).toBe(true);
  });

  acceptance("is a reset where the visitor's is", async ({ tunnel }) => {
    await noteRest(tunnel);
    const { visitor, connection } = await switched(tunnel);
    visitor.abort();
    expect(await within(SOON_MS, connection.untilClosed())).toBe("reset");
    await expectAtRest(tunnel);
  });

  acceptance("is a reset where the service's is", async ({ tunnel }) => {
    await noteRest(tunnel);
    const { visitor, connection } = await switched(tunnel);
    connection.reset();
    expect(await within(SOON_MS, visitor.ended)).toBe("rst");
    await expectAtRest(tunnel);
  });

  acceptance.for(["FIN", "RST"])(
    "is passed on where the visitor leaves by %s before the 101",
    async (way, { tunnel }) => {
      await noteRest(tunnel);
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(upgrade());
      const { connection } = await arrived;
      if (way === "FIN") visitor.end();
      else visitor.abort();
      await within(SOON_MS, connection.untilClosed());
      await expectAtRest(tunnel);
    },
  );

  acceptance.for(["FIN", "RST"])(
    "by %s before the 101 from the service is a 502",
    async (way, { tunnel }) => {
      await noteRest(tunnel);
      tunnel.backend.serve(({ connection }) => (way === "FIN" ? connection.close() : connection.reset()));
      const visitor = await tunnel.request(upgrade());
      expect((await within(SOON_MS, visitor.answer())).status).toBe(502);
      visitor.close();
      await expectAtRest(tunnel);
    },
  );
});

describe("either end of an upgraded connection that does not read", () => {
  acceptance(
    "stops the other, and loses nothing",
    async ({ tunnel }) => {
      const { visitor, connection } = await switched(tunnel);
      const totalBytes = 40 * MIB;
      visitor.socket.pause();
      connection.pause();
      const up = new Firehose(visitor.socket, { stream: 8, totalBytes });
      const down = new Firehose(connection.socket, { stream: 9, totalBytes });
      // Others go there and back meanwhile, until nothing more is taken.
      const other = await switched(tunnel);
      let before = -1;
      for (let quiet = 0; quiet < 20;) {
        other.visitor.send("tick");
        await other.connection.send(await other.connection.take(4));
        await other.visitor.bytes(4);
        quiet = up.takenBytes + down.takenBytes === before ? quiet + 1 : 0;
        before = up.takenBytes + down.takenBytes;
      }
      expect(up.takenBytes).toBeLessThan(32 * MIB);
      expect(down.takenBytes).toBeLessThan(32 * MIB);

      visitor.socket.resume();
      connection.resume();
      const [received, sent] = await Promise.all([visitor.bytes(totalBytes), connection.take(totalBytes)]);
      expect(received.equals(pattern(9, 0, totalBytes))).toBe(true);
      expect(sent.equals(pattern(8, 0, totalBytes))).toBe(true);
    },
    60_000,
  );
});

describe("an upgrade that is refused", () => {
  acceptance.for([200, 301, 302, 400, 401, 403, 404, 426, 500, 503])(
    "with %d comes with its fields and body",
    async (status, { tunnel }) => {
      const fields = ["WWW-Authenticate: Basic", "Location: /login", "X-Why: no"];
      const refusal = `HTTP/1.1 ${status} No\r\n${fields.join("\r\n")}\r\n`;
      for (const rest of [
        "Content-Length: 5\r\n\r\nsorry",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n",
        "Connection: close\r\n\r\nsorry",
      ]) {
        tunnel.backend.serve(async ({ connection }) => {
          await connection.send(refusal + rest);
          if (rest.startsWith("Connection")) connection.end();
        });
        const visitor = await tunnel.request(upgrade("websocket", ...WEBSOCKET));
        const answer = await visitor.answer();
        expect(answer).toMatchObject({ status, reason: "No" });
        expect(answer.fields.slice(0, 6)).toEqual(rawFields(...fields));
        expect(answer.body.toString()).toBe("sorry");
        expect(await visitor.ended).toBe("fin");
      }
    },
  );

  acceptance("takes what the visitor sent early with it", async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) =>
      connection.send("HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nsorry"),
    );
    const visitor = await tunnel.request(`${upgrade()}GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n`);
    expect((await visitor.answer()).body.toString()).toBe("sorry");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    expect(tunnel.backend.requests).toHaveLength(1);
  });

  acceptance("with a body of megabytes comes whole", async ({ tunnel }) => {
    const totalBytes = 3 * MIB;
    tunnel.backend.serve(async ({ connection }) => {
      await connection.send(`HTTP/1.1 403 No\r\nContent-Length: ${totalBytes}\r\n\r\n`);
      void new Firehose(connection.socket, { stream: 3, totalBytes });
    });
    const visitor = await tunnel.request(upgrade());
    expect((await visitor.answer()).body.equals(pattern(3, 0, totalBytes))).toBe(true);
  });
});

describe("an upgrade that nobody may have", () => {
  acceptance.for([["h2c"], ["H2C"], ["h2c/2"], ["h2c, h2c"]])(
    "%s is taken out, and the request served without it",
    async ([protocol], { tunnel }) => {
      tunnel.backend.answer(ok("ok"));
      const visitor = await tunnel.request(
        get("/", "Connection: Upgrade, HTTP2-Settings", `Upgrade: ${protocol}`, "HTTP2-Settings: AAMAAABk"),
      );
      expect((await visitor.answer()).body.toString()).toBe("ok");
      expect(tunnel.backend.requests[0]!.fields).toEqual(forwarded(HOST));
      await expectInStep(tunnel, visitor);
    },
  );

  acceptance("h2c is taken out of a list, and the rest is asked for", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const visitor = await tunnel.request(upgrade("h2c, chat/1"));
    const { fields, connection } = await arrived;
    expect(fieldValues(fields, "upgrade")).toEqual(["chat/1"]);
    await connection.send(SWITCH, "hello");
    expect((await visitor.head()).status).toBe(101);
    expect((await visitor.bytes(5)).toString()).toBe("hello");
  });

  acceptance("h2c with a body goes as a request with that body", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const fields = ["Connection: Upgrade", "Upgrade: h2c", "Content-Length: 4"];
    const visitor = await tunnel.request(request("POST /", fields, "body"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    expect((await tunnel.backend.requests[0]!.body()).bytes.toString()).toBe("body");
    await expectInStep(tunnel, visitor);
  });

  acceptance("h2c that the service grants all the same is a 502", async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(SWITCH.replace("chat/1", "h2c")));
    const visitor = await tunnel.request(upgrade("h2c"));
    expect((await visitor.answer()).status).toBe(502);
  });

  acceptance("HTTP/1.0 knows none", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(upgrade().replace("HTTP/1.1", "HTTP/1.0"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    expect(tunnel.backend.requests[0]!.fields).toEqual(forwarded(HOST));
  });

  acceptance("Upgrade that Connection does not name is none", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(get("/", "Upgrade: chat/1"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    expect(fieldValues(tunnel.backend.requests[0]!.fields, "upgrade")).toEqual([]);
  });

  acceptance("a service that switches to something else than was asked for is a 502", async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(SWITCH.replace("chat/1", "other/1")));
    const visitor = await tunnel.request(upgrade());
    expect((await visitor.answer()).status).toBe(502);
  });

  acceptance.for([
    ["GET", get()],
    ["POST", request("POST /", ["Content-Length: 2"], "hi")],
    ["h2c alone", upgrade("h2c")],
  ] as const)("a service that switches unasked is a 502: %s", async ([, sent], { tunnel }) => {
    tunnel.backend.serve(({ connection }) => connection.send(SWITCH, "hidden"));
    const visitor = await tunnel.request(sent);
    const answer = await visitor.answer();
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).not.toContain("hidden");
    await expectInStep(tunnel, visitor);
  });

  acceptance("one with a chunked body is refused before the service sees it", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const fields = ["Connection: Upgrade", "Upgrade: chat/1", "Transfer-Encoding: chunked"];
    const visitor = await tunnel.request(request("POST /chat", fields, "0\r\n\r\n"));
    expect((await visitor.answer()).status).toBe(411);
    expect(tunnel.backend.requests).toHaveLength(0);
  });
});

acceptance("a hundred upgraded connections at once never mix", async ({ tunnel }) => {
  tunnel.backend.serve(async ({ connection }) => {
    await connection.send(SWITCH);
    for (let round = 0; round < 5; round++) await connection.send(await connection.take(1_000));
    connection.end();
  });
  await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const visitor = await tunnel.request(upgrade());
      expect((await visitor.head()).status).toBe(101);
      for (let round = 0; round < 5; round++) {
        const sent = pattern(i, round * 1_000, 1_000);
        visitor.send(sent);
        expect((await visitor.bytes(1_000)).equals(sent)).toBe(true);
      }
      expect(await visitor.ended).toBe("fin");
    }),
  );
});

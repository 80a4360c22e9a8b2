import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { RawConnection } from "../support/raw-backend.ts";
import { fieldValues, type RawVisitor } from "../support/raw-visitor.ts";
import { rawFields, TunnelledService, type ServiceRequest } from "../support/tunnelled-service.ts";

const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat/1\r\nConnection: Upgrade\r\n\r\n";

let tunnel: TunnelledService;
beforeAll(async () => {
  tunnel = await TunnelledService.start();
});
afterEach(() => tunnel.closeVisitors());
afterAll(() => tunnel[Symbol.asyncDispose]());

function upgrade(fields = "", method = "GET", protocol = "chat/1"): string {
  return `${method} /chat HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${fields}\r\n`;
}

function nextRequest(): Promise<ServiceRequest> {
  return new Promise((resolve) => tunnel.serve((request) => resolve(request)));
}

async function switched(): Promise<{ visitor: RawVisitor; connection: RawConnection }> {
  const arrived = nextRequest();
  const visitor = await tunnel.send(upgrade());
  const { connection } = await arrived;
  await connection.send(SWITCH);
  expect((await visitor.head()).status).toBe(101);
  return { visitor, connection };
}

describe("an upgrade that is granted", () => {
  test("hands both heads on, with what is about the connection", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(upgrade("Sec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: a, b\r\n"));
    const { connection, fields } = await arrived;
    expect(fields.slice(0, 10)).toEqual(
      rawFields(
        "Host: app.localhost",
        "Connection: Upgrade",
        "Upgrade: chat/1",
        "Sec-WebSocket-Key: x",
        "Sec-WebSocket-Protocol: a, b",
      ),
    );
    await connection.send(SWITCH.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: b\r\n\r\n"));
    const head = await visitor.head();
    expect(head).toMatchObject({ status: 101, reason: "Switching Protocols" });
    expect(fieldValues(head.fields, "upgrade")).toEqual(["chat/1"]);
    expect(fieldValues(head.fields, "connection")).toEqual(["Upgrade"]);
    expect(fieldValues(head.fields, "sec-websocket-protocol")).toEqual(["b"]);
  });

  test("carries bytes of any kind both ways", async () => {
    const { visitor, connection } = await switched();
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const at = connection.receivedBytes;
    for (let i = 1; i <= 3; i++) {
      visitor.send(bytes);
      await connection.untilReceived(at + i * 256);
      await connection.send(bytes);
      expect(await visitor.bytes(256)).toEqual(bytes);
    }
    expect(connection.received.subarray(at)).toEqual(Buffer.concat([bytes, bytes, bytes]));
  });

  test("keeps bytes that the service sends with its 101", async () => {
    tunnel.serve(({ connection }) => connection.send(`${SWITCH}early words`));
    const visitor = await tunnel.send(upgrade());
    await visitor.head();
    expect((await visitor.bytes(11)).toString()).toBe("early words");
  });

  test("keeps bytes that the visitor sends before the 101", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(upgrade(), "eager ");
    const { connection } = await arrived;
    visitor.send("words");
    await connection.send(SWITCH);
    await connection.takeUntil("eager words");
    expect((await visitor.head()).status).toBe(101);
  });

  test("takes the request's body first", async () => {
    const arrived = nextRequest();
    const visitor = await tunnel.send(upgrade("Content-Length: 4\r\n", "POST"), "bodyeager");
    const request = await arrived;
    expect((await request.body()).bytes.toString()).toBe("body");
    await request.connection.send(SWITCH);
    await request.connection.takeUntil("eager");
    expect((await visitor.head()).status).toBe(101);
  });

  test("hands a half-close on, and what comes back behind it", async () => {
    const { visitor, connection } = await switched();
    visitor.send("over").end();
    await connection.takeUntil("over");
    await connection.untilEnded();
    await connection.send("and out");
    connection.end();
    expect(await visitor.rest()).toEqual({ end: "fin", text: "and out" });
  });

  test("hands the service's half-close on, and what comes behind it", async () => {
    const { visitor, connection } = await switched();
    await connection.send("over");
    connection.end();
    expect(await visitor.rest()).toEqual({ end: "fin", text: "over" });
    visitor.send("and out").end();
    await connection.takeUntil("and out");
    await connection.untilEnded();
  });

  test("stays abrupt when the visitor resets", async () => {
    const { visitor, connection } = await switched();
    visitor.abort();
    expect(await connection.untilClosed()).toBe("reset");
  });

  test("stays abrupt when the service resets", async () => {
    const { visitor, connection } = await switched();
    connection.reset();
    expect(await visitor.ended).toBe("rst");
  });
});

describe("an upgrade that is refused", () => {
  test.each([200, 302, 401, 403, 426, 503])("passes on %d with its fields and body", async (status) => {
    tunnel.serve(({ connection }) =>
      connection.send(`HTTP/1.1 ${status} No\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nsorry`),
    );
    const visitor = await tunnel.send(upgrade());
    const answer = await visitor.answer();
    expect(answer).toMatchObject({ status, reason: "No" });
    expect(fieldValues(answer.fields, "www-authenticate")).toEqual(["Basic"]);
    expect(answer.body.toString()).toBe("sorry");
    expect(await visitor.ended).toBe("fin");
  });

  test("passes on a body in chunks, and drops what the visitor sent early", async () => {
    tunnel.serve(({ connection }) =>
      connection.send("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n"),
    );
    const visitor = await tunnel.send(upgrade(), "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    expect((await visitor.answer()).body.toString()).toBe("sorry");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    expect(tunnel.requests).toHaveLength(1);
  });
});

describe("an upgrade that nobody may have", () => {
  test("h2c is taken out, and the request served without it", async () => {
    tunnel.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const visitor = await tunnel.send(upgrade("HTTP2-Settings: AAMAAABk\r\n", "GET", "h2c"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    expect(fieldValues(tunnel.requests[0]!.fields, "upgrade")).toEqual([]);
    expect(fieldValues(tunnel.requests[0]!.fields, "http2-settings")).toEqual([]);
  });

  test("HTTP/1.0 knows none", async () => {
    tunnel.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const visitor = await tunnel.send(upgrade().replace("HTTP/1.1", "HTTP/1.0"));
    expect((await visitor.answer()).body.toString()).toBe("ok");
    expect(fieldValues(tunnel.requests[0]!.fields, "upgrade")).toEqual([]);
  });

  test("a service that switches to something else than was asked for is a 502", async () => {
    tunnel.serve(({ connection }) => connection.send(SWITCH.replace("chat/1", "other/1")));
    const visitor = await tunnel.send(upgrade());
    expect((await visitor.answer()).status).toBe(502);
  });

  test("one with a chunked body is refused before the service sees it", async () => {
    tunnel.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const visitor = await tunnel.send(upgrade("Transfer-Encoding: chunked\r\n", "POST"), "0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(411);
    expect(tunnel.requests).toHaveLength(0);
  });
});

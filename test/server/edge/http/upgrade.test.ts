import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { fieldValue, fieldValues, type RawVisitor } from "../../../support/raw-visitor.ts";
import type { FakeVisit } from "../../../support/fake-route.ts";
import { EdgeUnderTest, get, stable } from "./edge-under-test.ts";

const KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCH =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n";

function upgrade(fields = "", protocol = "websocket"): string {
  return get("/socket", `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n${KEY}${fields}`);
}

async function open(world: EdgeUnderTest): Promise<{ visitor: RawVisitor; visit: FakeVisit }> {
  const visitor = await world.send(upgrade());
  const visit = await world.route.next();
  visit.accepted(SWITCH);
  expect((await visitor.head()).status).toBe(101);
  return { visitor, visit };
}

describe("a granted upgrade", () => {
  test("passes the request and the 101 on, with the fields that make them one", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      upgrade("Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x; y=1\r\n"),
    );
    const visit = await world.route.next();
    expect(visit.request.end).toBe(false);
    expect(visit.head.target).toBe("/socket");
    expect(visit.values("connection")).toEqual(["Upgrade"]);
    expect(visit.values("upgrade")).toEqual(["websocket"]);
    expect(visit.values("sec-websocket-protocol")).toEqual(["a, b"]);
    expect(visit.values("sec-websocket-extensions")).toEqual(["x; y=1"]);
    expect(visit.values("x-forwarded-for")).toEqual(["127.0.0.1"]);
    visit.accepted(`${SWITCH}Sec-WebSocket-Protocol: b\r\nKeep-Alive: x\r\n`);
    const head = await visitor.head();
    expect(head).toMatchObject({ status: 101, reason: "Switching Protocols" });
    expect(fieldValues(head.fields, "upgrade")).toEqual(["websocket"]);
    expect(fieldValues(head.fields, "connection")).toEqual(["Upgrade"]);
    expect(fieldValue(head.fields, "sec-websocket-protocol")).toBe("b");
    expect(fieldValue(head.fields, "keep-alive")).toBeUndefined();
  });

  test("is a raw connection both ways", async () => {
    await using world = await EdgeUnderTest.start();
    const { visitor, visit } = await open(world);
    const bytes = randomBytes(1_000_000);
    visitor.send(bytes);
    await visit.until(() => visit.writtenBytes === bytes.length);
    expect(visit.body.equals(bytes)).toBe(true);
    visit.data(bytes);
    expect((await visitor.bytes(bytes.length)).equals(bytes)).toBe(true);
    await visit.until(() => visit.unreadBytes === 0);
  });

  test("passes on what each side sends early", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade(), "early");
    const visit = await world.route.next();
    visitor.send(" and more");
    visit.accepted(SWITCH).data("from the service at once");
    expect((await visitor.head()).status).toBe(101);
    expect((await visitor.bytes(24)).toString()).toBe("from the service at once");
    await visit.until(() => visit.writtenBytes === 14);
    expect(visit.body.toString()).toBe("early and more");
  });

  test("holds a visitor back who sends without end before the 101", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    const bytes = randomBytes(32_000_000);
    visitor.send(bytes);
    await stable(() => visitor.socket.writableLength);
    expect(visitor.socket.writableLength).toBeGreaterThan(0);
    visit.accepted(SWITCH);
    await visit.until(() => visit.writtenBytes === bytes.length);
    expect(visit.body.equals(bytes)).toBe(true);
  });

  test("passes half-closes on, both ways", async () => {
    await using world = await EdgeUnderTest.start();
    const { visitor, visit } = await open(world);
    visitor.send("last").end();
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe("last");
    visit.data("answer").finish();
    expect(await visitor.rest()).toEqual({ end: "fin", text: "answer" });
    await world.emptied();
  });

  test("ends abruptly where the stream does", async () => {
    await using world = await EdgeUnderTest.start();
    const { visitor, visit } = await open(world);
    visit.fail("CONNECTION_LOST");
    expect(await visitor.ended).toBe("rst");
  });

  test("resets the stream where the visitor breaks off", async () => {
    await using world = await EdgeUnderTest.start();
    const { visitor, visit } = await open(world);
    visitor.abort();
    await visit.until(() => visit.wasReset !== undefined);
    expect(visit.wasReset?.code).toBe("CONNECTION_LOST");
    await world.emptied();
  });

  test("is logged when it is over, with all its bytes", async () => {
    await using world = await EdgeUnderTest.start();
    const { visitor, visit } = await open(world);
    visitor.send("x".repeat(1000)).end();
    await visit.until(() => visit.ended);
    expect(world.lines).toHaveLength(0);
    visit.data("y".repeat(2000)).finish();
    await visitor.rest();
    const line = await world.line(() => true);
    expect(line).toMatchObject({ status: 101, tunnel: "web", target: "/socket", failure: undefined });
    expect(line["bytesIn"]).toBeGreaterThan(1000);
    expect(line["bytesOut"]).toBeGreaterThan(2000);
  });

  test("outlives the time that an idle connection has", async () => {
    await using world = await EdgeUnderTest.start({
      limits: { idleTimeoutMs: 20, headTimeoutMs: 40 },
      timeoutMs: 40,
    });
    const first = await world.send(get());
    (await world.route.next()).respond(200);
    await first.answer();
    first.send(upgrade());
    const visit = await world.route.next();
    visit.accepted(SWITCH);
    await first.head();
    const stayedBehind = await world.send(get(), get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n"));
    (await world.route.next()).respond(200);
    await stayedBehind.answer();
    const plain = await world.route.next();
    plain.accepted("HTTP/1.1 200 OK\r\n");
    await new Promise((resolve) => setTimeout(resolve, 1300));
    first.send("still here");
    await visit.until(() => visit.writtenBytes === 10);
    expect(visit.wasReset).toBeUndefined();
    plain.data("late").finish();
    expect((await stayedBehind.answer()).body.toString()).toBe("late");
  });

  test("may be to any protocol, and by any method with a body of known length", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(
      "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: custom/2\r\nContent-Length: 10\r\n\r\nhello",
    );
    const visit = await world.route.next();
    expect(visit.values("upgrade")).toEqual(["custom/2"]);
    await visit.until(() => visit.writtenBytes === 5);
    visitor.send("worldearly");
    await visit.until(() => visit.writtenBytes === 10);
    visit.accepted("HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: custom/2\r\n");
    expect((await visitor.head()).status).toBe(101);
    await visit.until(() => visit.writtenBytes === 15);
    expect(visit.body.toString()).toBe("helloworldearly");
    expect(visit.ended).toBe(false);
  });

  test("has its body held back as the stream asks", async () => {
    await using world = await EdgeUnderTest.start();
    const body = randomBytes(32_000_000);
    const visitor = await world.send(upgrade(`Content-Length: ${body.length}\r\n`));
    const visit = await world.route.next();
    visit.stall();
    visitor.send(body, "early");
    await stable(() => visitor.socket.writableLength);
    expect(visitor.socket.writableLength).toBeGreaterThan(0);
    visit.unstall();
    visit.accepted(SWITCH);
    await visitor.head();
    await visit.until(() => visit.writtenBytes === body.length + 5);
    expect(visit.body.equals(Buffer.concat([body, Buffer.from("early")]))).toBe(true);
  });

  test("waits for the answers before it", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get("/1"), upgrade(), "early");
    const first = await world.route.next();
    const body = Buffer.alloc(2_000_000, "x");
    first.respond(200, body);
    expect((await visitor.answer()).body.length).toBe(body.length);
    const visit = await world.route.next();
    visit.accepted(SWITCH);
    expect((await visitor.head()).status).toBe(101);
    await visit.until(() => visit.writtenBytes === 5);
    visit.data("hi");
    expect((await visitor.bytes(2)).toString()).toBe("hi");
  });
});

describe("a refused upgrade", () => {
  test.each([
    [401, "WWW-Authenticate: Basic\r\n"],
    [403, ""],
    [302, "Location: /login\r\n"],
    [200, "Content-Type: text/html\r\n"],
    [426, "Sec-WebSocket-Version: 13\r\n"],
    [503, "Retry-After: 1\r\n"],
  ])("with %d reaches the visitor with its fields and body", async (status, fields) => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade(), "early frames");
    const visit = await world.route.next();
    visit.respond(status, "no upgrade", fields);
    const answer = await visitor.answer();
    expect([answer.status, answer.body.toString()]).toEqual([status, "no upgrade"]);
    expect(answer.fields.join(": ")).toContain(fields.trim());
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    expect([visit.over, visit.wasReset]).toEqual([true, undefined]);
    visitor.send("more early frames");
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    expect(await world.line(() => true)).toMatchObject({ status, failure: undefined });
  });

  test("before its body has come cancels the stream", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade("Content-Length: 10\r\n"), "hello");
    const visit = await world.route.next();
    visit.respond(403, "no");
    expect((await visitor.answer()).status).toBe(403);
    expect(visit.wasReset?.code).toBe("CANCELLED");
  });

  test("behind its body ends the stream", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade("Content-Length: 5\r\n"), "helloearly");
    const visit = await world.route.next();
    await visit.until(() => visit.writtenBytes === 5);
    visit.respond(403, "no");
    expect((await visitor.answer()).status).toBe(403);
    expect([visit.over, visit.wasReset]).toEqual([true, undefined]);
  });

  test("leaves no connection behind, however much came early", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 60_000 });
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    visitor.send(Buffer.alloc(1_000_000));
    await stable(() => visitor.socket.writableLength);
    visit.respond(403, "no");
    expect((await visitor.answer()).status).toBe(403);
    visitor.end();
    await world.emptied();
  });

  test("in chunks does too, slowly read", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    visitor.socket.pause();
    visit.accepted("HTTP/1.1 404 Not Found\r\n");
    for (let i = 0; i < 100; i++) visit.data(Buffer.alloc(10_000, "x"));
    visit.finish();
    await stable(() => visit.unreadBytes);
    visitor.socket.resume();
    expect((await visitor.answer()).body.length).toBe(1_000_000);
  });

  test("by the edge is a page", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade().replace("app.test", "nobody.test"));
    expect((await visitor.answer()).status).toBe(404);
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });

  test("since the stream fails is a page", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    (await world.route.next()).fail("REFUSED");
    expect((await visitor.answer()).status).toBe(502);
  });

  test("since nobody answers is a 504", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 20 });
    const visitor = await world.send(upgrade());
    expect((await visitor.answer()).status).toBe(504);
  });

  test("that is a switch to what nobody asked for is a 502", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    visit.accepted(SWITCH.replace("websocket", "h2c"));
    expect((await visitor.answer()).status).toBe(502);
    expect(visit.wasReset?.code).toBe("INTERNAL");
  });

  test("that breaks off is cut", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n").data("half").fail("CONNECTION_LOST");
    await expect(visitor.answer()).rejects.toThrow("cut");
  });

  test("has its interim answers passed on", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade());
    const visit = await world.route.next();
    visit.interimAnswer("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n").respond(403, "no");
    const answer = await visitor.answer();
    expect([answer.status, answer.interims.length]).toEqual([403, 1]);
  });
});

describe("an upgrade that stays behind", () => {
  test("to h2c is an ordinary request, and the connection goes on", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    await using world = await EdgeUnderTest.start();
    const visitor = await world.visitor();
    for (let i = 0; i < 30; i++) {
      visitor.send(
        `POST /${i} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n`,
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
      );
      const visit = await world.route.next();
      visitor.send("0\r\n\r\n");
      await visit.until(() => visit.ended);
      expect(visit.head.target).toBe(`/${i}`);
      expect(visit.body.toString()).toBe("hello");
      expect(visit.head.fields.join()).not.toMatch(/upgrade|http2/i);
      visit.respond(200, "plain");
      expect((await visitor.answer()).body.toString()).toBe("plain");
    }
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
    expect(world.edge.connections).toBe(1);
  });

  test("to h2c behind other requests waits for its turn", async () => {
    await using world = await EdgeUnderTest.start();
    const h2c = get("/2", "Connection: Upgrade\r\nUpgrade: h2c\r\n");
    const visitor = await world.send(get("/1"), h2c, get("/3"));
    for (const target of ["/1", "/2", "/3"]) {
      const visit = await world.route.next();
      expect(visit.head.target).toBe(target);
      visit.respond(200, target);
      expect((await visitor.answer()).body.toString()).toBe(target);
    }
  });

  test("to h2c leaves other protocols to be asked for", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(upgrade("", "h2c, websocket, H2C"));
    expect((await world.route.next()).values("upgrade")).toEqual(["websocket"]);
  });

  test("of HTTP/1.0 is an ordinary request", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(upgrade().replace("HTTP/1.1", "HTTP/1.0"));
    const visit = await world.route.next();
    expect(visit.request.end).toBe(true);
    expect(visit.values("upgrade")).toEqual([]);
    visit.respond(200, "plain");
    expect((await visitor.answer()).body.toString()).toBe("plain");
  });

  test("hides no request in its body", async () => {
    await using world = await EdgeUnderTest.start();
    const hidden = get("/hidden");
    const visitor = await world.send(
      `POST / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: ${hidden.length}\r\n\r\n`,
      hidden,
    );
    const visit = await world.route.next();
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe(hidden);
    visit.respond(200, "one");
    await visitor.answer();
    visitor.send(get("/next"));
    expect((await world.route.next()).head.target).toBe("/next");
  });
});

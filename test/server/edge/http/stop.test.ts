import { describe, expect, test } from "vitest";
import { fieldValue, RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

const UPGRADE = get("/", "Connection: Upgrade\r\nUpgrade: websocket\r\n");

describe("an edge that stops", () => {
  test("takes no new visitors, and closes idle connections at once", async () => {
    await using world = await EdgeUnderTest.start();
    const idle = await world.send(get());
    (await world.route.next()).respond(200);
    await idle.answer();
    const fresh = await world.visitor();
    const { port } = world.edge.address;
    await world.edge.stop(60_000);
    expect(await idle.ended).toBe("fin");
    expect(await fresh.ended).toBe("fin");
    await expect(RawVisitor.connect(port)).rejects.toThrow("ECONNREFUSED");
  });

  test("lets requests finish, and closes their connections behind them", async () => {
    await using world = await EdgeUnderTest.start();
    const waiting = await world.send(get());
    const first = await world.route.next();
    const answered = await world.send(get());
    const second = await world.route.next();
    second.accepted("HTTP/1.1 200 OK\r\n").data("half");
    await answered.head();
    await answered.bytes(9);

    const stopped = world.edge.stop(60_000);
    first.respond(200, "whole");
    const answer = await waiting.answer();
    expect(answer.body.toString()).toBe("whole");
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    second.data("rest").finish();
    expect(await answered.rest()).toEqual({ end: "fin", text: "4\r\nrest\r\n0\r\n\r\n" });
    await stopped;
  });

  test("lets a request finish whose head is on its way", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.1\r\nHost: ");
    const other = await world.send(get());
    await world.route.next();
    const stopped = world.edge.stop(60_000);
    visitor.send("app.test\r\n\r\n");
    (await world.route.next()).respond(200, "whole");
    expect((await visitor.answer()).body.toString()).toBe("whole");
    other.abort();
    await stopped;
  });

  test("cuts what does not finish in time, upgraded connections too", async () => {
    await using world = await EdgeUnderTest.start();
    const endless = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\n").data("half");
    await endless.head();
    const upgraded = await world.send(UPGRADE);
    const joined = await world.route.next();
    joined.accepted("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n");
    await upgraded.head();
    await world.edge.stop(30);
    await endless.ended;
    await upgraded.ended;
    expect(endless.unread).not.toContain("0\r\n\r\n");
    expect(visit.wasReset?.code).toBe("CANCELLED");
    expect(joined.wasReset).toBeDefined();
    expect(world.edge.connections).toBe(0);
  });

  test("cuts an answer whose end is that of its connection by a reset, and the log says why", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    (await world.route.next()).accepted("HTTP/1.1 200 OK\r\n").data("half");
    await visitor.head();
    await visitor.bytes(4);
    await world.edge.stop(30);
    expect(await visitor.ended).toBe("rst");
    expect((await world.line((line) => "failure" in line))["failure"]).toBe("SERVER_STOPPED");
  });

  test("waits for an upgraded connection that ends by itself", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(UPGRADE);
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n");
    await visitor.head();
    const stopped = world.edge.stop(60_000);
    visitor.send("bye").end();
    await visit.until(() => visit.ended);
    visit.finish();
    await stopped;
    expect(visit.wasReset).toBeUndefined();
  });

  test("answers with pages that close the connection", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.1\r\nHost: ");
    const other = await world.send(get());
    await world.route.next();
    const stopped = world.edge.stop(60_000);
    visitor.send("nobody.test\r\n\r\n");
    const answer = await visitor.answer();
    expect([answer.status, fieldValue(answer.fields, "connection")]).toEqual([404, "close"]);
    other.abort();
    await stopped;
  });
});

import { describe, expect, test } from "vitest";
import { EdgeUnderTest, get, post, stable } from "./edge-under-test.ts";

describe("requests in a row on one connection", () => {
  test("are served one at a time, and answered in order", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get("/1"), post("two"), get("/3"));
    const first = await world.route.next();
    expect(world.route.opened).toHaveLength(1);
    first.respond(200, "1");
    expect((await visitor.answer()).body.toString()).toBe("1");
    const second = await world.route.next();
    await second.until(() => second.ended);
    expect(second.body.toString()).toBe("two");
    expect(world.route.opened).toHaveLength(2);
    second.accepted("HTTP/1.1 200 OK\r\n").data("2").finish();
    (await world.route.next()).respond(200, "3");
    expect((await visitor.answer()).body.toString()).toBe("2");
    expect((await visitor.answer()).body.toString()).toBe("3");
  });

  test("by the thousand at once are all answered, each in its turn", async () => {
    await using world = await EdgeUnderTest.start();
    world.route.onOpen = (visit) => visit.respond(200, visit.head.target);
    const padding = `X: ${"x".repeat(300)}\r\n`;
    const visitor = await world.send(Array.from({ length: 2000 }, (_, i) => get(`/${i}`, padding)).join(""));
    for (let i = 0; i < 2000; i++) expect((await visitor.answer()).body.toString()).toBe(`/${i}`);
    expect(world.lines).toHaveLength(2000);
  });

  test("with answers that the visitor is slow to read are all answered", async () => {
    await using world = await EdgeUnderTest.start();
    const body = Buffer.alloc(300_000, "x");
    world.route.onOpen = (visit) => visit.respond(200, body);
    const visitor = await world.visitor();
    visitor.socket.pause();
    for (let i = 0; i < 60; i++) visitor.send(i % 3 ? get(`/${i}`) : post("upload"));
    await stable(() => world.route.opened.length);
    visitor.socket.resume();
    for (let i = 0; i < 60; i++) expect((await visitor.answer()).body.length).toBe(300_000);
  });

  test("are not read on behind one that closes the connection", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get("/1", "Connection: close\r\n"), get("/2"));
    (await world.route.next()).respond(200, "1");
    expect((await visitor.answer()).body.toString()).toBe("1");
    expect((await visitor.rest()).text).toBe("");
    expect(world.route.opened).toHaveLength(1);
  });

  test("followed by nonsense are answered first, and the nonsense behind them", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const visitor = await world.send(get("/1"), get("/2"), "nonsense\r\n\r\n");
    (await world.route.next()).respond(200, "1");
    (await world.route.next()).respond(200, "2");
    expect((await visitor.answer()).body.toString()).toBe("1");
    expect((await visitor.answer()).body.toString()).toBe("2");
    expect((await visitor.answer()).status).toBe(400);
    expect((await visitor.rest()).text).toBe("");
  });

  test("of which one that waits has a malformed body are answered first, and that one with a 400", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const chunked = "POST /2 HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n";
    const visitor = await world.send(get("/1"), chunked, get("/3"));
    (await world.route.next()).respond(200, "1");
    expect((await visitor.answer()).body.toString()).toBe("1");
    expect((await visitor.answer()).status).toBe(400);
    expect((await visitor.rest()).text).toBe("");
    expect(world.route.opened).toHaveLength(1);
  });

  test("leave no listeners, timers or connections behind, a thousand of them", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    await using world = await EdgeUnderTest.start();
    world.route.onOpen = (visit) => visit.respond(200, "x");
    const visitor = await world.visitor();
    let timersAfterFirst: number | undefined;
    for (let i = 0; i < 1000; i++) {
      visitor.send(i % 2 ? get() : post("hello"));
      expect((await visitor.answer()).body.toString()).toBe("x");
      await world.route.next();
      timersAfterFirst ??= timers();
    }
    process.off("warning", onWarning);
    // Node warns of the eleventh listener for an event.
    expect(warnings).toEqual([]);
    expect(timers()).toBeLessThanOrEqual(timersAfterFirst!);
    expect(world.edge.connections).toBe(1);
  });

  test("close the connection when none comes for too long", async () => {
    await using world = await EdgeUnderTest.start({ limits: { idleTimeoutMs: 50 } });
    const visitor = await world.send(get());
    (await world.route.next()).respond(200, "x");
    await visitor.answer();
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  });
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
}

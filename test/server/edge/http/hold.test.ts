import { expect, test } from "vitest";
import type { Route } from "../../../../server/routing/route.ts";
import { FakeRoute } from "../../../support/fake-route.ts";
import { EdgeUnderTest, get, holdClock, post } from "./edge-under-test.ts";

/** A tunnel whose client has just been lost, until `comeBack`. */
class LostClient {
  readonly route = new FakeRoute();
  waiting = new Set<() => void>();
  #back = false;
  #onWait: (() => void)[] = [];

  readonly findRoute = (): Route =>
    this.#back
      ? this.route
      : {
          tunnel: "web",
          key: "home",
          whenBack: (callback) => {
            this.waiting.add(callback);
            for (const wake of this.#onWait.splice(0)) wake();
            return () => this.waiting.delete(callback);
          },
        };

  comeBack(): void {
    this.#back = true;
    for (const callback of this.waiting) callback();
  }

  async untilWaiting(count: number): Promise<void> {
    while (this.waiting.size < count) await new Promise<void>((resolve) => this.#onWait.push(resolve));
  }
}

test("a request waits for its client, and is passed on when that is back", async () => {
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({ holdMs: 60_000, findRoute: client.findRoute });
  const visitor = await world.send(get("/held"));
  await client.untilWaiting(1);
  client.comeBack();
  const visit = await client.route.next();
  expect(visit.head.target).toBe("/held");
  visit.respond(200, "late");
  expect((await visitor.answer()).body.toString()).toBe("late");
  expect(client.waiting.size).toBe(0);
});

test("a body that came meanwhile is passed on whole, in either framing", async () => {
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({ holdMs: 60_000, findRoute: client.findRoute });
  await world.send(post("0123456789"));
  await client.untilWaiting(1);
  await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
  await client.untilWaiting(2);
  // Whatever has come is with the parser now.
  await new Promise((resolve) => setImmediate(resolve));
  client.comeBack();
  const [first, second] = [await client.route.next(), await client.route.next()];
  await first.until((visit) => visit.ended);
  expect(first.body.toString()).toBe("0123456789");
  await second.until((visit) => visit.writtenBytes === 4);
  expect(second.body.toString()).toBe("abcd");
});

test("a client that stays away is a 503 when the time is over, and not before", async () => {
  const clock = holdClock();
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({ holdMs: 3_000, findRoute: client.findRoute });
  const visitor = await world.send(get());
  await client.untilWaiting(1);
  const uploader = await world.send(post("body"));
  await client.untilWaiting(2);
  clock.advance(2_000);
  expect(client.waiting.size).toBe(2);
  clock.advance(1_100);
  expect((await visitor.answer()).status).toBe(503);
  expect((await uploader.answer()).status).toBe(503);
  expect(client.waiting.size).toBe(0);
  // The connection is still in step.
  client.comeBack();
  visitor.send(get("/next"));
  expect((await client.route.next()).head.target).toBe("/next");
});

test("a visitor that leaves meanwhile is not passed on", async () => {
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({ holdMs: 60_000, findRoute: client.findRoute });
  const visitor = await world.send(get());
  await client.untilWaiting(1);
  visitor.abort();
  expect((await world.line((line) => "failure" in line))["failure"]).toBe("VISITOR_LEFT");
  expect(client.waiting.size).toBe(0);
  client.comeBack();
  expect(client.route.opened).toEqual([]);
});

test("a body that turns out malformed meanwhile is refused at once", async () => {
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({
    holdMs: 60_000,
    lingerMs: 100,
    findRoute: client.findRoute,
  });
  const visitor = await world.send(
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
  );
  expect((await visitor.answer()).status).toBe(400);
  expect(client.waiting.size).toBe(0);
});

test("an upgrade waits too", async () => {
  const client = new LostClient();
  await using world = await EdgeUnderTest.start({ holdMs: 60_000, findRoute: client.findRoute });
  await world.send(get("/socket", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  await client.untilWaiting(1);
  client.comeBack();
  expect((await client.route.next()).values("upgrade")).toEqual(["websocket"]);
});

test("nobody waits for a client that left long ago, or where holding is off", async () => {
  await using world = await EdgeUnderTest.start({ holdMs: 60_000 });
  const visitor = await world.send("GET / HTTP/1.1\r\nHost: away.test\r\n\r\n");
  expect((await visitor.answer()).status).toBe(503);
  const client = new LostClient();
  await using off = await EdgeUnderTest.start({ holdMs: 0, findRoute: client.findRoute });
  expect((await (await off.send(get())).answer()).status).toBe(503);
});

import { describe, expect, test } from "vitest";
import { fieldValue } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, holdClock } from "./edge-under-test.ts";

const EXPECTING = "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

describe("a visitor that expects 100", () => {
  test("gets it when the local service says so, and only then", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(EXPECTING);
    const visit = await world.route.next();
    expect(visit.values("expect")).toEqual(["100-continue"]);
    expect(visitor.unread).toBe("");
    visit.interimAnswer("HTTP/1.1 100 Continue\r\n");
    expect(await visitor.head()).toMatchObject({ status: 100, reason: "Continue", fields: [] });
    visitor.send("hello");
    await visit.until(() => visit.ended);
    visit.respond(200, "done");
    const answer = await visitor.answer();
    expect(answer.body.toString()).toBe("done");
    expect(fieldValue(answer.fields, "connection")).toBe("keep-alive");
    visitor.send(get());
    (await world.route.next()).respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("and sends its body all the same keeps its connection behind the answer", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(EXPECTING, "hello");
    const visit = await world.route.next();
    await visit.until(() => visit.ended);
    visit.respond(200, "done");
    expect(fieldValue((await visitor.answer()).fields, "connection")).toBe("keep-alive");
    visitor.send(get());
    (await world.route.next()).respond(200, "next");
    expect((await visitor.answer()).body.toString()).toBe("next");
  });

  test("gets a refusal alone, and the connection ends", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 200 });
    const visitor = await world.send(EXPECTING);
    const visit = await world.route.next();
    visit.respond(417, "no");
    const answer = await visitor.answer();
    expect([answer.status, answer.interims]).toEqual([417, []]);
    expect(fieldValue(answer.fields, "connection")).toBe("close");
    visit.fail("COMPLETE");
    expect((await visitor.rest()).text).toBe("");
  });

  test("gets a page alone where no tunnel is", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 50 });
    const visitor = await world.send(EXPECTING.replace("app.test", "nobody.test"));
    const answer = await visitor.answer();
    expect([answer.status, answer.interims]).toEqual([404, []]);
  });

  test("has its expectation passed on if it is another, and dropped without a body", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(EXPECTING.replace("100-continue", "something-else"));
    expect((await world.route.next()).values("expect")).toEqual(["something-else"]);
    await world.send(get("/", "Expect: 100-continue\r\n"));
    expect((await world.route.next()).values("expect")).toEqual([]);
  });
});

describe("interim answers", () => {
  test("go on as they come, with fields in order, case, number and bytes, less what is about a connection", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.interimAnswer(
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\nX: \xe9\r\nConnection: close\r\nContent-Length: 5\r\n",
    );
    visit.interimAnswer("HTTP/1.1 102 Processing\r\n");
    visit.interimAnswer("HTTP/1.1 199 Odd\r\n");
    expect(await visitor.head()).toMatchObject({
      status: 103,
      fields: ["Link", "</a>", "link", "</b>", "X", "\xe9"],
    });
    visit.respond(200, "final");
    const answer = await visitor.answer();
    expect(answer.interims.map(({ status }) => status)).toEqual([102, 199]);
    expect(answer.body.toString()).toBe("final");
  });

  test("do not reach HTTP/1.0 visitors", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    const visit = await world.route.next();
    visit.interimAnswer("HTTP/1.1 103 Early Hints\r\n").respond(200, "final");
    expect((await visitor.answer()).interims).toEqual([]);
  });

  test("give the local service more time", async () => {
    await using world = await EdgeUnderTest.start({ timeoutMs: 1_000 });
    const clock = holdClock();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    for (let i = 0; i < 6; i++) {
      clock.advance(900);
      visit.interimAnswer("HTTP/1.1 102 Processing\r\n");
    }
    visit.respond(200, "late");
    expect(await visitor.answer()).toMatchObject({ status: 200, interims: { length: 6 } });
  });

  test("do not pile up for a visitor that does not read", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    visitor.socket.pause();
    const visit = await world.route.next();
    const head = `HTTP/1.1 103 Early Hints\r\nLink: ${"x".repeat(8000)}\r\n`;
    for (let i = 0; i < 5000; i++) {
      visit.interimAnswer(head);
      if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    visit.respond(200, "final");
    visitor.socket.resume();
    const answer = await visitor.answer();
    expect(answer.body.toString()).toBe("final");
    expect(answer.interims.length).toBeLessThan(2500);
  });

  test.each(["HTTP/1.1 101 Switching\r\n", "HTTP/1.1 200 OK\r\n", "nonsense\r\n"])(
    "that are none (%j) are a 502",
    async (head) => {
      await using world = await EdgeUnderTest.start();
      const visitor = await world.send(get());
      const visit = await world.route.next();
      visit.interimAnswer(head);
      expect((await visitor.answer()).status).toBe(502);
      expect(visit.wasReset?.code ?? visit.breach?.code).toMatch(/^(INTERNAL|protocol)$/);
    },
  );
});

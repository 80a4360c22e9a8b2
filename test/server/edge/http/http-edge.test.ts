import { expect, test } from "vitest";
import { fieldValue } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, post } from "./edge-under-test.ts";

test("a request reaches the tunnel with its target, fields and visitor, and its answer comes back", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send(get("/a?b=c", "X-One: 1\r\nx-one: 2\r\n"));
  const visit = await world.route.next();
  expect(visit.request.end).toBe(true);
  expect(visit.head.method).toBe("GET");
  expect(visit.head.target).toBe("/a?b=c");
  expect(visit.values("x-one")).toEqual(["1", "2"]);
  visit.respond(200, "hello", "X-Two: 3\r\n");
  const answer = await visitor.answer();
  expect(answer.status).toBe(200);
  expect(answer.reason).toBe("Reason");
  expect(answer.body.toString()).toBe("hello");
  expect(fieldValue(answer.fields, "x-two")).toBe("3");
});

test("a body with a length is passed on, and the connection is used again", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send(post("hello"));
  const visit = await world.route.next();
  await visit.until(() => visit.ended);
  expect(visit.body.toString()).toBe("hello");
  visit.respond(201, "made");
  expect((await visitor.answer()).body.toString()).toBe("made");
  visitor.send(get("/again"));
  (await world.route.next()).respond(200, "again");
  expect((await visitor.answer()).body.toString()).toBe("again");
});

test("an unknown host gets 404", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
  expect((await visitor.answer()).status).toBe(404);
});

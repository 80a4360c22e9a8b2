import { describe, expect, test } from "vitest";
import type { RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get, post } from "./edge-under-test.ts";

/** Asks over a visitor's connection. @returns the number under which the tunnel's client gets to know it */
async function numberOf(world: EdgeUnderTest, visitor: RawVisitor, request = get()): Promise<number> {
  visitor.send(request);
  const visit = await world.route.next();
  const { visitorConnection } = visit.request;
  visit.respond(200);
  await visitor.answer();
  return visitorConnection!;
}

describe("a visitor's connection", () => {
  test("has one number for all of its requests, and never that of another", async () => {
    await using world = await EdgeUnderTest.start();
    const numbers = new Set<number>();
    for (let i = 0; i < 5; i++) {
      const visitor = await world.visitor();
      const number = await numberOf(world, visitor);
      expect(await numberOf(world, visitor, post("hello"))).toBe(number);
      expect(await numberOf(world, visitor)).toBe(number);
      numbers.add(number);
      if (i % 2 === 0) visitor.close();
    }
    expect(numbers.size).toBe(5);
    expect(numbers).not.toContain(0);
  });

  test("keeps it behind a request for h2c", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.visitor();
    const number = await numberOf(world, visitor);
    const h2c = get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n");
    expect(await numberOf(world, visitor, h2c)).toBe(number);
    expect(await numberOf(world, visitor)).toBe(number);
  });

  test("has none where the other end is a trusted proxy, which may bring many visitors", async () => {
    await using world = await EdgeUnderTest.start({ trustedProxies: ["127.0.0.1"] });
    expect(await numberOf(world, await world.visitor())).toBe(0);
  });

  test.each(["X-Forwarded-For: 203.0.113.9", "Forwarded: for=x", "Via: 1.1 proxy", "X-Real-IP: 203.0.113.9"])(
    "has none for a request that another proxy has passed on: %s",
    async (field) => {
      await using world = await EdgeUnderTest.start();
      const visitor = await world.visitor();
      expect(await numberOf(world, visitor, get("/", `${field}\r\n`))).toBe(0);
      expect(await numberOf(world, visitor)).not.toBe(0);
    },
  );
});

describe("the end of a visitor's connection", () => {
  test("is told once to a client that has bound an answer to it, and at once", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.visitor();
    const number = await numberOf(world, visitor);
    for (let i = 0; i < 3; i++) {
      visitor.send(get());
      (await world.route.next()).accepted("HTTP/1.1 401 No\r\nContent-Length: 0\r\n", true).finish();
      await visitor.answer();
    }
    expect(world.route.left).toEqual([]);
    visitor.close();
    await world.emptied();
    expect(world.route.left).toEqual([number]);
  });

  test("is told of behind a request for h2c too", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.send(get());
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", true).finish();
    await visitor.answer();
    await numberOf(world, visitor, get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n"));
    expect(world.route.left).toEqual([]);
    visitor.close();
    await world.emptied();
    expect(world.route.left).toEqual([visit.request.visitorConnection]);
  });

  test("is told to nobody who has bound nothing to it", async () => {
    await using world = await EdgeUnderTest.start();
    const visitor = await world.visitor();
    await numberOf(world, visitor);
    visitor.close();
    await world.emptied();
    expect(world.route.left).toEqual([]);
  });
});

import { describe, expect, test } from "vitest";
import { TunnelError } from "../../../../link/errors.ts";
import { OpenRequests } from "../../../../server/edge/http/open-requests.ts";
import { EdgeUnderTest, get, post } from "./edge-under-test.ts";

describe("a request over the limit", () => {
  test.each([
    ["of its tunnel", { requestsPerTunnel: 2 }, "TUNNEL_LIMIT"],
    ["of its key", { requestsPerKey: 2 }, "KEY_LIMIT"],
    ["of its visitor's address", { requestsPerVisitor: 2 }, "VISITOR_LIMIT"],
  ])("%s is a 429, until an earlier one has ended", async (_, limits, failure) => {
    await using world = await EdgeUnderTest.start({ limits });
    await world.send(get("/1"));
    const first = await world.route.next();
    await world.send(get("/2"));
    await world.route.next();
    const visitor = await world.send(get("/3", "Accept: application/json\r\n"));
    const answer = await visitor.answer();
    expect(answer.status).toBe(429);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ error: { code: failure } });
    expect(answer.fields).toContain("Retry-After");
    first.respond(200);
    await world.line((line) => line["target"] === "/1");
    // On the same connection: a refusal is an ordinary answer.
    visitor.send(get("/4"));
    expect((await world.route.next()).head.target).toBe("/4");
  });

  test("of what its client serves is a 429 too", async () => {
    await using world = await EdgeUnderTest.start();
    world.route.open = () => {
      throw new TunnelError("overloaded", "too many");
    };
    expect((await (await world.send(get())).answer()).status).toBe(429);
  });
});

test("every way that a request can end makes room for the next", async () => {
  await using world = await EdgeUnderTest.start({ limits: { requestsPerTunnel: 1 }, lingerMs: 50 });
  const ends: ((visitor: Awaited<ReturnType<typeof world.send>>) => Promise<void>)[] = [
    async () => void (await world.route.next()).respond(200),
    async () => (await world.route.next()).fail("REFUSED"),
    async (visitor) => {
      await world.route.next();
      visitor.abort();
    },
    async () => void (await world.route.next()).accepted("HTTP/1.1 99 Odd\r\n"),
    async () => {
      const visit = await world.route.next();
      visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n");
      visit.fail("LINK_LOST");
    },
  ];
  for (const [i, end] of ends.entries()) {
    await end(await world.send(get(`/${i}`)));
    await world.line((line) => line["target"] === `/${i}`);
  }
  await world.send(get("/last"));
  expect((await world.route.next()).head.target).toBe("/last");
});

test("the visitors behind a trusted proxy are counted apart", async () => {
  await using world = await EdgeUnderTest.start({
    trustedProxies: ["127.0.0.1"],
    limits: { requestsPerVisitor: 1, connectionsPerVisitor: 1 },
  });
  await world.send(get("/", "X-Forwarded-For: 203.0.113.1\r\n"));
  await world.send(get("/", "X-Forwarded-For: 203.0.113.2\r\n"));
  await world.route.next();
  await world.route.next();
  const again = await world.send(get("/", "X-Forwarded-For: 203.0.113.2\r\n"));
  expect((await again.answer()).status).toBe(429);
});

test("keys and tunnels of other keys do not share a count", () => {
  const requests = new OpenRequests({ requestsPerTunnel: 1, requestsPerKey: 2, requestsPerVisitor: 9 });
  expect(requests.open({ key: "a", tunnel: "web" }, "v")).toBeUndefined();
  expect(requests.open({ key: "b", tunnel: "web" }, "v")).toBeUndefined();
  expect(requests.open({ key: "a", tunnel: "web" }, "v")?.code).toBe("TUNNEL_LIMIT");
  expect(requests.open({ key: "a", tunnel: "other" }, "v")).toBeUndefined();
  expect(requests.open({ key: "a", tunnel: "third" }, "v")?.code).toBe("KEY_LIMIT");
  requests.close({ key: "a", tunnel: "web" }, "v");
  expect(requests.open({ key: "a", tunnel: "third" }, "v")).toBeUndefined();
});

describe("a body", () => {
  const LIMITS = { bodyBytes: 10 };

  test("of the length allowed passes, in either framing", async () => {
    await using world = await EdgeUnderTest.start({ limits: LIMITS });
    await world.send(post("0123456789"));
    await (await world.route.next()).until((visit) => visit.writtenBytes === 10);
    await world.send(`${CHUNKED}a\r\n0123456789\r\n0\r\n\r\n`);
    const visit = await world.route.next();
    await visit.until(() => visit.ended);
    expect(visit.body.toString()).toBe("0123456789");
  });

  test("that says that it is longer is a 413, and nobody sees the request", async () => {
    await using world = await EdgeUnderTest.start({ limits: LIMITS, lingerMs: 100 });
    const visitor = await world.send(post("0123456789a"));
    expect((await visitor.answer()).status).toBe(413);
    expect(world.route.opened).toEqual([]);
  });

  test("that turns out longer is a 413, and the local service sees a cut", async () => {
    await using world = await EdgeUnderTest.start({ limits: LIMITS, lingerMs: 100 });
    const visitor = await world.send(`${CHUNKED}6\r\n012345\r\n`);
    const visit = await world.route.next();
    await visit.until(() => visit.writtenBytes === 6);
    visitor.send("6\r\n012345\r\n");
    expect((await visitor.answer()).status).toBe(413);
    expect(visit.wasReset?.code).toBe("CANCELLED");
    expect(visit.ended).toBe(false);
  });

  test("that turns out longer behind the answer's head cuts the connection", async () => {
    await using world = await EdgeUnderTest.start({ limits: LIMITS, lingerMs: 100 });
    const visitor = await world.send(`${CHUNKED}6\r\n012345\r\n`);
    const visit = await world.route.next();
    visit.accepted("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").data("ab");
    await visitor.head();
    visitor.send("6\r\n012345\r\n");
    expect((await visitor.rest()).text).toBe("ab");
    expect((await world.line((line) => "failure" in line))["failure"]).toBe("BODY_TOO_LARGE");
  });
});

const CHUNKED = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";

describe("connections", () => {
  test("of one address beyond its limit are closed, and one of them warns", async () => {
    await using world = await EdgeUnderTest.start({ limits: { connectionsPerVisitor: 2 } });
    const [first, second] = [await world.visitor(), await world.visitor()];
    for (let i = 0; i < 3; i++) await (await world.visitor()).ended;
    first.send(get());
    (await world.route.next()).respond(200, "here");
    expect((await first.answer()).body.toString()).toBe("here");
    second.close();
    const warnings = world.lines.filter((line) => line["visitor"] === "127.0.0.1" && !("status" in line));
    expect(warnings).toHaveLength(1);
  });

  test("count once, also those that ask for an upgrade that is not passed on", async () => {
    await using world = await EdgeUnderTest.start({ limits: { connectionsPerVisitor: 2 } });
    world.route.onOpen = (visit) => visit.respond(200, "plain");
    for (let i = 0; i < 5; i++) {
      const visitor = await world.send(get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n"));
      expect((await visitor.answer()).body.toString()).toBe("plain");
      visitor.close();
      await world.emptied();
    }
  });

  test("beyond the limit of all are closed", async () => {
    await using world = await EdgeUnderTest.start({ limits: { connections: 1 } });
    const first = await world.send(get());
    await world.route.next();
    await (
      await world.visitor()
    ).ended;
    first.close();
    await world.emptied();
    await world.send(get("/free"));
    expect((await world.route.next()).head.target).toBe("/free");
  });
});

import { describe, expect, test } from "vitest";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

const MIB = 1024 * 1024;

describe("a head", () => {
  test("of 14 KiB and a hundred fields passes", async () => {
    await using world = await EdgeUnderTest.start();
    await world.send(
      get("/", Array.from({ length: 100 }, (_, i) => `X-${i}: ${"v".repeat(134)}\r\n`).join("")),
    );
    expect((await world.route.next()).head.fields.length / 2).toBe(106);
  });

  test("with more fields than the limit is a 431", async () => {
    await using world = await EdgeUnderTest.start({ limits: { headFields: 256 }, lingerMs: 100 });
    const visitor = await world.send(get("/", fields(255)));
    expect((await world.route.next()).values("x-254")).toEqual(["v"]);
    const other = await world.send(get("/", fields(256)));
    expect((await other.answer()).status).toBe(431);
    const many = await world.send(get("/", fields(3000)));
    expect((await many.answer()).status).toBe(431);
    visitor.close();
  });

  test("has none of its fields dropped, however many are allowed", async () => {
    await using world = await EdgeUnderTest.start({ limits: { headFields: 5000 } });
    await world.send(get("/", "X: 1\r\n".repeat(4000)));
    expect((await world.route.next()).values("x")).toHaveLength(4000);
  });

  test("larger than the limit is a 431", async () => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    const visitor = await world.send(get("/", `X: ${"v".repeat(33_000)}\r\n`));
    expect((await visitor.answer()).status).toBe(431);
    const other = await world.send(get(`/${"x".repeat(33_000)}`));
    expect((await other.answer()).status).toBe(431);
  });

  test("that never ends is a 408", async () => {
    await using world = await EdgeUnderTest.start({ limits: { headTimeoutMs: 60 }, lingerMs: 100 });
    const visitor = await world.send("GET / HTTP/1.1\r\nHost: app.test\r\nX: ");
    expect((await visitor.answer()).status).toBe(408);
    expect((await visitor.rest()).text).toBe("");
  });

  test("that never begins is a 408 too", async () => {
    await using world = await EdgeUnderTest.start({ limits: { headTimeoutMs: 60 }, lingerMs: 100 });
    expect((await (await world.visitor()).answer()).status).toBe(408);
  });
});

/** What a visitor may send without end. */
const FLOODS: [name: string, start: string, piece: string, status: number][] = [
  ["blank lines", "", "\r\n", 400],
  ["blank lines behind a request", get(), "\r\n", 400],
  ["one target", "GET /", "x", 431],
  ["one field", "GET / HTTP/1.1\r\nHost: app.test\r\nX: ", "x", 431],
  ["fields", "GET / HTTP/1.1\r\nHost: app.test\r\n", "X: 1\r\n", 431],
  [
    "one chunk extension",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    "x",
    413,
  ],
  [
    "chunk extensions, a few to each chunk",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    `1;${"e".repeat(500)}\r\nx\r\n`,
    413,
  ],
  [
    "zeros before a chunk's size",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0",
    413,
  ],
  [
    "trailers",
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "X: 1\r\n",
    431,
  ],
  ["methods", "", "A", 400],
  ["nonsense", "\x16\x03", "\0", 400],
];

describe("a flood of", () => {
  test.each(FLOODS)("%s is answered and closed within 8 MiB", async (_, start, piece, status) => {
    await using world = await EdgeUnderTest.start({ lingerMs: 100 });
    world.route.onOpen = (visit) => {
      if (visit.request.end) visit.respond(200, "first");
    };
    const visitor = await world.send(start);
    const block = piece.repeat(Math.ceil(65_536 / piece.length));
    let sent = 0;
    const flood = setInterval(() => {
      if (sent < 64 * MIB) visitor.send(block);
      sent += block.length;
    }, 0);
    let answer = await visitor.answer();
    if (answer.status === 200) answer = await visitor.answer();
    expect(answer.status).toBe(status);
    expect(sent).toBeLessThan(8 * MIB);
    await visitor.ended;
    clearInterval(flood);
    await world.emptied();
  });
});

test.each([
  ["a refused head", "GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n"],
  ["nonsense", "nonsense\r\n\r\n"],
  ["an upload to nowhere", "POST / HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: 9\r\n\r\n"],
])("a visitor that does not leave behind %s is left", async (_, bytes) => {
  await using world = await EdgeUnderTest.start({ lingerMs: 50 });
  const visitor = await world.send(bytes);
  expect((await visitor.answer()).status).toBeGreaterThanOrEqual(400);
  await world.emptied();
});

test("a visitor that goes on sending behind a refusal is read for a while only", async () => {
  await using world = await EdgeUnderTest.start({ lingerMs: 500 });
  const visitor = await world.send("nonsense\r\n\r\n");
  expect((await visitor.answer()).status).toBe(400);
  const started = performance.now();
  const flood = setInterval(() => {
    if (visitor.socket.writableLength < MIB) visitor.send(Buffer.alloc(MIB));
  }, 0);
  await visitor.ended;
  await world.emptied();
  clearInterval(flood);
  expect(performance.now() - started).toBeLessThan(5000);
  // What the system buffers on loopback included.
  expect(visitor.socket.bytesWritten).toBeLessThan(32 * MIB);
});

test("two hundred exchanges at once are never mixed up", async () => {
  await using world = await EdgeUnderTest.start();
  world.route.onOpen = (visit) => {
    visit.accepted("HTTP/1.1 200 OK\r\n");
    const number = Number(visit.head.target.slice(1));
    const piece = (i: number): void => {
      if (i === 10) return void visit.finish();
      visit.data(`${number} ${i};`);
      setTimeout(piece, (number * 7 + i * 5) % 11, i + 1);
    };
    piece(0);
  };
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const { body } = await (await world.send(get(`/${i}`))).answer();
      const parts = body.toString().split(";").filter(Boolean);
      expect(parts.every((part) => part.startsWith(`${i} `))).toBe(true);
      expect(parts).toHaveLength(10);
    }),
  );
});

function fields(count: number): string {
  return Array.from({ length: count }, (_, i) => `X-${i}: v\r\n`).join("");
}

test("a body in chunks of one octet passes, however long", async () => {
  await using world = await EdgeUnderTest.start();
  const visitor = await world.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
  const visit = await world.route.next();
  visit.keep = false;
  visitor.send("1\r\nx\r\n".repeat(500_000), "0\r\n\r\n");
  await visit.until(() => visit.ended);
  expect(visit.writtenBytes).toBe(500_000);
});

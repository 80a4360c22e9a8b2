import { expect, test } from "vitest";
import { RawBackend, type RawConnection } from "../../support/raw-backend.ts";
import { Replay, serviceAt, visit, type Visit } from "./replay.ts";

function answering(...pieces: string[]): Promise<RawBackend> {
  return RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(...pieces);
  });
}

function closingWith(...pieces: string[]): Promise<RawBackend> {
  return RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(...pieces);
    connection.end();
  });
}

test("status, reason and fields come as they are: order, case, repeats, bytes", async () => {
  const fields = [
    "x-a: 1",
    "X-A: 2",
    "Set-Cookie: a=1",
    "set-cookie: b=2",
    "X-Empty: ",
    "X-L: \xe9\xc3\xa9",
    "Content-Length: 2",
  ];
  await using backend = await answering(`HTTP/1.1 299 Fine \xe9\r\n${fields.join("\r\n")}\r\n\r\nok`);
  const replay = new Replay(serviceAt(backend.target));
  expect((await replay.answer()).body).toBe("ok");
  expect(replay.stream.accepted).toEqual({
    head: `HTTP/1.1 299 Fine \xe9\r\n${fields.join("\r\n")}\r\n`,
    end: false,
  });
});

test("an empty reason stays empty", async () => {
  await using backend = await answering("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
  expect(await visit(serviceAt(backend.target))).toMatchObject({ status: 200, reason: "" });
});

test("a head of 24 KiB passes, with all of its 1,200 fields", async () => {
  const fields = Array.from({ length: 1_200 }, (_, i) => `X-${String(i).padStart(4, "0")}: 0123456789`);
  await using backend = await answering(
    `HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\nContent-Length: 0\r\n\r\n`,
  );
  expect((await visit(serviceAt(backend.target))).fields).toHaveLength(2 * 1_201);
});

test.each([
  ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
  ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
  ["HEAD", "HTTP/1.1 200 OK\r\n\r\n"],
  ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"],
  ["GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"],
  ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
])("%s answered without a body is one message: %j", async (method, answer) => {
  await using backend = await RawBackend.answering(answer);
  const service = serviceAt(backend.target);
  const replay = new Replay(service, { method });
  await replay.answer();
  expect(replay.stream.calls.filter((call) => call !== "other end")).toEqual(["accept"]);
  expect(replay.stream.accepted?.end).toBe(true);
  expect((await visit(service, { method })).body).toBe("");
});

test.each<[string, string[]]>([
  ["a length", ["HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "hello", " ", "world"]],
  [
    "chunks",
    [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      "5\r\nhello\r\n",
      "6;ext=1\r\n",
      " world\r\n0",
      "\r\n\r\n",
    ],
  ],
])("a body by %s arrives whole, in odd pieces", async (_, pieces) => {
  await using backend = await answering(...pieces);
  expect((await visit(serviceAt(backend.target))).body).toBe("hello world");
});

test.each<[string, string]>([
  ["1.1", "HTTP/1.1 200 OK\r\n\r\nhello"],
  ["1.0", "HTTP/1.0 200 OK\r\n\r\nhello"],
])("a body that ends with an HTTP/%s connection ends normally", async (_, answer) => {
  await using backend = await closingWith(answer);
  expect(await visit(serviceAt(backend.target))).toMatchObject({ status: 200, body: "hello" });
});

test("trailers come behind the body: order, case, repeats, bytes; never among the fields", async () => {
  await using backend = await answering(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
    "2\r\nok\r\n0\r\nx-Sum: 1\r\nX-SUM: 2\r\nX-N: \xe9\r\n\r\n",
  );
  const replay = new Replay(serviceAt(backend.target));
  const answer = await replay.answer();
  expect(replay.stream.trailers).toBe("x-Sum: 1\r\nX-SUM: 2\r\nX-N: \xe9\r\n");
  expect(answer.fields).toEqual(["Transfer-Encoding", "chunked", "Trailer", "X-Sum"]);
});

test("interim answers are passed on with their fields, before the final one", async () => {
  await using backend = await answering(
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\r\n",
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  );
  const replay = new Replay(serviceAt(backend.target));
  expect((await replay.answer()).body).toBe("ok");
  expect(replay.stream.interims).toEqual([
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n",
    "HTTP/1.1 102 Processing\r\n",
    "HTTP/1.1 199 Odd\r\n",
  ]);
});

test("the head goes on before the body, and each chunk as it comes", async () => {
  await using backend = await RawBackend.start();
  const { stream, finished } = new Replay(serviceAt(backend.target));
  const connection = await backend.connection(0);
  await connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
  await stream.until(() => stream.accepted !== undefined);
  for (let i = 0; i < 5; i++) {
    await connection.send(`data: ${i}\n\n`);
    await stream.until(() => stream.writtenBytes === 9 * (i + 1));
  }
  expect(stream.ended).toBe(false);
  connection.end();
  expect(await finished).toEqual({ method: "GET", target: "/", status: 200 });
  expect(stream.ended).toBe(true);
});

test("a slow visitor pauses the service, and gets everything in the end", async () => {
  const size = 32 * 1024 * 1024;
  let sent = 0;
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
    for (; sent < size; sent += 65_536) await connection.send(Buffer.alloc(65_536, sent / 65_536));
  });
  const service = serviceAt(backend.target);
  const { stream, finished } = new Replay(service);
  stream.stall();
  const { socket } = await backend.connection(0);
  await stream.until(() => stream.writtenBytes > 0);
  await stalled(socket);
  expect(stream.writtenBytes).toBeLessThanOrEqual(65_536);
  expect(sent).toBeLessThan(size);
  // Meanwhile others are served.
  await using other = await answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  expect((await visit(serviceAt(other.target))).body).toBe("ok");
  stream.unstall();
  expect(await finished).toEqual({ method: "GET", target: "/", status: 200 });
  expect(stream.writtenBytes).toBe(size);
});

/** Waits until the kernel takes no more from the socket. */
async function stalled(socket: RawConnection["socket"]): Promise<void> {
  let before = -1;
  while (socket.writableLength === 0 || socket.bytesWritten !== before) {
    before = socket.bytesWritten;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("an early answer to an unfinished upload goes on at once, and the upload goes on", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
  });
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  replay.stream.feed("first");
  expect((await replay.answer()).body).toBe("early");
  expect(replay.stream.wasReset).toBeUndefined();
  const connection = await backend.connection(0);
  connection.count();
  // More than any buffer on the way, so that it ends only if credit still comes.
  await replay.stream.feedAll(Buffer.alloc(16 * 1024 * 1024));
  replay.stream.finish();
  await connection.untilReceived(16 * 1024 * 1024);
  expect(replay.outcomes).toHaveLength(1);
  expect(replay.stream.wasReset).toBeUndefined();
});

test.each<[string, Partial<Visit>]>([
  ["of unknown length", {}],
  ["of a known length", { fields: ["Content-Length: 100000000"] }],
])("a service that answers an upload %s and closes wants no more of it", async (_, request) => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    connection.end();
  });
  const service = serviceAt(backend.target);
  const replay = new Replay(service, { method: "POST", streaming: true, ...request });
  replay.stream.feed("first");
  expect(await replay.answer()).toMatchObject({ status: 413, body: "big" });
  await replay.stream.until(() => replay.stream.over);
  expect(replay.stream.calls.slice(-2)).toEqual(["end", "reset COMPLETE"]);
  expect(replay.outcomes).toHaveLength(1);
});

test("a service that says more than its answer gets no more of an upload", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "and more");
  });
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  expect((await replay.answer()).body).toBe("ok");
  await replay.stream.until(() => replay.stream.over);
  expect(replay.stream.calls.at(-1)).toBe("reset COMPLETE");
  await (await backend.connection(0)).untilClosed();
  expect(replay.outcomes).toHaveLength(1);
});

test("a service may end an upload behind an answer that its visitor has not read", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  replay.stream.stall();
  expect((await replay.answer()).body).toBe("ok");
  (await backend.connection(0)).end();
  await replay.stream.until(() => replay.stream.over);
  expect(replay.stream.wasReset?.code).toBe("COMPLETE");
});

test("a service that refuses an upload with a reset behind its answer is still heard", async () => {
  // The race is between its answer and our next write; a hundred times is enough to lose it.
  await using backend = await RawBackend.start(async (connection) => {
    connection.pause();
    await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    connection.close();
  });
  const service = serviceAt(backend.target);
  for (let i = 0; i < 100; i++) {
    const replay = new Replay(service, { method: "POST", streaming: true });
    const upload = replay.stream.feedAll(Buffer.alloc(1024 * 1024));
    expect(await replay.answer()).toMatchObject({ status: 413, body: "big" });
    await replay.stream.until(() => replay.stream.over);
    await upload;
  }
});

test("a body without a length is cut by a reset, even where only a write noticed it", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    connection.pause();
    await connection.send("HTTP/1.1 200 OK\r\n\r\npartial");
    connection.close();
  });
  const service = serviceAt(backend.target);
  for (let i = 0; i < 100; i++) {
    const { stream, finished } = new Replay(service, { method: "POST", streaming: true });
    const upload = stream.feedAll(Buffer.alloc(1024 * 1024));
    expect((await finished).failure).toBe("CONNECTION_LOST");
    expect(stream.ended).toBe(false);
    await upload;
  }
});

test("200 exchanges at once are never mixed up", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    for (;;) {
      const path = /^GET (\S+)/.exec(await connection.head())![1]!;
      await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n`, path);
    }
  });
  const service = serviceAt(backend.target);
  const targets = Array.from({ length: 200 }, (_, i) => `/${i}`);
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(targets.map((target) => visit(service, { target })));
    expect(answers.map(({ body }) => body)).toEqual(targets);
  }
});

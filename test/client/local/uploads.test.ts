import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { RawBackend } from "../../support/raw-backend.ts";
import { Replay, serviceAt, visit } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const WINDOW_BYTES = 256 * 1024;

test("credit goes back as the service reads, and not before", async () => {
  await using backend = await RawBackend.start((connection) => {
    connection.count();
    connection.pause();
  });
  const size = 32 * 1024 * 1024;
  const { stream } = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  const connection = await backend.connection(0);
  let fed = 0;
  // What the kernel's buffers take comes back; then the window stays full.
  const upload = (async () => {
    for (; fed < size; fed += 65_536) {
      await stream.until(() => stream.unreadBytes <= WINDOW_BYTES - 65_536);
      stream.feed(Buffer.alloc(65_536));
    }
  })();
  for (let before = -1; before !== fed || stream.unreadBytes < WINDOW_BYTES;) {
    before = fed;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(fed).toBeLessThan(size);
  connection.resume();
  await upload;
  stream.finish();
  await connection.untilReceived(size);
  expect(stream.unreadBytes).toBe(0);
});

test("an upload arrives byte by byte as it was, by length and by chunks", async () => {
  const body = randomBytes(3 * 1024 * 1024 + 17);
  await using backend = await RawBackend.start(async (connection) => {
    const head = await connection.head();
    if (head.includes("Content-Length")) await connection.take(body.length);
    else await connection.takeUntil("\r\n0\r\n\r\n");
    await connection.send(OK);
  });
  const service = serviceAt(backend.target);
  for (const fields of [[`Content-Length: ${body.length}`], ["X-Chunked: 1"]]) {
    const replay = new Replay(service, { method: "PUT", fields, streaming: true });
    await replay.stream.feedAll(body);
    replay.stream.finish();
    expect((await replay.answer()).body).toBe("ok");
    expect(replay.stream.unreadBytes).toBe(0);
  }
  const [byLength, byChunks] = backend.connections.map(({ received }) =>
    received.subarray(received.indexOf("\r\n\r\n") + 4),
  );
  expect(hash(byLength!)).toBe(hash(body));
  expect(hash(unchunked(byChunks!))).toBe(hash(body));
});

test("both directions are live at once", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let i = 0; i < 5; i++) {
      await connection.takeUntil(`ping ${i}\r\n`);
      await connection.send(`6\r\npong ${i}\r\n`);
    }
    await connection.chunkedBody();
    await connection.send("0\r\n\r\n");
  });
  const replay = new Replay(serviceAt(backend.target), { method: "POST", streaming: true });
  for (let i = 0; i < 5; i++) {
    replay.stream.feed(`ping ${i}`);
    await replay.stream.until(() => replay.stream.writtenBytes === 6 * (i + 1));
  }
  replay.stream.finish();
  expect((await replay.answer()).body).toBe("pong 0pong 1pong 2pong 3pong 4");
});

test("a service that reads nothing holds back nobody else", async () => {
  await using stuck = await RawBackend.start((connection) => connection.pause());
  await using backend = await RawBackend.answering(OK);
  const { stream } = new Replay(serviceAt(stuck.target), { method: "POST", streaming: true });
  const upload = stream.feedAll(Buffer.alloc(32 * 1024 * 1024));
  const service = serviceAt(backend.target);
  for (let i = 0; i < 50; i++) expect((await visit(service)).body).toBe("ok");
  stream.fail();
  await upload;
  const connection = await stuck.connection(0);
  connection.resume();
  await connection.untilClosed();
});

function hash(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function unchunked(bytes: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

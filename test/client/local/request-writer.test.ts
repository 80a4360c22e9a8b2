import { Duplex } from "node:stream";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { readLocalRequest } from "../../../client/local/local-request.ts";
import { RequestWriter } from "../../../client/local/request-writer.ts";
import { SILENT } from "../../../link/stream.ts";
import { FakeStream } from "../../support/fake-stream.ts";
import { openFor, type Visit } from "./replay.ts";

/** A socket that counts what the system would be asked to write at once, and takes it when it is told to. */
function countingSocket() {
  const writes: string[] = [];
  const taken: (() => void)[] = [];
  const stream = new Duplex({
    read() {},
    decodeStrings: true,
    defaultEncoding: "latin1",
    write(chunk: Buffer, _encoding, written) {
      writes.push(chunk.toString("latin1"));
      taken.push(written);
    },
    writev(chunks, written) {
      writes.push(chunks.map(({ chunk }) => (chunk as Buffer).toString("latin1")).join(""));
      taken.push(written);
    },
  });
  return { socket: stream as unknown as Socket, writes, take: () => taken.shift()!() };
}

function writing(visit: Visit) {
  const stream = new FakeStream();
  stream.handler = { ...SILENT };
  const writer = new RequestWriter(readLocalRequest(openFor(visit)), stream);
  const counting = countingSocket();
  writer.begin(counting.socket, !writer.done);
  const feed = (text: string) => {
    stream.feed(text);
    return writer.write(Buffer.from(text, "latin1"));
  };
  return { ...counting, writer, stream, feed };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("a head without a body leaves at once", () => {
  const { writer, writes } = writing({});
  expect(writes).toEqual(["GET / HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n"]);
  expect(writer.done).toBe(true);
});

test("a head and a body that comes with it are one write", async () => {
  const { writer, writes, feed } = writing({ method: "PUT", fields: ["Content-Length: 5"], streaming: true });
  feed("hello");
  expect(writer.done).toBe(true);
  await turn();
  expect(writes).toEqual(["PUT / HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"]);
});

test("a head, a chunk, the last one and trailers that come together are one write", async () => {
  const { writer, writes, feed } = writing({ method: "POST", fields: ["X: \xe9"], streaming: true });
  feed("hello world");
  writer.end(Buffer.from("X-N: \xe9\r\n", "latin1"));
  await turn();
  expect(writes).toEqual([
    "POST / HTTP/1.1\r\nX: \xe9\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "b\r\nhello world\r\n0\r\nX-N: \xe9\r\n\r\n",
  ]);
});

test("a head does not wait for its body, and each chunk is one write", async () => {
  const { writes, feed, take } = writing({ method: "POST", fields: ["X: 1"], streaming: true });
  await turn();
  expect(writes).toHaveLength(1);
  take();
  feed("one");
  await turn();
  take();
  feed("three");
  await turn();
  expect(writes.slice(1)).toEqual(["3\r\none\r\n", "5\r\nthree\r\n"]);
});

test("credit goes back when the system has taken the bytes", async () => {
  const { stream, feed, take } = writing({ method: "POST", fields: ["X: 1"], streaming: true });
  feed("hello");
  await turn();
  expect(stream.unreadBytes).toBe(5);
  take();
  await turn();
  expect(stream.unreadBytes).toBe(0);
});

test("what lies behind a body by length is given back, not written", async () => {
  const { writes, feed } = writing({ method: "POST", fields: ["Content-Length: 2"], streaming: true });
  expect(feed("ok!!")?.toString()).toBe("!!");
  await turn();
  expect(writes[0]).toMatch(/\r\n\r\nok$/);
});

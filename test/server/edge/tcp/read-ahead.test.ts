import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { boundReadAhead, stopReading } from "../../../../server/edge/tcp/read-ahead.ts";
import { turn, turnsUntil } from "../../../support/turns.ts";

const TOTAL_BYTES = 1024 * 1024;

/** Two ends of a connection; what is read of the visitor's is paused at each chunk. */
async function pausedAtEachChunk(isPressed: boolean, pause: (socket: Socket) => void) {
  const server = createServer({ pauseOnConnect: true, highWaterMark: 64 * 1024 }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const visitor = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [socket] = (await once(server, "connection")) as [Socket];
  onTestFinished(() => {
    visitor.destroy();
    socket.destroy();
    server.close();
  });
  boundReadAhead(socket, () => isPressed);
  const got = { bytes: 0, chunks: 0 };
  socket.on("data", (chunk: Buffer) => {
    got.bytes += chunk.length;
    got.chunks++;
    pause(socket);
  });
  socket.resume();
  return { visitor, socket, got };
}

test.each<[string, boolean, (socket: Socket) => void, number]>([
  ["hands on what it read in the turn of its pause, and no more", false, (socket) => socket.pause(), 2],
  ["hands on nothing more under pressure", true, (socket) => socket.pause(), 1],
  [
    "hands on nothing more when told to stop reading",
    false,
    (socket) => {
      socket.pause();
      stopReading(socket);
    },
    1,
  ],
])("a paused socket %s; and all of it as it goes on", async (_, isPressed, pause, mostChunks) => {
  const { visitor, socket, got } = await pausedAtEachChunk(isPressed, pause);
  visitor.end(Buffer.alloc(TOTAL_BYTES));
  while (got.bytes < TOTAL_BYTES) {
    const before = got.chunks;
    await turnsUntil(() => got.chunks > before && socket.isPaused());
    for (let i = 0; i < 5; i++) await turn();
    // Everything that was read has been handed on, or nobody would count it.
    expect([socket.readableLength, socket.bytesRead]).toEqual([0, got.bytes]);
    expect(got.chunks - before).toBeLessThanOrEqual(mostChunks);
    socket.resume();
  }
  await once(socket, "end");
  expect(got.bytes).toBe(TOTAL_BYTES);
});

test("a socket that goes on within the turn of its pause reads on as if nothing had been", async () => {
  const { visitor, socket, got } = await pausedAtEachChunk(false, (paused) => {
    paused.pause();
    process.nextTick(() => paused.resume());
  });
  visitor.end(Buffer.alloc(TOTAL_BYTES));
  await once(socket, "end");
  expect(got.bytes).toBe(TOTAL_BYTES);
});

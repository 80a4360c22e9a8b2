import type { Socket } from "node:net";
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { TurnCork } from "../../link/turn-cork.ts";

/** How many bytes each write to the system would have had. */
function socketWithWrites(): { socket: Socket; writes: number[] } {
  const writes: number[] = [];
  const socket = new Writable({
    highWaterMark: 1 << 30,
    write(chunk: Buffer, _encoding, callback) {
      writes.push(chunk.length);
      callback();
    },
    writev(chunks, callback) {
      writes.push(chunks.reduce((bytes, { chunk }) => bytes + (chunk as Buffer).length, 0));
      callback();
    },
  });
  return { socket: socket as unknown as Socket, writes };
}

function writer(socket: Socket): { cork: TurnCork; write: (bytes: number) => void } {
  const cork = new TurnCork(socket);
  return {
    cork,
    write(bytes) {
      cork.hold(bytes);
      socket.write(Buffer.alloc(bytes));
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what is written in a turn leaves in one write, at its end", async () => {
  const { socket, writes } = socketWithWrites();
  const { write } = writer(socket);
  write(10);
  write(0);
  write(20);
  await Promise.resolve();
  expect(writes).toEqual([]);
  await turn();
  expect(writes).toEqual([30]);
  write(5);
  await turn();
  expect(writes).toEqual([30, 5]);
});

test("more than 512 KiB do not wait for the end of the turn", async () => {
  const { socket, writes } = socketWithWrites();
  const { write } = writer(socket);
  for (let i = 0; i < 9; i++) write(64 * 1024);
  expect(writes).toEqual([512 * 1024]);
  await turn();
  expect(writes).toEqual([512 * 1024, 64 * 1024]);
});

test("what is released leaves at once, and what follows is held again", async () => {
  const { socket, writes } = socketWithWrites();
  const { cork, write } = writer(socket);
  write(1);
  cork.release();
  expect(writes).toEqual([1]);
  write(2);
  write(3);
  expect(writes).toEqual([1]);
  await turn();
  expect(writes).toEqual([1, 5]);
});

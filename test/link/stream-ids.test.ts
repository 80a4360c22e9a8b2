import { expect, test } from "vitest";
import { LAST_STREAM_ID, StreamIds } from "../../link/stream-ids.ts";

const NONE = (): boolean => false;

test("the server's ids are even, the client's odd, each once", () => {
  const server = new StreamIds("server");
  const client = new StreamIds("client");
  expect([server.take(NONE), server.take(NONE), server.take(NONE)]).toEqual([2, 4, 6]);
  expect([client.take(NONE), client.take(NONE)]).toEqual([1, 3]);
});

test("the other end may use only its own ids, each once, rising", () => {
  const ids = new StreamIds("server");
  expect(ids.takePeer(1)).toBe(true);
  expect(ids.takePeer(1)).toBe(false);
  expect(ids.takePeer(2)).toBe(false);
  expect(ids.takePeer(0)).toBe(false);
  expect(ids.takePeer(7)).toBe(true);
  expect(ids.takePeer(5)).toBe(false);
});

test("an id was opened once it has been taken, and not before", () => {
  const ids = new StreamIds("server");
  expect(ids.wasOpened(2)).toBe(false);
  ids.take(NONE);
  expect(ids.wasOpened(2)).toBe(true);
  expect(ids.wasOpened(4)).toBe(false);
  expect(ids.wasOpened(1)).toBe(false);
  ids.takePeer(5);
  expect(ids.wasOpened(5)).toBe(true);
  expect(ids.wasOpened(7)).toBe(false);
  expect(ids.wasOpened(0)).toBe(false);
  expect(ids.wasOpened(0xffff_fffe)).toBe(false);
  expect(ids.wasOpened(0xffff_ffff)).toBe(false);
});

test.each(["server", "client"] as const)(
  "a %s's ids start again at the end, past those still in use",
  (side) => {
    const first = side === "server" ? 2 : 1;
    const near = new StreamIds(side, LAST_STREAM_ID - 8);
    const far = new StreamIds(side === "server" ? "client" : "server", LAST_STREAM_ID - 8);
    const stillOpen = new Set([first, first + 4]);
    const taken = Array.from({ length: 9 }, () => near.take((id) => stillOpen.has(id)));

    expect(taken.every((id) => id > 0 && id <= LAST_STREAM_ID && near.isOwn(id))).toBe(true);
    expect(taken).toContain(first + 2);
    expect(taken).not.toContain(first);
    expect(taken).not.toContain(first + 4);
    expect(taken).toContain(first + 6);
    expect(taken.map((id) => far.takePeer(id))).toEqual(taken.map(() => true));

    // A stream of the first round may end only now, and late words about it are no breach.
    expect(near.wasOpened(first + 1000)).toBe(true);
    expect(far.wasOpened(first + 1000)).toBe(true);
  },
);

test("ids in the middle of the range do not start again", () => {
  const ids = new StreamIds("server");
  expect(ids.takePeer(0x7fff_ffff)).toBe(true);
  expect(ids.takePeer(1)).toBe(false);
  expect(ids.takePeer(0xffff_ffef)).toBe(true);
  expect(ids.takePeer(0x7fff_ffff)).toBe(false);
  expect(ids.takePeer(1)).toBe(true);
});

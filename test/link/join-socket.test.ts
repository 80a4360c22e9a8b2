import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { joinSocket, type JoinOptions, type Toll } from "../../link/join-socket.ts";
import type { StreamFailure } from "../../link/stream.ts";
import { FakeStream } from "../support/fake-stream.ts";
import { RawBackend, type RawConnection } from "../support/raw-backend.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

type Closed = { code: StreamFailure; detail: string } | undefined;

interface Joined {
  stream: FakeStream;
  socket: Socket;
  /** The socket's other end. */
  peer: RawConnection;
  closed: Closed[];
}

async function join(
  backend: RawBackend,
  options: Pick<JoinOptions, "early" | "tolls"> = {},
): Promise<Joined> {
  const socket = connect({ ...backend.target, allowHalfOpen: true });
  await once(socket, "connect");
  const stream = new FakeStream();
  const closed: Closed[] = [];
  stream.accept(Buffer.alloc(0));
  joinSocket(stream, socket, { ...options, closed: (failure) => closed.push(failure) });
  return { stream, socket, peer: await backend.connection(0), closed };
}

test("bytes go both ways, and credit goes back", async () => {
  await using backend = await RawBackend.start();
  const { stream, peer } = await join(backend);
  stream.feed("to the peer");
  expect((await peer.take(11)).toString()).toBe("to the peer");
  await peer.send("to the stream");
  await stream.until(() => stream.writtenBytes === 13);
  expect(stream.body.toString()).toBe("to the stream");
  expect(stream.unreadBytes).toBe(0);
});

test("early bytes come first", async () => {
  await using backend = await RawBackend.start();
  const { stream, peer } = await join(backend, { early: Buffer.from("early ") });
  await peer.send("late");
  await stream.until(() => stream.writtenBytes === 10);
  expect(stream.body.toString()).toBe("early late");
});

test("a socket may still be connecting", async () => {
  await using backend = await RawBackend.start();
  const socket = connect({ ...backend.target, allowHalfOpen: true });
  const stream = new FakeStream();
  joinSocket(stream, socket);
  stream.feed("first");
  stream.finish();
  const peer = await backend.connection(0);
  await peer.untilEnded();
  expect(peer.text).toBe("first");
});

test("a stream that ends while its socket tries the addresses of a name ends the socket", async () => {
  await using backend = await RawBackend.start();
  const { port } = backend.target;
  const socket = connect({
    host: "two-addresses.test",
    port,
    allowHalfOpen: true,
    autoSelectFamily: true,
    lookup: (_host, _options, callback) =>
      process.nextTick(callback, null, [
        // Nothing listens there.
        { address: "127.0.0.2", family: 4 },
        { address: "127.0.0.1", family: 4 },
      ]),
  });
  const stream = new FakeStream();
  joinSocket(stream, socket);
  stream.feed("first");
  stream.finish();
  const peer = await backend.connection(0);
  await peer.untilEnded();
  expect(peer.text).toBe("first");
});

test("the stream's half-close leaves the other direction open", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer, closed } = await join(backend);
  stream.finish();
  await peer.untilEnded();
  await peer.send("after");
  await stream.until(() => stream.writtenBytes === 5);
  peer.end();
  await stream.until(() => stream.ended);
  if (!socket.closed) await once(socket, "close");
  expect(closed).toEqual([undefined]);
  expect(stream.wasReset).toBeUndefined();
});

test("the socket's half-close leaves the other direction open", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer, closed } = await join(backend);
  peer.end();
  await stream.until(() => stream.ended);
  stream.feed("after");
  expect((await peer.take(5)).toString()).toBe("after");
  stream.finish();
  await peer.untilEnded();
  if (!socket.closed) await once(socket, "close");
  expect(closed).toEqual([undefined]);
  expect(stream.wasReset).toBeUndefined();
});

test("a reset of the socket resets the stream, once", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer, closed } = await join(backend);
  peer.reset();
  await stream.until(() => stream.over);
  if (!socket.closed) await once(socket, "close");
  expect(stream.wasReset).toEqual({ code: "CONNECTION_LOST", detail: "ECONNRESET" });
  expect(stream.ended).toBe(false);
  expect(closed).toEqual([{ code: "CONNECTION_LOST", detail: "ECONNRESET" }]);
});

test("a reset of the socket right behind bytes resets the stream, behind the bytes", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer, closed } = await join(backend);
  peer.socket.write("last words");
  peer.reset();
  await new Promise((resolve) => socket.once("close", resolve));
  expect(stream.body.toString()).toBe("last words");
  expect(stream.ended).toBe(false);
  expect(stream.wasReset?.code).toBe("CONNECTION_LOST");
  expect(closed).toHaveLength(1);
});

test("a reset behind bytes that the stream does not read yet waits for its turn, so that none of them is lost", async () => {
  await using backend = await RawBackend.start();
  const { stream, peer } = await join(backend);
  stream.stall();
  // A few reads of the socket; what the system has taken.
  const size = 160 * 1024;
  await peer.send(Buffer.alloc(size));
  await stream.until(() => stream.writtenBytes > 0);
  peer.reset();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(stream.over).toBe(false);
  while (!stream.over) {
    stream.unstall();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(stream.writtenBytes).toBe(size);
  expect(stream.wasReset?.code).toBe("CONNECTION_LOST");
});

test("a UNIX socket that its other end closes ends the stream, and does not reset it", async () => {
  const path = `${await temporaryDirectory()}/socket`;
  const server = createServer((peer) => peer.write("all", () => peer.destroy())).listen(path);
  await once(server, "listening");
  const stream = new FakeStream();
  stream.accept(Buffer.alloc(0));
  joinSocket(stream, connect({ path, allowHalfOpen: true }));
  await stream.until(() => stream.ended || stream.over);
  expect(stream.body.toString()).toBe("all");
  expect(stream.wasReset).toBeUndefined();
  stream.finish();
  server.close();
});

test("a reset of the stream resets the socket, once", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer, closed } = await join(backend);
  stream.fail("CANCELLED", "gone");
  expect(await peer.untilClosed()).toBe("reset");
  if (!socket.closed) await once(socket, "close");
  expect(closed).toEqual([{ code: "CANCELLED", detail: "gone" }]);
  expect(stream.wasReset).toBeUndefined();
});

test("a stream that is reset right behind its end closes the socket, behind all that came before", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket, peer } = await join(backend);
  stream.feed("all");
  stream.finish();
  stream.fail("CANCELLED", "gone");
  await once(socket, "close");
  await peer.untilClosed();
  expect(peer.text).toBe("all");
});

test("a socket that is destroyed by others resets the stream", async () => {
  await using backend = await RawBackend.start();
  const { stream, socket } = await join(backend);
  socket.destroy();
  await stream.until(() => stream.over);
  expect(stream.wasReset?.code).toBe("CONNECTION_LOST");
});

test("a stream that is reset while its socket connects takes it along", async () => {
  await using backend = await RawBackend.start();
  const socket = connect({ ...backend.target, allowHalfOpen: true });
  const stream = new FakeStream();
  joinSocket(stream, socket);
  stream.feed("x");
  stream.fail();
  // At once: a service that never answers would keep it.
  expect(socket.destroyed).toBe(true);
});

test("a stream that has ended, and is reset while its socket connects, takes it along", async () => {
  await using backend = await RawBackend.start();
  const socket = connect({ ...backend.target, allowHalfOpen: true });
  const stream = new FakeStream();
  joinSocket(stream, socket);
  stream.finish();
  stream.fail();
  expect(socket.destroyed).toBe(true);
});

test("a socket that cannot connect resets the stream", async () => {
  const { port } = await (async () => {
    await using backend = await RawBackend.start();
    return backend.target;
  })();
  const stream = new FakeStream();
  joinSocket(stream, connect({ host: "127.0.0.1", port, allowHalfOpen: true }));
  await stream.until(() => stream.over);
  expect(stream.wasReset).toEqual({ code: "CONNECTION_LOST", detail: "ECONNREFUSED" });
});

test("a stream that does not read pauses the socket", async () => {
  await using backend = await RawBackend.start();
  const { stream, peer } = await join(backend);
  stream.stall();
  const size = 16 * 1024 * 1024;
  const sent = peer.send(Buffer.alloc(size));
  await stream.until(() => stream.writtenBytes > 0);
  const { writtenBytes } = stream;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(stream.writtenBytes).toBe(writtenBytes);
  stream.unstall();
  await sent;
  await stream.until(() => stream.writtenBytes === size);
});

test("a socket that does not read gets no more than a window ahead", async () => {
  await using backend = await RawBackend.start((connection) => {
    connection.count();
    connection.pause();
  });
  const { stream, peer } = await join(backend);
  const size = 16 * 1024 * 1024;
  let ended = false;
  const fed = stream.feedAll(Buffer.alloc(size)).then(() => {
    ended = true;
  });
  // What the kernel's buffers take comes back; then the window stays full.
  for (let seen = -1; seen !== stream.calls.length || stream.unreadBytes < 256 * 1024;) {
    seen = stream.calls.length;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(ended).toBe(false);
  peer.resume();
  await fed;
  await peer.untilReceived(size);
  expect(stream.unreadBytes).toBe(0);
});

/** A stream that has ended toward the socket, with bytes that nobody has read. */
async function endedUnread(backend: RawBackend): Promise<Joined> {
  const joined = await join(backend);
  const { stream, peer } = joined;
  peer.pause();
  // The kernel's buffers take some; then it stays with us.
  for (let seen = -1; seen !== stream.calls.length;) {
    while (stream.unreadBytes <= 192 * 1024) stream.feed(Buffer.alloc(64 * 1024));
    seen = stream.calls.length;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  stream.finish();
  return joined;
}

describe("what waits in the socket behind the stream's end is given back", () => {
  test("as it is read, while the other direction lives on", async () => {
    await using backend = await RawBackend.start((connection) => connection.count());
    const { stream, peer } = await endedUnread(backend);
    peer.resume();
    await stream.until(() => stream.unreadBytes === 0);
    await peer.send("after");
    await stream.until(() => stream.writtenBytes === 5);
    expect(stream.over).toBe(false);
  });

  test("as it is read, when both have ended", async () => {
    await using backend = await RawBackend.start((connection) => connection.count());
    const { stream, peer } = await endedUnread(backend);
    peer.end();
    await stream.until(() => stream.over);
    expect(stream.unreadBytes).toBeGreaterThan(0);
    peer.resume();
    await stream.until(() => stream.unreadBytes === 0);
    expect(stream.wasReset).toBeUndefined();
  });

  test("when both have ended and the socket is lost", async () => {
    await using backend = await RawBackend.start((connection) => connection.count());
    const { stream, socket, peer } = await endedUnread(backend);
    peer.end();
    await stream.until(() => stream.over);
    socket.destroy();
    await stream.until(() => stream.unreadBytes === 0);
    expect(stream.calls.at(-1)).toBe("consumed");
  });
});

test("what the stream sent before its end arrives, however slow the socket", async () => {
  await using backend = await RawBackend.start((connection) => connection.pause());
  const { stream, peer } = await join(backend);
  stream.feed(Buffer.alloc(200_000, "x"));
  stream.finish();
  peer.resume();
  await peer.untilEnded();
  expect(peer.receivedBytes).toBe(200_000);
});

/** Pays when it is told to. */
class HeldToll implements Toll {
  onReady = (): void => {};
  onPaid = (_bytes: number): void => {};
  spentBytes = 0;
  pays = false;

  spend(bytes: number): boolean {
    this.spentBytes += bytes;
    return this.pays;
  }
}

async function joinedWithToll(backend: RawBackend) {
  const tolls = { fromSocket: new HeldToll(), toSocket: new HeldToll() };
  return { ...(await join(backend, { tolls })), tolls };
}

describe("with a toll", () => {
  test("what is read goes on at once, and no more is read until it is paid", async () => {
    await using backend = await RawBackend.start();
    const { stream, socket, peer, tolls } = await joinedWithToll(backend);
    await peer.send("first");
    await stream.until(() => stream.writtenBytes === 5);
    expect(socket.isPaused()).toBe(true);
    tolls.fromSocket.onReady();
    await peer.send("second");
    await stream.until(() => stream.writtenBytes === 11);
    expect(tolls.fromSocket.spentBytes).toBe(11);
  });

  test("a stream that is full and a toll that is not paid must both give way", async () => {
    await using backend = await RawBackend.start();
    const { stream, socket, peer, tolls } = await joinedWithToll(backend);
    stream.stall();
    await peer.send("first");
    await stream.until(() => stream.writtenBytes === 5);
    tolls.fromSocket.onReady();
    expect(socket.isPaused()).toBe(true);
    stream.unstall();
    expect(socket.isPaused()).toBe(false);
  });

  test("what is written is given back to the stream as it is paid", async () => {
    await using backend = await RawBackend.start();
    const { stream, peer, tolls } = await joinedWithToll(backend);
    stream.feed("0123456789");
    expect((await peer.take(10)).toString()).toBe("0123456789");
    expect(tolls.toSocket.spentBytes).toBe(10);
    expect(stream.unreadBytes).toBe(10);
    tolls.toSocket.onPaid(4);
    expect(stream.unreadBytes).toBe(6);
  });

  test("a socket that closes owes nothing, and nothing is given back twice", async () => {
    await using backend = await RawBackend.start();
    const { stream, socket, peer, tolls } = await joinedWithToll(backend);
    stream.feed("0123456789");
    stream.finish();
    await peer.untilEnded();
    peer.end();
    if (!socket.closed) await once(socket, "close");
    expect(stream.unreadBytes).toBe(0);
    tolls.toSocket.onPaid(10);
    expect(stream.unreadBytes).toBe(0);
  });
});

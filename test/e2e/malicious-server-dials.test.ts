import { randomBytes } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import { RawServer, welcome, type RawCall } from "../support/raw-server.ts";
import { Relay } from "../support/relay.ts";
import { startTestClient, type TestClient } from "../support/tunnel-ends.ts";

/** How long tries are counted. */
const WATCHED_MS = 3_000;
/**
 * A client that waits between tries makes two of them a second at the most, each with all connections of the session,
 * and each of these behind a first look; one that does not wait makes hundreds of a single one.
 */
function mostDials(connections: number): number {
  return 40 + 20 * connections;
}

function startClient(port: number): TestClient {
  const key = { keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port };
  return startTestClient(encodeAccessKey(key), { tuning: { stepTimeoutMs: 500 } });
}

test.concurrent.each<[what: string, greet: (call: RawCall, number: number) => void, connections?: number]>([
  ["ends every call", (call) => void call.call.end()],
  ["is always overloaded", (call) => refuse(call, "overloaded")],
  ["refuses with a code that nobody knows", (call) => refuse(call, "constructor")],
  ["welcomes, and ends the call at once", (call) => sayAndEnd(call, 1)],
  ["welcomes to eight connections, and ends each at once", (call) => sayAndEnd(call, 8), 8],
  [
    "keeps one connection, and ends every further one at once",
    (call, number) => (number === 1 ? call.say([welcome([], { connections: 2 })]) : sayAndEnd(call, 2)),
    2,
  ],
  [
    "keeps one connection, and ends seven further ones again and again",
    (call, number) => (number === 1 ? call.say([welcome([], { connections: 8 })]) : sayAndEnd(call, 8)),
    8,
  ],
  [
    "keeps one connection, and ends every further one without a Welcome",
    (call, number) => (number === 1 ? call.say([welcome([], { connections: 2 })]) : call.call.end()),
    2,
  ],
  [
    "gives each connection another session",
    (call, number) => call.say([welcome([], { connections: 4, sessionToken: `token ${number}` })]),
    4,
  ],
  ["breaks the contract behind each Welcome", (call) => call.say([welcome([]), welcome([])])],
  ["asks to drain behind each Welcome, and leaves", (call) => drain(call)],
])("a server that %s is not dialled in a tight loop", async (_what, greet, connections = 1) => {
  const server = await RawServer.start((call, _hello, number) => greet(call, number));
  await using relay = await Relay.to(server.port);
  await using client = startClient(relay.port);
  await relay.acceptedSoFar(2);
  const before = relay.accepted;
  await delay(WATCHED_MS);
  expect(relay.accepted - before).toBeLessThan(mostDials(connections));
  expect(await Promise.race([client.ended, Promise.resolve("alive")])).toBe("alive");
  await server[Symbol.asyncDispose]();
});

test.concurrent.each<[what: string, take: (socket: Socket) => void]>([
  ["hangs up", (socket) => void socket.end()],
  ["resets", (socket) => void socket.resetAndDestroy()],
  ["speaks another protocol", (socket) => void socket.end("220 mail ESMTP\r\n")],
  ["says half of an HTTP/2 hello", (socket) => void socket.end(Buffer.from([0, 0, 6, 4, 0]))],
  [
    "says an HTTP/2 hello and hangs up",
    (socket) => void socket.end(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])),
  ],
])("nor is one that %s", async (_what, take) => {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    socket.on("error", () => {}).resume();
    take(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  await using client = startClient((server.address() as AddressInfo).port);
  await delay(WATCHED_MS);
  expect(accepted).toBeGreaterThan(1);
  expect(accepted).toBeLessThan(mostDials(1));
  expect(await Promise.race([client.ended, Promise.resolve("alive")])).toBe("alive");
  server.close();
});

function refuse(call: RawCall, code: string): void {
  call.say([{ message: "refused", refused: { code, message: "Again." } }]);
  call.call.end();
}

function sayAndEnd(call: RawCall, connections: number): void {
  call.say([welcome([], { connections })]);
  call.call.end();
}

function drain(call: RawCall): void {
  call.say([welcome([]), { message: "drain", drain: { graceMs: 0 } }]);
  call.call.end();
}

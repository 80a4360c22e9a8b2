import { WebSocket } from "ws";

/**
 * WebSockets that each send a message, wait for its echo and send the next. Prints messages a second and how long they took,
 * as JSON.
 *
 * Arguments: host, port, Host field, path, how many, seconds.
 */
const [host, port, hostname, path, countText, secondsText] = process.argv.slice(2);
const COUNT = Number(countText);
const SECONDS = Number(secondsText);
const MESSAGE = Buffer.alloc(64, "x");
const WARM_UP_MS = 500;

const tookMs: number[] = [];
let counting = false;
const sockets = Array.from({ length: COUNT }, connect);
await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("open", resolve))));
for (const socket of sockets) pingPong(socket);
setTimeout(() => {
  counting = true;
  setTimeout(finish, SECONDS * 1_000);
}, WARM_UP_MS);

function connect(): WebSocket {
  const socket = new WebSocket(`ws://${host}:${port}${path}`, {
    headers: { Host: hostname! },
    perMessageDeflate: false,
    handshakeTimeout: 10_000,
  });
  socket.on("error", (error) => lost(error.message));
  socket.on("close", (code) => lost(`it was closed with ${code}`));
  return socket;
}

function pingPong(socket: WebSocket): void {
  let sentAt = performance.now();
  socket.on("message", (data: Buffer) => {
    if (!MESSAGE.equals(data)) lost("an echo differs from what was sent");
    const now = performance.now();
    if (counting) tookMs.push(now - sentAt);
    sentAt = now;
    socket.send(MESSAGE);
  });
  socket.send(MESSAGE);
}

function finish(): void {
  const sorted = Float64Array.from(tookMs).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)]!;
  console.log(JSON.stringify({ rate: sorted.length / SECONDS, p50: at(0.5), p99: at(0.99) }));
  process.exit(0);
}

function lost(why: string): never {
  console.error(`a WebSocket was lost: ${why}`);
  process.exit(1);
}

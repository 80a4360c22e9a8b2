import { createServer, connect, type AddressInfo, type Socket } from "node:net";

/**
 * Distance, on a machine whose kernel has no netem: passes TCP connections on, each byte so many milliseconds after it came, at
 * the speed of a fast line for all of them together, each way. What is under way lies here, not in the ends' kernels.
 *
 * Arguments: the address to listen on, the delay each way, the address and port to pass connections on to.
 */
const [listenHost, delayText, targetHost, targetPort] = process.argv.slice(2);
const DELAY_MS = Number(delayText);
/** 1 Gbit/s: what servers are rented with; and the line's own processor time stays small beside that of what is measured. */
const BYTES_PER_MS = 125_000;
/** Of one connection, one way: five times what such a line has under way in 50 ms. */
const HIGH_WATER_BYTES = 32 * 1024 * 1024;
/** What is handed to the kernel ahead of its needs. */
const UNSENT_BYTES = 4 * 1024 * 1024;

/** Until when the line is taken by what has come, each way. */
const there = { takenUntil: 0 };
const back = { takenUntil: 0 };

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = connect({ host: targetHost, port: Number(targetPort), allowHalfOpen: true, noDelay: true });
  pass(near, far, there);
  pass(far, near, back);
});
server.listen({ host: listenHost, port: 0, backlog: 4_096 }, () =>
  console.log(`listening ${(server.address() as AddressInfo).port}`),
);

function pass(from: Socket, to: Socket, line: { takenUntil: number }): void {
  /** `undefined` is the end. */
  const waiting: { dueAt: number; chunk: Buffer | undefined }[] = [];
  let first = 0;
  let bytes = 0;
  let timer: NodeJS.Timeout | undefined;

  const add = (chunk: Buffer | undefined): void => {
    const length = chunk?.length ?? 0;
    line.takenUntil = Math.max(line.takenUntil, performance.now()) + length / BYTES_PER_MS;
    waiting.push({ dueAt: line.takenUntil + DELAY_MS, chunk });
    bytes += length;
    if (bytes > HIGH_WATER_BYTES) from.pause();
    timer ??= setTimeout(deliver, DELAY_MS);
  };
  const deliver = (): void => {
    timer = undefined;
    const now = performance.now();
    to.cork();
    while (first < waiting.length && waiting[first]!.dueAt <= now && to.writableLength < UNSENT_BYTES) {
      const { chunk } = waiting[first]!;
      waiting[first++] = { dueAt: 0, chunk: undefined };
      if (chunk) {
        bytes -= chunk.length;
        to.write(chunk);
      } else {
        to.end();
      }
    }
    to.uncork();
    if (first === waiting.length || first > 1_000) {
      waiting.splice(0, first);
      first = 0;
    }
    if (bytes <= HIGH_WATER_BYTES) from.resume();
    // A full socket calls back when it has drained.
    if (waiting.length > 0 && to.writableLength < UNSENT_BYTES)
      timer = setTimeout(deliver, Math.max(1, waiting[first]!.dueAt - now));
  };
  from.on("data", add);
  from.on("end", () => add(undefined));
  from.on("error", () => to.destroy());
  from.on("close", () => {
    if (!from.readableEnded) to.destroy();
  });
  to.on("drain", () => {
    if (waiting.length > 0) timer ??= setTimeout(deliver, 0);
  });
  to.on("close", () => clearTimeout(timer));
}

import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import type { WireBatch } from "../../link/contract.ts";
import { encodeRequestHead } from "../../link/http-head.ts";
import type { Control, Open } from "../../link/messages.ts";
import { CLIENT, startProgram, type Program } from "../support/processes.ts";
import { chunk, open } from "../support/raw-peer.ts";
import { RawServer, welcome, type RawCall } from "../support/raw-server.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { WHOLE } from "./acceptance.ts";

vi.setConfig({ testTimeout: 60_000 });

const MIB = 1024 * 1024;
/** Beside what a client takes that has nothing to do. */
const CONTROL_BOUND = 200 * MIB;
/** Three times what may lie unread in the process (link/unread-budget.ts): what keeps it, and what is not collected yet. */
const DATA_BOUND = 3 * 256 * MIB;
const LAST_PING = 0x0fff_ffff;
/** How long a flood of frames lasts, if the client does not end it. */
const FLOOD_MS = 1_000;

/** Without a length its body has no end in sight. */
const POST = encodeRequestHead({ method: "POST", target: "/", fields: ["Host", "a.test"] });
const GET = encodeRequestHead({ method: "GET", target: "/", fields: ["Host", "a.test"] });

/** A local service that is stuck: connections to it neither succeed nor fail, and all that is for it waits in the client. */
const STUCK = `
  const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    require("node:fs").writeSync(1, String(server.address().port));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
`;
let stuck: ChildProcess;
let target: string;
beforeAll(async () => {
  stuck = spawn(process.execPath, ["-e", STUCK], { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = (await once(stuck.stdout!, "data")) as [Buffer];
  target = `127.0.0.1:${port.toString()}`;
});
afterAll(() => void stuck.kill("SIGKILL"));

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

async function startClient(port: number): Promise<Program & { grownBy(): Promise<number> }> {
  const directory = await lastingDirectory();
  const token = encodeAccessKey({ keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port });
  const client = startProgram(CLIENT, ["--key", token, "--plaintext", "--data-dir", directory.path]);
  let base = Infinity;
  let most = 0;
  const sampling = setInterval(() => {
    void rssOf(client.pid).then(
      (bytes) => {
        base = Math.min(base, client.output().includes('"online"') ? bytes : Infinity);
        most = Math.max(most, bytes);
      },
      () => {},
    );
  }, 25);
  return Object.assign(client, {
    grownBy: async () => {
      await delay(100);
      return most - base;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(sampling);
      if (client.child.exitCode === null && client.child.signalCode === null) client.child.kill("SIGKILL");
      await client.exited;
      await directory[Symbol.asyncDispose]();
    },
  });
}

function visit(stream: number, more: Partial<Open> = {}): Control {
  return open(stream, { head: GET, end: true, ...more });
}

/** Says so many batches as fast as the client takes them, or until it has enough. */
async function flood(
  call: RawCall,
  rounds: number,
  next: (round: number) => [control: Control[], data?: Buffer],
): Promise<void> {
  const state = { over: false };
  void call.over.then(() => (state.over = true));
  for (let round = 0; !state.over && round < rounds; round++) {
    const [control, data = Buffer.alloc(0)] = next(round);
    const taken = new Promise<void>((resolve) => call.call.write({ control, data }, () => resolve()));
    await Promise.race([taken, call.over]);
  }
  // Behind the answer to this the client has worked off all of it, unless it has ended the connection.
  call.say([{ message: "ping", ping: { id: LAST_PING } }]);
  await Promise.race([ponged(call), call.over]);
}

function ponged({ call }: RawCall): Promise<void> {
  return new Promise((resolve) => {
    call.on("data", ({ control }: WireBatch) => {
      if (control.some((said) => said.message === "pong" && said.pong.id === LAST_PING)) resolve();
    });
  });
}

function many<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

const FLOODS: [name: string, bound: number, mischief: (call: RawCall) => Promise<void>][] = [
  [
    "16,384 opens at once",
    CONTROL_BOUND * 3,
    (call) => flood(call, 8, (round) => [many(2_048, (i) => visit(2 + 2 * (round * 2_048 + i)))]),
  ],
  [
    "opens and resets without end",
    CONTROL_BOUND * 2,
    (call) =>
      flood(call, 60, (round) => [
        many(500, (i) => 2 + 2 * (round * 500 + i)).flatMap((stream): Control[] => [
          visit(stream),
          { message: "reset", reset: { stream, code: "CANCELLED", detail: "" } },
        ]),
      ]),
  ],
  [
    "opens for tunnels that nobody has",
    CONTROL_BOUND,
    (call) =>
      flood(call, 30, (round) => [many(1_000, (i) => visit(2 + 2 * (round * 1_000 + i), { tunnel: 9 }))]),
  ],
  [
    "opens with heads of 3 MB",
    CONTROL_BOUND * 2,
    (call) => flood(call, 200, (round) => [[visit(2 + 2 * round, { head: Buffer.alloc(3_000_000, 0x61) })]]),
  ],
  [
    "opens with heads of a hundred thousand fields",
    CONTROL_BOUND * 2,
    (call) => {
      const head = Buffer.from(`GET / HTTP/1.1\r\n${"a:b\r\n".repeat(100_000)}`);
      return flood(call, 500, (round) => [[visit(2 + 2 * round, { head })]]);
    },
  ],
  [
    "opens with request ids of 3 MB",
    CONTROL_BOUND * 2,
    (call) => flood(call, 200, (round) => [[visit(2 + 2 * round, { requestId: "r".repeat(3_000_000) })]]),
  ],
  [
    "messages of 4 MB back to back",
    CONTROL_BOUND,
    (call) =>
      flood(call, 300, (round) => [
        [visit(2 + 2 * round, { tunnel: 9 })],
        Buffer.concat(many(69, () => chunk(2 + 2 * round, 0, Buffer.alloc(60_000)))),
      ]),
  ],
  [
    "pings",
    CONTROL_BOUND,
    (call) =>
      flood(call, 300, (round) => [many(2_000, (id) => ({ message: "ping", ping: { id: round + id } }))]),
  ],
  [
    "pongs that nobody asked for",
    CONTROL_BOUND,
    (call) => flood(call, 300, () => [many(2_000, (id) => ({ message: "pong", pong: { id } }))]),
  ],
  [
    "credit for a stream that is over",
    CONTROL_BOUND,
    (call) =>
      flood(call, 300, (round) => [
        [
          ...(round === 0 ? [visit(2, { tunnel: 9 })] : []),
          ...many(2_000, (): Control => ({ message: "credit", credit: { stream: 2, bytes: 2 ** 31 } })),
        ],
      ]),
  ],
  [
    "resets of a stream that is over, with codes that nobody knows",
    CONTROL_BOUND,
    (call) =>
      flood(call, 200, (round) => [
        [
          ...(round === 0 ? [visit(2, { tunnel: 9 })] : []),
          ...many(2_000, (i): Control => ({
            message: "reset",
            reset: { stream: 2, code: (1_000 + i) as never, detail: "x".repeat(100) },
          })),
        ],
      ]),
  ],
  [
    "updates of its tunnels",
    CONTROL_BOUND,
    (call) =>
      flood(call, 200, () => [
        [
          {
            message: "tunnels",
            tunnels: {
              tunnels: many(1_000, (id) => ({
                id,
                name: "app",
                kind: "HTTP" as const,
                url: "http://app.test/",
                target,
              })),
            },
          },
        ],
      ]),
  ],
  [
    "updates with names of a megabyte",
    CONTROL_BOUND * 2,
    (call) =>
      flood(call, 200, () => [
        [
          {
            message: "tunnels",
            tunnels: {
              tunnels: [
                {
                  id: 1,
                  name: "n".repeat(1_000_000),
                  kind: "HTTP" as const,
                  url: "u".repeat(1_000_000),
                  target: "t".repeat(1_000_000),
                },
              ],
            },
          },
        ],
      ]),
  ],
  [
    "drains",
    CONTROL_BOUND,
    (call) =>
      flood(call, 1000, () => [
        many(10, (): Control => ({ message: "drain", drain: { graceMs: 0xffffffff } })),
      ]),
  ],
  [
    "data within its credit, which the local service does not read",
    DATA_BOUND,
    (call) =>
      flood(call, 200, (round) => {
        const streams = many(16, (i) => 2 + 2 * (round * 16 + i));
        const body = (stream: number) => many(4, () => chunk(stream, 0, Buffer.alloc(60_000)));
        return [
          streams.map((stream) => visit(stream, { head: POST, end: false })),
          Buffer.concat(streams.flatMap(body)),
        ];
      }),
  ],
  [
    "the same data a byte a chunk",
    DATA_BOUND,
    (call) =>
      flood(call, 200, (round) => [
        round === 0 ? many(64, (i) => visit(2 + 2 * i, { head: POST, end: false })) : [],
        Buffer.concat(many(20_000, (i) => chunk(2 + 2 * (i % 64), 0, "x"))),
      ]),
  ],
];

/** Each kind once; the others are of the whole form. */
const QUICK = new Set([
  "opens with request ids of 3 MB",
  "updates of its tunnels",
  "pings",
  "data within its credit, which the local service does not read",
  "HTTP/2 pings",
  "resets",
]);

for (const [name, bound, mischief] of FLOODS) {
  test.runIf(WHOLE || QUICK.has(name))(
    `a server that floods with ${name} takes a bound of memory, and its client lives`,
    async () => {
      const server = await RawServer.start((call) => call.say([welcome([{ target }])]));
      await using client = await startClient(server.port);
      await client.logged("online");
      // What a client takes that has nothing to do.
      await delay(300);
      await mischief(await server.call(1));
      expect(await client.grownBy()).toBeLessThan(bound);
      // A good server is served as ever: the same one, or on a new connection.
      const call = server.calls.at(-1)!;
      if (server.calls.length === 1) call.call.end();
      await server.call(2);
      await client.logged("online", 2);
      await server[Symbol.asyncDispose]();
    },
  );
}

test.runIf(WHOLE)("the same data on eight connections takes no more than on one", async () => {
  const floods: Promise<void>[] = [];
  const server = await RawServer.start((call, _hello, number) => {
    call.say([welcome([{ target }], { connections: 8 })]);
    if (number > 8) return;
    floods.push(
      delay(300).then(() =>
        flood(call, 60, (round) => {
          const streams = many(8, (i) => 2 + 2 * (round * 8 + i));
          const body = (stream: number) => many(4, () => chunk(stream, 0, Buffer.alloc(60_000)));
          return [
            streams.map((stream) => visit(stream, { head: POST, end: false })),
            Buffer.concat(streams.flatMap(body)),
          ];
        }),
      ),
    );
  });
  await using client = await startClient(server.port);
  await server.call(8);
  await client.logged("online");
  await Promise.all(floods);
  expect(await client.grownBy()).toBeLessThan(DATA_BOUND);
  await server[Symbol.asyncDispose]();
});

test("a refusal of 3 MB is cut before it is said, and again and again", async () => {
  const server = await RawServer.start((call) => {
    call.say([
      { message: "refused", refused: { code: "overloaded", message: "m\n\u001b[2J".repeat(300_000) } },
    ]);
    call.call.end();
  });
  await using client = await startClient(server.port);
  await client.logged("offline; trying again", 3);
  expect(client.output().length).toBeLessThan(20_000);
  expect(client.output()).not.toContain("\u001b");
  await server[Symbol.asyncDispose]();
});

/** A frame of HTTP/2, RFC 9113 section 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const SETTINGS = frame(4, 0, 0);
const SETTINGS_ACK = frame(4, 1, 0);
const [HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION] = [
  1, 2, 3, 5, 6, 7, 8, 9,
] as const;

const FRAMES: [name: string, first: Buffer, repeated: Buffer][] = [
  [
    "fields that never end",
    frame(HEADERS, 0, 1, Buffer.alloc(16_000, 0x40)),
    frame(CONTINUATION, 0, 1, Buffer.alloc(16_000, 0x40)),
  ],
  ["fields of nothing that never end", frame(HEADERS, 0, 1), frame(CONTINUATION, 0, 1)],
  ["settings", SETTINGS, frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 255, 255, 0, 5, 0, 0, 64, 0]))],
  ["HTTP/2 pings", SETTINGS, frame(PING, 0, 0, Buffer.alloc(8))],
  ["priorities", SETTINGS, frame(PRIORITY, 0, 1, Buffer.alloc(5))],
  ["windows", SETTINGS, frame(WINDOW_UPDATE, 0, 0, Buffer.from([0, 0, 0, 1]))],
  ["GOAWAYs", SETTINGS, frame(GOAWAY, 0, 0, Buffer.alloc(8))],
  ["resets", SETTINGS, frame(RST_STREAM, 0, 1, Buffer.from([0, 0, 0, 8]))],
  ["pushes", SETTINGS, frame(PUSH_PROMISE, 4, 1, Buffer.from([0, 0, 0, 2, 0x88]))],
  ["data of no stream", SETTINGS, frame(0, 0, 0, Buffer.alloc(1_000))],
  ["empty data", frame(HEADERS, 4, 1, Buffer.from([0x88])), frame(0, 0, 1)],
  ["frames of an unknown type", SETTINGS, frame(0xee, 0xff, 0, Buffer.alloc(1_000))],
];

for (const [name, first, repeated] of FRAMES) {
  test.runIf(WHOLE || QUICK.has(name))(
    `a server that floods HTTP/2 with ${name} takes a bound of memory, and its client goes on`,
    async () => {
      const many = Buffer.concat(Array<Buffer>(Math.ceil(65_536 / repeated.length)).fill(repeated));
      const sockets = new Set<Socket>();
      let calls = 0;
      const server = createServer((socket) => {
        sockets.add(socket);
        socket.on("error", () => {}).on("close", () => sockets.delete(socket));
        socket.write(SETTINGS);
        let heard = 0;
        let flooding = false;
        socket.on("data", (bytes: Buffer) => {
          heard += bytes.length;
          // More than the first look says: the call has begun.
          if (heard < 100 || flooding) return;
          flooding = true;
          calls++;
          socket.write(Buffer.concat([SETTINGS_ACK, first]));
          const until = performance.now() + FLOOD_MS;
          const more = (): void => {
            while (!socket.destroyed && performance.now() < until)
              if (!socket.write(many)) return void socket.once("drain", more);
            socket.destroy();
          };
          more();
        });
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      await using client = await startClient((server.address() as AddressInfo).port);
      await client.logged("offline; trying again", 2);
      expect(calls).toBeGreaterThan(0);
      expect(await rssOf(client.pid)).toBeLessThan(CONTROL_BOUND + 100 * MIB);
      expect(client.output().length).toBeLessThan(50_000);
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  );
}

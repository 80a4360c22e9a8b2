import { randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import {
  constants,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import { linkService } from "../../link/contract.ts";
import type { Control } from "../../link/messages.ts";
import { welcome } from "../support/raw-server.ts";
import { startTestClient } from "../support/tunnel-ends.ts";

const GRPC = { ":status": 200, "content-type": "application/grpc" };

/** A message of gRPC: a flag, four bytes of length, the batch. */
function framed(control: Control[], options: { flag?: number; length?: number } = {}): Buffer {
  const batch = linkService.Connect.responseSerialize({ control, data: Buffer.alloc(0) });
  const prefix = Buffer.alloc(5);
  prefix[0] = options.flag ?? 0;
  prefix.writeUInt32BE(options.length ?? batch.length, 1);
  return Buffer.concat([prefix, batch]);
}

const WELCOME = framed([welcome([])]);

/** What node:http2 would not let this end do either; the types do not know all of it. */
const LENIENT = { maxSessionMemory: 1_000, maxOutstandingPings: 10_000, maxOutstandingSettings: 10_000 };

/** An HTTP/2 server made by hand, which is good to every call but the first. */
async function startAbuser(abuse: (stream: ServerHttp2Stream, session: ServerHttp2Session) => void) {
  const server: Http2Server = createServer(LENIENT);
  const sessions = new Set<ServerHttp2Session>();
  let calls = 0;
  const again = new EventEmitter();
  const secondCall = once(again, "call");
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {}).on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {}).resume();
    if (++calls === 1) return abuse(stream, stream.session as ServerHttp2Session);
    again.emit("call");
    stream.respond(GRPC, { waitForTrailers: true });
    stream.write(WELCOME);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    secondCall,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const ABUSES: [name: string, abuse: (stream: ServerHttp2Stream, session: ServerHttp2Session) => void][] = [
  [
    "answers in HTML",
    (stream) => {
      stream.respond({ ":status": 200, "content-type": "text/html" });
      stream.end("<html>");
    },
  ],
  ["answers 404", (stream) => stream.respond({ ":status": 404 }, { endStream: true })],
  [
    "answers 503 with a status of 0",
    (stream) => stream.respond({ ":status": 503, "grpc-status": "0" }, { endStream: true }),
  ],
  [
    "redirects",
    (stream) => stream.respond({ ":status": 302, location: "http://127.0.0.1:1/" }, { endStream: true }),
  ],
  [
    "answers with trailers alone",
    (stream) => stream.respond({ ...GRPC, "grpc-status": "0" }, { endStream: true }),
  ],
  ...["1", "7", "8", "13", "14", "16", "99", "-1", "x", "", "0, 0"].map((status): (typeof ABUSES)[number] => [
    `ends with grpc-status ${JSON.stringify(status)}`,
    (stream) =>
      stream.respond(
        { ...GRPC, "grpc-status": status, "grpc-message": "%0d%0a%1b[2J%" },
        { endStream: true },
      ),
  ]),
  [
    "ends with a message of 12 KB",
    (stream) =>
      stream.respond(
        { ...GRPC, "grpc-status": "13", "grpc-message": "%41".repeat(4_000) },
        { endStream: true },
      ),
  ],
  ["sets the compressed flag", (stream) => void answer(stream).write(framed([welcome([])], { flag: 1 }))],
  [
    "compresses 256 MB into what it may send",
    (stream) => {
      const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024), { level: 1 });
      const prefix = Buffer.from([1, 0, 0, 0, 0]);
      prefix.writeUInt32BE(bomb.length, 1);
      stream.respond({ ...GRPC, "grpc-encoding": "gzip" });
      stream.write(Buffer.concat([prefix, bomb]));
    },
  ],
  [
    "names a coding that there is not",
    (stream) => {
      stream.respond({ ...GRPC, "grpc-encoding": "__proto__" });
      stream.write(framed([welcome([])], { flag: 1 }));
    },
  ],
  [
    "announces a message of 4 GB",
    (stream) => void answer(stream).write(framed([welcome([])], { length: 0xffffffff })),
  ],
  [
    "announces one byte more than it may",
    (stream) => void answer(stream).write(framed([], { length: 4 * 1024 * 1024 + 1 })),
  ],
  [
    "sends a message in two halves, and the other half never",
    (stream) => void answer(stream).write(WELCOME.subarray(0, 9)),
  ],
  ["sends half a message and ends", (stream) => void answer(stream).end(WELCOME.subarray(0, 9))],
  ["sends a thousand empty messages", (stream) => void answer(stream).write(Buffer.alloc(5_000))],
  ["sends a million empty messages", (stream) => void answer(stream).write(Buffer.alloc(5_000_000))],
  [
    "sends bytes that are no batch",
    (stream) =>
      void answer(stream).write(Buffer.concat([Buffer.from([0, 0, 0, 1, 0]), Buffer.alloc(256, 0xff)])),
  ],
  ["resets the stream", (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR)],
  ["refuses the stream", (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM)],
  ["asks for calm", (stream) => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM)],
  [
    "resets the stream behind its Welcome",
    (stream) => void answer(stream).write(WELCOME, () => stream.close(constants.NGHTTP2_CANCEL)),
  ],
  ["says GOAWAY", (_stream, session) => session.goaway(constants.NGHTTP2_NO_ERROR)],
  [
    "says GOAWAY and why, at length",
    (_stream, session) => session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.alloc(16_000, 0x41)),
  ],
  [
    "says GOAWAY a hundred times",
    (_stream, session) => {
      for (let i = 0; i < 100; i++) session.goaway(constants.NGHTTP2_NO_ERROR, 0);
    },
  ],
  [
    "says GOAWAY behind its Welcome, and nothing more",
    (stream, session) => {
      answer(stream).write(WELCOME);
      session.goaway(constants.NGHTTP2_NO_ERROR, 0);
      setTimeout(() => session.destroy(), 200);
    },
  ],
  ["leaves", (_stream, session) => session.destroy()],
  [
    "changes its settings a thousand times and leaves",
    (stream, session) => {
      for (let i = 0; i < 1_000; i++)
        session.settings({ initialWindowSize: i % 2 === 0 ? 0 : 2 ** 31 - 1, maxConcurrentStreams: i });
      setTimeout(() => session.destroy(), 200);
      stream.respond(GRPC);
    },
  ],
  [
    "pings five thousand times and leaves",
    (stream, session) => {
      for (let i = 0; i < 5_000; i++) session.ping(() => {});
      setTimeout(() => session.destroy(), 200);
      stream.respond(GRPC);
    },
  ],
  [
    "gives no window and leaves",
    (stream, session) => {
      session.settings({ initialWindowSize: 0, maxFrameSize: 16_777_215, headerTableSize: 0 });
      setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), 200);
    },
  ],
  [
    "sends fields without end",
    (stream) => {
      const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`x-${i}`, "v".repeat(100)]));
      stream.respond({ ...GRPC, ...many, "grpc-status": "14" }, { endStream: true });
    },
  ],
  [
    "names its fields for an object's",
    (stream) =>
      stream.respond(
        { ...GRPC, ["__proto__"]: "x", constructor: "y", "grpc-status": "14" },
        { endStream: true },
      ),
  ],
  ["says nothing", () => {}],
];

test.concurrent.each(ABUSES)("a server that %s is left, and tried again", async (_name, abuse) => {
  await using server = await startAbuser(abuse);
  const key = { keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port: server.port };
  await using client = startTestClient(encodeAccessKey(key), { tuning: { stepTimeoutMs: 500 } });
  await server.secondCall;
  await client.online();
  for (const line of client.log.lines) expect(JSON.stringify(line).length).toBeLessThan(8_192);
});

function answer(stream: ServerHttp2Stream): ServerHttp2Stream {
  stream.respond(GRPC);
  return stream;
}

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { gzipSync } from "node:zlib";
import http2 from "node:http2";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import { linkService } from "../../link/contract.ts";
import type { Control } from "../../link/messages.ts";
import { keyFileIn, updateKeyFile } from "../../server/store/key-file.ts";
import { helloOf, RawClient, wanted } from "../support/raw-client.ts";
import { accept, chunk, open } from "../support/raw-peer.ts";
import { saying, startLocalWeb, type LocalWeb } from "../support/local-web.ts";
import {
  http,
  startTestClient,
  startTestServer,
  type TestClient,
  type TestServer,
} from "../support/tunnel-ends.ts";

const HELLO_TIMEOUT_MS = 300;
/** Of gRPC's statuses. */
const RESOURCE_EXHAUSTED = "8";
const INTERNAL = "13";
const CUT = "cut";
const PING: Control = { message: "ping", ping: { id: 1 } };
const DRAIN: Control = { message: "drain", drain: { graceMs: 1 } };
const VALID_HEAD = Buffer.from("HTTP/1.1 200 OK\r\n");

let web: LocalWeb;
let server: TestServer;
let honest: TestClient;
/** The key of the one that means harm. */
let token: string;

beforeAll(async () => {
  web = await startLocalWeb(saying("served"));
  server = await startTestServer({
    settled: true,
    tuning: { helloTimeoutMs: HELLO_TIMEOUT_MS },
    // Visitors of a client that was thrown out are not to wait for its return.
    config: (config) => (config.http.holdMs = 0),
  });
  token = await server.addKey({ name: "bad" });
  honest = startTestClient(await server.addKey({ name: "good" }), { tunnels: [http(web.port, "good")] });
  await honest.online();
});
afterAll(async () => {
  await honest[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await web[Symbol.asyncDispose]();
});

/** Whatever a test did: nobody else has noticed. */
afterEach(async () => {
  const { text } = await server.visit("/", { host: "good.localhost" });
  const sessions = honest.log.lines.filter(({ message }) => message === "online").length;
  const errors = server.log.lines.filter(({ level }) => level === "error");
  assert.deepEqual({ text, sessions, errors }, { text: "served", sessions: 1, errors: [] });
  assert.equal(server.server.streams, 0);
});

/** A session of one that means harm, with the name `bad.localhost`. */
async function badSession(): Promise<RawClient> {
  const client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted("bad")] });
  await client.welcomed();
  return client;
}

/** What an access key of no key of the server holds. */
function strangersKey() {
  return { keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port: 1 };
}

function visitBad(): Promise<{ status: number }> {
  return server.visit("/", { host: "bad.localhost" });
}

function manyEmptyControls(): Control[] {
  return Array.from({ length: 200_000 }, () => ({}) as Control);
}

const BREACHES: [name: string, say: (client: RawClient) => void][] = [
  ["bytes that are no chunks", (client) => client.say([], randomBytes(4096).fill(0xff, 0, 8))],
  ["a chunk cut short", (client) => client.say([], chunk(2, 0, "hello").subarray(0, -1))],
  ["a chunk with unknown flags", (client) => client.say([], chunk(2, 64, "x"))],
  ["a datagram chunk, which is reserved", (client) => client.say([], chunk(2, 4, "x"))],
  ["data of a stream that was never opened", (client) => client.say([], chunk(4242, 0, "x"))],
  ["data of stream 0", (client) => client.say([], chunk(0, 0, "x"))],
  ["data of a stream of its own that it never opened", (client) => client.say([], chunk(7, 0, "x"))],
  ["an answer to a stream that was never opened", (client) => client.say([accept(4242)])],
  ["an Open with one of the server's ids", (client) => client.say([open(2)])],
  ["an Open with id 0", (client) => client.say([open(0)])],
  ["the same Open twice", (client) => client.say([open(1), open(1)])],
  [
    "credit for a stream that was never opened",
    (client) => client.say([{ message: "credit", credit: { stream: 4242, bytes: 1 } }]),
  ],
  [
    "a reset of a stream that was never opened",
    (client) => client.say([{ message: "reset", reset: { stream: 4242, code: "CANCELLED", detail: "" } }]),
  ],
  [
    "an interim answer to a stream that was never opened",
    (client) => client.say([{ message: "interim", interim: { stream: 4242, head: VALID_HEAD } }]),
  ],
  ["an end of a stream that was never opened", (client) => client.say([], chunk(4242, 1))],
  ["trailers of a stream that was never opened", (client) => client.say([], chunk(4242, 3, "A: b\r\n"))],
  ["trailers that are no end", (client) => client.say([], chunk(2, 2, "A: b\r\n"))],
  ["a batch without content", (client) => client.say([])],
  ["Drain twice", (client) => client.say([DRAIN, DRAIN])],
  ["5,000 probes at once", (client) => client.say(Array.from({ length: 5_000 }, () => PING))],
  [
    "5,000 answers to probes that nobody sent",
    (client) => client.say(Array.from({ length: 5_000 }, () => ({ message: "pong", pong: { id: 7 } }))),
  ],
  ["a second Hello", (client) => client.hello(token, { wanted: [wanted("bad")] })],
  [
    "a Welcome of its own",
    (client) =>
      client.say([
        {
          message: "welcome",
          welcome: {
            protocol: 1,
            sessionToken: "",
            version: "",
            connections: 1,
            tunnels: [],
            streamCredit: 1,
          },
        },
      ]),
  ],
  [
    "a Refused of its own",
    (client) => client.say([{ message: "refused", refused: { code: "", message: "" } }]),
  ],
  ["tunnels of its own", (client) => client.say([{ message: "tunnels", tunnels: { tunnels: [] } }])],
  [
    "word of a visitor that has left",
    (client) => client.say([{ message: "visitorLeft", visitorLeft: { visitorConnection: 1 } }]),
  ],
  ["a control message without content", (client) => client.say([{} as Control])],
  ["200,000 control messages without content", (client) => client.say(manyEmptyControls())],
  ["a message of 5 MB", (client) => client.say([], Buffer.alloc(5_000_000))],
];

test.each(BREACHES)("a client that sends %s loses its session", async (_name, say) => {
  using client = await badSession();
  say(client);
  await client.over;
  expect((await visitBad()).status).toBe(503);
});

const BAD_ANSWERS: [name: string, head: string][] = [
  ["garbage", "\0\x01\x02 nonsense"],
  ["nothing at all", ""],
  ["status 1000", "HTTP/1.1 1000 Much\r\n"],
  ["status 099", "HTTP/1.1 099 Little\r\n"],
  ["status 101, unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"],
  ["status 100 as the final one", "HTTP/1.1 100 Continue\r\n"],
  ["a bare LF in a field", "HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c=d\r\n"],
  ["a bare CR in a field", "HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c=d\r\n"],
  ["an empty line and another answer", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n"],
  ["a NUL in a field", "HTTP/1.1 200 OK\r\nA: b\0c\r\n"],
  ["a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n"],
  ["an end without CRLF", "HTTP/1.1 200 OK"],
];

test.each(BAD_ANSWERS)(
  "an answer head of %s gives its visitor 502, and no second answer",
  async (_name, head) => {
    using client = await badSession();
    const visit = visitBad();
    const { stream } = await client.opened();
    client.say(
      [{ message: "accept", accept: { stream, head: Buffer.from(head, "latin1"), end: false } }],
      chunk(stream, 1, "body"),
    );
    expect((await visit).status).toBe(502);
  },
);

test("an answer head of three megabytes reaches nobody but its own visitor", async () => {
  using client = await badSession();
  const visit = visitBad().then(
    ({ status }) => status,
    () => "cut",
  );
  const { stream } = await client.opened();
  const head = Buffer.from(`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(500_000)}`);
  client.say([{ message: "accept", accept: { stream, head, end: true } }]);
  expect([200, 502, "cut"]).toContain(await visit);
});

test("more answer than credit ends the session, and cuts its visitor", async () => {
  using client = await badSession();
  const visitor = connectTcp(server.httpPort, "127.0.0.1").on("error", () => {});
  // A visitor that does not read gives no credit back.
  visitor.pause();
  visitor.write("GET / HTTP/1.1\r\nHost: bad.localhost\r\n\r\n");
  const { stream } = await client.opened();
  client.say([{ message: "accept", accept: { stream, head: VALID_HEAD, end: false } }]);
  const piece = chunk(stream, 0, Buffer.alloc(65_536));
  for (let i = 0; i < 48; i++) client.say([], Buffer.concat(Array.from({ length: 32 }, () => piece)));
  await client.over;
  visitor.resume();
  await once(visitor, "close");
  expect((await visitBad()).status).toBe(503);
});

test("data behind the end of an answer ends the session, and never reaches the next visitor", async () => {
  using client = await badSession();
  const visit = server.visit("/", {
    host: "bad.localhost",
    method: "POST",
    headers: { "Content-Length": "5" },
  });
  // Its request never ends, so that the stream lives on behind its answer.
  visit.catch(() => {});
  const { stream } = await client.opened();
  client.say(
    [{ message: "accept", accept: { stream, head: VALID_HEAD, end: false } }],
    Buffer.concat([chunk(stream, 1, "all"), chunk(stream, 0, "and more")]),
  );
  await client.over;
  expect((await visitBad()).status).toBe(503);
});

const BREACHES_ON_A_STREAM: [name: string, say: (client: RawClient, stream: number) => void][] = [
  ["a body before its head", (client, stream) => client.say([], chunk(stream, 0, "body"))],
  ["an end before its head", (client, stream) => client.say([], chunk(stream, 1))],
  ["two heads", (client, stream) => client.say([accept(stream), accept(stream)])],
  [
    "an interim answer behind its head",
    (client, stream) =>
      client.say([
        { message: "accept", accept: { stream, head: VALID_HEAD, end: false } },
        { message: "interim", interim: { stream, head: VALID_HEAD } },
      ]),
  ],
];

test.each(BREACHES_ON_A_STREAM)("an answer with %s ends the session and its visitor", async (_name, say) => {
  using client = await badSession();
  const visit = visitBad().then(
    ({ status }) => status,
    () => "cut",
  );
  const { stream } = await client.opened();
  say(client, stream);
  await client.over;
  expect(await visit).toBeOneOf([502, "cut"]);
  expect((await visitBad()).status).toBe(503);
});

const FLOODS_ON_A_STREAM: [name: string, control: (stream: number) => Control][] = [
  [
    "interim answers",
    (stream) => ({
      message: "interim",
      interim: { stream, head: Buffer.from("HTTP/1.1 103 Early Hints\r\n") },
    }),
  ],
  ["the most credit", (stream) => ({ message: "credit", credit: { stream, bytes: 0xffffffff } })],
];

test.each(FLOODS_ON_A_STREAM)(
  "40,000 times %s for one visitor leave it its answer",
  async (_name, control) => {
    using client = await badSession();
    const visit = visitBad();
    const { stream } = await client.opened();
    for (let i = 0; i < 20; i++) client.say(Array.from({ length: 2_000 }, () => control(stream)));
    client.say([{ message: "accept", accept: { stream, head: VALID_HEAD, end: true } }]);
    expect((await visit).status).toBe(200);
  },
);

test("40,000 resets of a stream that is over change nothing", async () => {
  using client = await badSession();
  const visit = visitBad();
  const { stream } = await client.opened();
  const reset: Control = { message: "reset", reset: { stream, code: "REFUSED", detail: "a\r\nb" } };
  for (let i = 0; i < 20; i++) client.say(Array.from({ length: 2_000 }, () => reset));
  expect((await visit).status).toBe(502);
  const next = visitBad();
  const opened = await client.opened(2);
  client.say([{ message: "accept", accept: { stream: opened.stream, head: VALID_HEAD, end: true } }]);
  expect((await next).status).toBe(200);
});

test("the log tells a client that was lost from one that said it goes", async () => {
  const reasons: unknown[] = [];
  for (const goodbye of [[], [DRAIN, PING]]) {
    const client = await badSession();
    const offline = server.log.logged("client offline", offlineSoFar() + 1);
    if (goodbye.length > 0) {
      client.say(goodbye);
      await client.heard.message("pong");
    }
    client[Symbol.dispose]();
    reasons.push((await offline)["reason"]);
  }
  expect(reasons).toEqual(["the connection was lost", "it left"]);
});

test("line feeds and escapes in what a client says of itself stay in one line of the log", async () => {
  const online = server.log.logged("client online", onlineSoFar() + 1);
  const clientId = 'x\r\n{"level":"error","message":"forged"}\u001b[2J';
  using client = new RawClient(server.grpcPort).hello(token, { clientId, wanted: [wanted("bad")] });
  await client.welcomed();
  expect((await online)["client"]).toContain("forged");
  expect(server.log.lines.filter(({ message }) => message === "forged")).toEqual([]);
});

test("a stream that a client opens is refused, and its session goes on", async () => {
  using client = await badSession();
  client.say([open(1)]);
  const { reset } = await client.heard.message("reset");
  expect(reset).toMatchObject({ stream: 1, code: "UNSUPPORTED" });
  const visit = visitBad();
  const { stream } = await client.opened();
  client.say([accept(stream)]);
  expect((await visit).status).toBe(502);
});

describe("before a client has said who it is", () => {
  test("one that says nothing is cut off in time", async () => {
    using client = new RawClient(server.grpcPort);
    await client.over;
    expect(client.heard.controls).toEqual([]);
  });

  test.each<[string, Control[], Buffer?]>([
    ["a ping and then nothing", [PING]],
    ["Drain", [DRAIN]],
    ["an answer", [accept(2)]],
    ["data", [], chunk(2, 0, "x")],
    ["nothing but an empty batch", []],
  ])("one that says %s is cut off", async (_name, control, data) => {
    using client = new RawClient(server.grpcPort);
    client.say(control, data);
    await client.over;
    expect(client.heard.all("welcome")).toEqual([]);
  });

  test.each<[string, Control]>([
    ["a probe", PING],
    ["another Hello", helloOf(encodeAccessKey(strangersKey()))],
  ])(
    "one that says Hello and %s behind it, without waiting for the answer, is cut off",
    async (_name, control) => {
      using client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted("bad")] });
      client.say([control]);
      await client.over;
      expect((await visitBad()).status).toBeOneOf([404, 503]);
    },
  );

  test("two Hellos at once let nobody in", async () => {
    using client = new RawClient(server.grpcPort);
    const hello = helloOf(token, { wanted: [wanted("bad")] });
    client.say([hello, hello]);
    await client.over;
    expect(client.heard.all("welcome")).toEqual([]);
    expect((await visitBad()).status).toBe(503);
  });

  test("an unknown key and a wrong secret are refused in the same words", async () => {
    using stranger = new RawClient(server.grpcPort).hello(encodeAccessKey(strangersKey()));
    using guesser = new RawClient(server.grpcPort).hello(token, { secret: randomBytes(16) });
    const { refused } = await stranger.heard.message("refused");
    expect(refused.code).toBe("key_refused");
    expect((await guesser.heard.message("refused")).refused).toEqual(refused);
    await Promise.all([stranger.over, guesser.over]);
  });

  test.each<[string, Parameters<RawClient["hello"]>[1]]>([
    ["a client id of 100 bytes", { clientId: "x".repeat(100) }],
    ["no client id", { clientId: "" }],
    ["a version of 100 bytes", { version: "x".repeat(100) }],
    ["a key id of 100 bytes", { keyId: Buffer.alloc(100) }],
    ["a secret of 100 bytes", { secret: Buffer.alloc(100) }],
    ["no credit", { streamCredit: 0 }],
  ])("a Hello with %s is refused", async (_name, more) => {
    using client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted("bad")], ...more });
    expect((await client.heard.message("refused")).refused.code).toBe("protocol");
    await client.over;
  });

  test.each<[string, Parameters<RawClient["hello"]>[1]]>([
    ["a client id of 100 KB", { clientId: "x".repeat(100_000) }],
    ["a session token of 1 KB", { sessionToken: "x".repeat(1_000) }],
    ["a tunnel's name of 65 bytes", { wanted: [wanted("bad", { name: "x".repeat(65) })] }],
    ["a target of 257 bytes", { wanted: [wanted("bad", { target: "x".repeat(257) })] }],
    ["two thousand names", { wanted: Array.from({ length: 2_000 }, () => wanted("bad")) }],
  ])("a Hello with %s is not even read, and the call says so", async (_name, more) => {
    using client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted("bad")], ...more });
    const { code, details } = await client.over;
    expect(String(code)).toBe(INTERNAL);
    expect(details).toMatch(/more than \d+/);
    expect(client.heard.controls).toEqual([]);
  });
});

test("a Hello of a megabyte is cut off before it is whole", async () => {
  using client = new RawClient(server.grpcPort).hello(token, { version: "x".repeat(1_000_000) });
  await client.over;
  expect(client.heard.controls).toEqual([]);
});

test("a Hello that asks for a thousand names gets none of them", async () => {
  const names = Array.from({ length: 1_000 }, (_, i) => wanted(`bad-${i}`));
  using client = new RawClient(server.grpcPort).hello(token, { wanted: names });
  expect((await client.heard.message("refused")).refused.code).toBe("name_refused");
  expect((await server.visit("/", { host: "bad-0.localhost" })).status).toBe(404);
});

test.each(["..", "a/b", "*", "xn--", "a.b", "\u0000", "good.localhost", "-", "x".repeat(64)])(
  "the subdomain %j is refused",
  async (subdomain) => {
    using client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted(subdomain)] });
    expect((await client.heard.message("refused")).refused.code).toBe("name_refused");
  },
);

test.each(["good.localhost", "GOOD.localhost", "good.localhost."])(
  "the name %s of another key's client cannot be claimed",
  async (hostname) => {
    using client = new RawClient(server.grpcPort).hello(token, { wanted: [wanted("", { hostname })] });
    expect((await client.heard.message("refused")).refused.code).toBe("name_refused");
  },
);

test("a session gets no more connections than its Welcome says, and those that it has stay", async () => {
  using client = await badSession();
  const { sessionToken, connections } = await client.welcomed();
  const more = Array.from({ length: 20 }, () =>
    new RawClient(server.grpcPort).hello(token, { sessionToken }),
  );
  const refused = await Promise.all(more.map((extra) => extra.heard.message("refused")));
  expect(connections).toBe(1);
  expect(new Set(refused.map(({ refused }) => refused.code))).toEqual(new Set(["overloaded"]));
  for (const extra of more) extra[Symbol.dispose]();
  const visit = visitBad();
  const { stream } = await client.opened();
  client.say([accept(stream)]);
  expect((await visit).status).toBe(502);
});

test("names that a client leaves behind are kept within bounds", async () => {
  for (let round = 0; round < 6; round++) {
    const gone = server.log.logged("client offline", offlineSoFar() + 1);
    const client = new RawClient(server.grpcPort).hello(token, {
      wanted: Array.from({ length: 256 }, (_, i) => wanted(`left-${round}-${i}`)),
    });
    await client.welcomed();
    client[Symbol.dispose]();
    await gone;
  }
  const answers = [0, 1, 2, 3, 4, 5].map((round) => server.visit("/", { host: `left-${round}-7.localhost` }));
  const statuses = (await Promise.all(answers)).map(({ status }) => status);
  expect(statuses).toEqual([404, 404, 503, 503, 503, 503]);
});

test("a client that goes on although its key was revoked is cut off, and its visitor with it", async () => {
  const revoked = await server.addKey({ name: "revoked" });
  const { stream, session } = rawCall({});
  const online = server.log.logged("client online", onlineSoFar() + 1);
  stream.write(framed([helloOf(revoked, { wanted: [wanted("stays")], streamCredit: 4_000_000 })]));
  await online;
  // Since it does not read, neither the rest of this nor the word that it must go ever reaches it.
  const visit = server.visit("/", { host: "stays.localhost", method: "POST", body: Buffer.alloc(2_000_000) });
  await updateKeyFile(keyFileIn(server.dataDir), (keys) => keys.filter(({ name }) => name !== "revoked"));
  const startMs = performance.now();
  expect((await visit).status).toBe(502);
  expect(performance.now() - startMs).toBeLessThan(4_000);
  session.destroy();
});

test("the token of another key's session joins nothing", async () => {
  using client = await badSession();
  const { sessionToken } = await client.welcomed();
  const other = await server.addKey({ name: "thief" });
  using thief = new RawClient(server.grpcPort).hello(other, { sessionToken, wanted: [wanted("thief")] });
  expect((await thief.welcomed()).sessionToken).not.toBe(sessionToken);
});

describe("on the gRPC port itself", () => {
  test.each<[string, Buffer]>([
    ["random bytes", randomBytes(100_000)],
    ["an HTTP/1.1 request", Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n")],
    ["the beginning of TLS", Buffer.from("16030100c8010000c40303".padEnd(400, "0"), "hex")],
    [
      "an HTTP/2 preface and garbage",
      Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.alloc(50_000, 0xff)]),
    ],
  ])("%s are answered by the end of the connection", async (_name, bytes) => {
    expect(await answerTo(bytes)).not.toContain("200");
  });

  const BAD_MESSAGES: [name: string, message: Buffer][] = [
    ["that is no protobuf", message(Buffer.from([0xff, 0xff, 0xff, 0xff]))],
    ["of a megabyte that is no protobuf", message(Buffer.alloc(0x100000, 0x0b))],
    ["that says it has 4 GiB", Buffer.concat([Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), Buffer.alloc(1000)])],
    ["of 4 MiB and a byte", Buffer.concat([Buffer.from([0, 0, 0x40, 0, 1]), Buffer.alloc(1000)])],
    ["with an unknown flag", message(Buffer.alloc(1), 9)],
    ["that claims to be compressed and is not", message(Buffer.from("not gzip"), 1)],
  ];

  test.each(BAD_MESSAGES)("a message %s ends the session that it came on", async (_name, bytes) => {
    expect(await statusInSession(bytes)).toBeOneOf([RESOURCE_EXHAUSTED, INTERNAL]);
    expect((await visitBad()).status).toBe(503);
  });

  test.each(BAD_MESSAGES)(
    "a message %s, from a stranger, ends the connection or the call",
    async (_name, bytes) => {
      const { session, stream } = rawCall({});
      stream.resume();
      stream.write(bytes);
      await new Promise((resolve) => stream.once("close", resolve));
      session.destroy();
      expect(stream.closed).toBe(true);
    },
  );

  test("a message of a million Hellos stops nobody", async () => {
    const hellos = Buffer.alloc(0x3ffffc).fill(Buffer.from([0x0a, 0x02, 0x0a, 0x00]));
    const startMs = performance.now();
    // The first is one too many for a session.
    expect(await statusInSession(message(hellos))).toBe(CUT);
    // Built as objects they took 12 s.
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  test("a call that compresses is refused before anything is unpacked", async () => {
    const { session, stream } = rawCall({ "grpc-encoding": "gzip" });
    stream.write(message(gzipSync(Buffer.alloc(64 * 1024 * 1024)), 1));
    await new Promise((resolve) => stream.once("close", resolve));
    expect(stream.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  });

  test.each<[string, Record<string, string>]>([
    ["another path", { ":path": "/culvert.v1.Link/Other" }],
    ["another method of HTTP", { ":method": "GET" }],
    ["another content type", { "content-type": "text/html" }],
    ["a time limit that is none", { "grpc-timeout": "soon" }],
    ["a time limit of a millisecond", { "grpc-timeout": "1m" }],
  ])("a call with %s gets no session", async (_name, headers) => {
    const online = onlineSoFar();
    const { session, stream } = rawCall(headers);
    stream.resume();
    if (!stream.writableEnded) stream.end(framed([helloOf(token, { wanted: [wanted("bad")] })]));
    await new Promise((resolve) => stream.once("close", resolve));
    session.destroy();
    expect(onlineSoFar() - online).toBe(0);
  });

  test("a call that ends at once, with trailers instead of a message, is over", async () => {
    const { session, stream } = rawCall({}, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end();
    stream.resume();
    await new Promise((resolve) => stream.once("close", resolve));
    session.destroy();
    expect(stream.closed).toBe(true);
  });
});

/** What comes back for these bytes on the gRPC port, until the server has ended the connection. */
async function answerTo(bytes: Buffer): Promise<string> {
  const socket = connectTcp(server.grpcPort, "127.0.0.1").on("error", () => {});
  let answer = "";
  socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
  socket.write(bytes);
  await once(socket, "close");
  return answer;
}

/** One call by node:http2, so that the framing can be wrong; the status with which the server has ended it, or `CUT`. */
async function statusInSession(bytes: Buffer): Promise<string> {
  const { session, stream } = rawCall({});
  stream.write(framed([helloOf(token, { wanted: [wanted("bad")] })]));
  // Welcome.
  await once(stream, "data");
  stream.resume();
  stream.write(bytes);
  let status = CUT;
  stream.on("trailers", (trailers: http2.IncomingHttpHeaders) => (status = String(trailers["grpc-status"])));
  await once(stream, "close");
  session.destroy();
  return status;
}

function rawCall(headers: Record<string, string>, options: http2.ClientSessionRequestOptions = {}) {
  const session = http2.connect(`http://127.0.0.1:${server.grpcPort}`).on("error", () => {});
  const stream = session.request(
    {
      ":method": "POST",
      ":path": "/culvert.v1.Link/Connect",
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    },
    options,
  );
  stream.on("error", () => {});
  return { session, stream };
}

function framed(control: Control[]): Buffer {
  return message(linkService.Connect.requestSerialize({ control, data: Buffer.alloc(0) }));
}

/** A gRPC message as it stands on the wire: a flag, its length, and the batch. */
function message(bytes: Buffer, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function onlineSoFar(): number {
  return server.log.lines.filter(({ message }) => message === "client online").length;
}

function offlineSoFar(): number {
  return server.log.lines.filter(({ message }) => message === "client offline").length;
}

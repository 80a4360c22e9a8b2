import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { networkInterfaces } from "node:os";
import { createServer, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import type { TunnelError } from "../../link/errors.ts";
import { encodeRequestHead, parseResponseHead } from "../../link/http-head.ts";
import type { Control, Open } from "../../link/messages.ts";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { RawServer, welcome, type RawCall } from "../support/raw-server.ts";
import { Relay } from "../support/relay.ts";
import { accept, chunk, open } from "../support/raw-peer.ts";
import { http, startTestClient, type TestClient, type TestClientOptions } from "../support/tunnel-ends.ts";

const HEAD = encodeRequestHead({ method: "GET", target: "/", fields: ["Host", "app.localhost"] });

/** A server that does `mischief` to the first call behind its Welcome, and is a good one to all that follow. */
async function mischievous(
  mischief: (call: RawCall) => void,
  target = "127.0.0.1:1",
): Promise<{ server: RawServer; client: TestClient } & AsyncDisposable> {
  const server = await RawServer.start((call, _hello, number) => {
    call.say([welcome([{ target }])]);
    if (number === 1) mischief(call);
  });
  return withClient(server);
}

function withClient(
  server: RawServer,
  options: TestClientOptions = {},
): { server: RawServer; client: TestClient } & AsyncDisposable {
  const client = startTestClient(tokenFor(server), options);
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

function tokenFor({ port }: RawServer): string {
  return encodeAccessKey({ keyId: randomBytes(8), secret: randomBytes(16), host: "127.0.0.1", port });
}

function visit(stream: number, more: Partial<Open> = {}): Control {
  return open(stream, { head: HEAD, end: true, ...more });
}

const BREACHES: [name: string, mischief: (call: RawCall) => void][] = [
  ["bytes that are no chunks", (call) => call.say([], randomBytes(4096).fill(0xff, 0, 8))],
  ["a chunk with unknown flags", (call) => call.say([], chunk(2, 128, "x"))],
  ["data of a stream that was never opened", (call) => call.say([], chunk(2, 0, "x"))],
  ["an Open with one of the client's ids", (call) => call.say([visit(1)])],
  ["an Open with id 0", (call) => call.say([visit(0)])],
  ["the same Open twice", (call) => call.say([visit(2), visit(2)])],
  ["ids that go backwards", (call) => call.say([visit(4), visit(2)])],
  ["an answer to a stream that the client opened", (call) => call.say([visit(2, { end: false }), accept(2)])],
  [
    "an interim answer",
    (call) =>
      call.say([visit(2, { end: false }), { message: "interim", interim: { stream: 2, head: HEAD } }]),
  ],
  [
    "more body than credit",
    (call) => {
      const head = encodeRequestHead({ method: "POST", target: "/", fields: ["Host", "app.localhost"] });
      const piece = chunk(2, 0, Buffer.alloc(65_536));
      call.say([visit(2, { end: false, head })], Buffer.concat(Array<Buffer>(40).fill(piece)));
    },
  ],
  ["data behind the end of a request", (call) => call.say([visit(2)], chunk(2, 0, "x"))],
  ["an end behind the end", (call) => call.say([visit(2)], chunk(2, 1))],
  ["trailers behind the end", (call) => call.say([visit(2)], chunk(2, 2, "a: b\r\n"))],
  [
    "credit for a stream that was never opened",
    (call) => call.say([{ message: "credit", credit: { stream: 2, bytes: 1 } }]),
  ],
  [
    "a reset of a stream that was never opened",
    (call) => call.say([{ message: "reset", reset: { stream: 2, code: "CANCELLED", detail: "" } }]),
  ],
  ["an answer to a stream of the client's ids", (call) => call.say([accept(1)])],
  ["an Open with the last of the client's ids", (call) => call.say([visit(4_294_967_295)])],
  ["an Open again with an id that is over", (call) => call.say([visit(2, { tunnel: 9 }), visit(2)])],
  ["a second Welcome", (call) => call.say([welcome([])])],
  ["a second Welcome of another session", (call) => call.say([welcome([], { sessionToken: "other" })])],
  [
    "a chunk that is longer than its batch",
    (call) => call.say([visit(2, { end: false })], chunk(2, 0, "hello").subarray(0, 9)),
  ],
  [
    "half a chunk's head",
    (call) => call.say([visit(2, { end: false })], chunk(2, 0, "hello").subarray(0, 3)),
  ],
  [
    "twenty updates of its tunnels in one batch",
    (call) =>
      call.say(Array.from({ length: 20 }, () => ({ message: "tunnels" as const, tunnels: { tunnels: [] } }))),
  ],
  [
    "two hundred thousand messages in one batch",
    (call) =>
      call.say(Array.from({ length: 200_000 }, () => ({ message: "pong" as const, pong: { id: 1 } }))),
  ],
  ["a Hello of its own", (call) => call.say([call.heard.all("hello")[0]!])],
  ["a control message without content", (call) => call.say([{} as Control])],
  ["a message of 5 MB", (call) => call.say([], Buffer.alloc(5_000_000))],
  [
    "two tunnels with one id",
    (call) => call.say([{ message: "tunnels", tunnels: { tunnels: [tunnel(7), tunnel(7)] } }]),
  ],
  [
    "states of tunnels, which are the client's to say",
    (call) => call.say([{ message: "tunnelStates", tunnelStates: { tunnels: [] } }]),
  ],
  [
    "two thousand tunnels",
    (call) =>
      call.say([
        { message: "tunnels", tunnels: { tunnels: Array.from({ length: 2_000 }, (_, id) => tunnel(id)) } },
      ]),
  ],
  [
    "a tunnel with a name that never ends",
    (call) =>
      call.say([{ message: "tunnels", tunnels: { tunnels: [{ ...tunnel(1), name: "x".repeat(1_000) }] } }]),
  ],
];

test.each(BREACHES)(
  "a server that sends %s loses its connection, and the client comes back",
  async (_name, mischief) => {
    // A local service that takes what it is sent, and never answers.
    const silent = createServer((socket) => socket.on("error", () => {}).pause());
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    await using world = await mischievous(mischief, `127.0.0.1:${port}`);
    await (
      await world.server.call(1)
    ).over;
    await world.client.online(2);
    expect(world.server.calls).toHaveLength(2);
    silent.close();
  },
);

const BAD_GREETINGS: [name: string, greet: (call: RawCall) => void][] = [
  ["opens streams before its Welcome", (call) => call.say([visit(2), welcome([{ target: "127.0.0.1:1" }])])],
  [
    "names its tunnels before its Welcome",
    (call) => call.say([{ message: "tunnels", tunnels: { tunnels: [] } }]),
  ],
  ["says Drain in place of Welcome", (call) => call.say([{ message: "drain", drain: { graceMs: 1 } }])],
  ["says nothing", () => {}],
  ["says nothing but pings", (call) => call.say([{ message: "ping", ping: { id: 1 } }])],
  ["ends the call at once", (call) => void call.call.end()],
  ["has a Welcome of 5 MB", (call) => call.say([welcome([{ name: "x".repeat(5_000_000) }])])],
  [
    "has a Welcome of two thousand tunnels",
    (call) => call.say([welcome(Array.from({ length: 2_000 }, () => ({ target: "127.0.0.1:1" })))]),
  ],
  [
    "has a Welcome with one id for two tunnels",
    (call) => call.say([welcome([{ id: 1 }, { id: 1, request: 0 }])]),
  ],
  ["names a tunnel at length", (call) => call.say([welcome([{ name: "x".repeat(1_000) }])])],
  [
    "has an address that never ends",
    (call) => call.say([welcome([{ url: `http://${"x".repeat(1_000)}/` }])]),
  ],
  ["names a target that never ends", (call) => call.say([welcome([{ target: `${"x".repeat(1_000)}:1` }])])],
  [
    "has certificates of two megabytes",
    (call) => {
      const targetTls = { insecure: false, ca: "x".repeat(2_000_000), serverName: "" };
      call.say([welcome([{ target: "https://127.0.0.1:1", targetTls }])]);
    },
  ],
  ["has a token that never ends", (call) => call.say([welcome([], { sessionToken: "x".repeat(1_000) })])],
  ["has a version that never ends", (call) => call.say([welcome([], { version: "x".repeat(1_000) })])],
  ["refuses at length", (call) => say(call, { code: "key_refused", message: "x".repeat(5_000) })],
  ["refuses without a reason that anyone knows", (call) => say(call, { code: "__proto__", message: "" })],
  ["is overloaded", (call) => say(call, { code: "overloaded", message: "Later." })],
];

test.each(BAD_GREETINGS)("a server that %s is tried again", async (_name, greet) => {
  const server = await RawServer.start((call, _hello, number) => {
    if (number === 1) greet(call);
    else call.say([welcome([])]);
  });
  await using world = withClient(server, { tuning: { stepTimeoutMs: 300 } });
  await world.client.online();
  expect(server.calls.length).toBeGreaterThanOrEqual(2);
});

test("a server that opens a stream in the batch of its Welcome is served", async () => {
  await using web = await startLocalWeb(saying("served"));
  const server = await RawServer.start((call) =>
    call.say([welcome([{ target: `127.0.0.1:${web.port}` }]), visit(2)]),
  );
  await using world = withClient(server);
  const call = await world.server.call(1);
  const { accept } = await call.heard.message("accept");
  expect(parseResponseHead(accept.head).status).toBe(200);
});

test("a server that asks for a billion connections gets a few", async () => {
  const server = await RawServer.start((call) => call.say([welcome([], { connections: 1_000_000_000 })]));
  await using relay = await Relay.to(server.port);
  await using world = withClient(server, { port: relay.port });
  await server.call(8);
  // Each comes behind a first look; all that are wanted are dialled at once, so every first look has been here.
  expect(relay.accepted).toBe(16);
  expect(world.client.log.lines.filter(({ message }) => message === "online")).toHaveLength(1);
});

test("a server of another protocol version ends the client for good", async () => {
  const server = await RawServer.start((call) => call.say([welcome([], { protocol: 7, version: "9.9" })]));
  await using world = withClient(server);
  const error = await world.client.ended;
  expect(error).toMatchObject({ code: "version", exitCode: 6 });
  expect((error as TunnelError).message).toMatch(/9\.9.*Update tunnel-client/);
});

test("a refusal cannot steer the terminal that it is printed on, nor fill it", async () => {
  const message = `\u001b[2J\u0007gone${"!".repeat(4_000)}`;
  const server = await RawServer.start((call) => say(call, { code: "key_refused", message }));
  await using world = withClient(server);
  const error = (await world.client.ended) as TunnelError;
  expect(error.code).toBe("key_refused");
  expect(error.message).not.toMatch(/[\u0000-\u001f]/);
  expect(error.message.length).toBeLessThan(1_000);
});

test("streams for tunnels that nobody has are reset, and the connection stays", async () => {
  await using world = await mischievous((call) => {
    call.say([visit(2, { tunnel: 0 }), visit(4, { tunnel: 2 }), visit(6, { tunnel: 4_294_967_295 })]);
  });
  const call = await world.server.call(1);
  await call.heard.message("reset", 3);
  expect(call.heard.all("reset").map(({ reset }) => reset.code)).toEqual(Array(3).fill("UNKNOWN_TUNNEL"));
});

test("a flood of streams for unknown tunnels is reset one by one, and the connection stays", async () => {
  const count = 10_000;
  await using world = await mischievous((call) => {
    for (let batch = 0; batch < 20; batch++) {
      call.say(
        Array.from({ length: count / 20 }, (_, i) =>
          visit(2 + 2 * (batch * (count / 20) + i), { tunnel: 9 }),
        ),
      );
    }
    call.say([{ message: "ping", ping: { id: 7 } }]);
  });
  const call = await world.server.call(1);
  await call.heard.message("pong");
  await call.heard.message("reset", count);
  expect(world.server.calls).toHaveLength(1);
});

test("a flood of streams for a service that never answers is bounded, and leaves nothing behind", async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).resume();
    socket.once("close", () => sockets.delete(socket));
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };
  const count = 300;
  await using world = await mischievous(
    (call) => call.say(Array.from({ length: count }, (_, i) => visit(2 + 2 * i))),
    `127.0.0.1:${port}`,
  );
  while (sockets.size < count) await once(silent, "connection");
  const call = await world.server.call(1);
  const closed = Promise.all([...sockets].map((socket) => once(socket, "close")));
  call.say([], chunk(9_999_998, 0, "x"));
  await closed;
  await world.client.online(2);
  expect(sockets.size).toBe(0);
  silent.close();
});

describe("a server cannot make the client dial", () => {
  const own = Object.values(networkInterfaces())
    .flat()
    .find((address) => address && !address.internal && address.family === "IPv4");

  test.each<[string, string, string[]]>([
    ["what --allow none leaves out", "127.0.0.1:PORT", ["none"]],
    ["a loopback address in other letters", "[::ffff:127.0.0.1]:PORT", ["none"]],
    ["loopback by its name", "localhost:PORT", ["none"]],
    ["the unspecified address, which means loopback", "0.0.0.0:PORT", ["none"]],
    ["a port beside the one that is allowed", "127.0.0.1:PORT", ["none", "127.0.0.1/32:1"]],
    ["an address beside the one that is allowed", "127.0.0.1:PORT", ["none", "127.0.0.2/32"]],
    ["loopback under another address of its own", "127.1.2.3:PORT", ["none"]],
    ["a name beneath localhost", "x.localhost:PORT", ["none"]],
    ["loopback with a dot behind its name", "localhost.:PORT", ["none"]],
    ["loopback over TLS", "https://127.0.0.1:PORT", ["none"]],
    ["loopback behind a scheme", "http://127.0.0.1:PORT", ["none"]],
    ["loopback by its IPv6 address", "[::1]:PORT", ["none"]],
    ["loopback by an unspecified IPv6 address", "[::]:PORT", ["none"]],
    ["loopback mapped in hexadecimal", "[::ffff:7f00:1]:PORT", ["none"]],
    ["where clouds keep their secrets", "169.254.169.254:80", []],
    ["that over TLS", "https://169.254.169.254", []],
    ["that in an IPv6 spelling", "[::ffff:169.254.169.254]:80", []],
    ["that in IPv6", "[fd00:ec2::254]:80", []],
    ["a link-local address", "[fe80::1%lo]:80", []],
    ["another machine", "192.168.0.1:80", []],
    ["a socket, by default", "unix:/run/docker.sock", []],
    ["a socket, whatever else is allowed", "unix:/run/docker.sock", ["any"]],
    ["a socket beneath the one that is allowed", "unix:/run/app.sock/x", ["unix:/run/app.sock"]],
    ["a socket beside the directory that is allowed", "unix:/run/applications/x", ["unix:/run/app/"]],
    ["this machine's own address, by default", `${own?.address ?? "192.0.2.1"}:PORT`, []],
  ])("%s", async (_name, target, allow) => {
    await using web = await startLocalWeb(saying("secret"), "0.0.0.0");
    const named = target.replace("PORT", String(web.port));
    const server = await RawServer.start((call) => call.say([welcome([{ target: named }]), visit(2)]));
    await using world = withClient(server, { allow });
    const call = await server.call(1);
    const { reset } = await call.heard.message("reset");
    expect(reset).toMatchObject({ stream: 2, code: "NOT_ALLOWED" });
    expect(web.connections()).toBe(0);
    const line = await world.client.log.logged("request failed");
    expect(line).toMatchObject({
      failure: "NOT_ALLOWED",
      detail: expect.stringContaining("--allow") as unknown,
    });
  });

  // Some resolvers read an address in them, and others a name that nobody has.
  test.each([
    "127.1:PORT",
    "2130706433:PORT",
    "0x7f000001:PORT",
    "0177.0.0.1:PORT",
    "2852039166:80",
    "0xc0a80001:80",
  ])("an address in the old spelling %s", async (target) => {
    await using web = await startLocalWeb(saying("secret"));
    const named = target.replace("PORT", String(web.port));
    const server = await RawServer.start((call) => call.say([welcome([{ target: named }]), visit(2)]));
    await using world = withClient(server, { allow: ["none"] });
    const call = await world.server.call(1);
    const { reset } = await call.heard.message("reset");
    expect(["NOT_ALLOWED", "UNKNOWN_TUNNEL", "UNREACHABLE"]).toContain(reset.code);
    expect(web.connections()).toBe(0);
  });

  test("another target than the one that was typed, by a changed mapping", async () => {
    await using typed = await startLocalWeb(saying("typed"));
    await using other = await startLocalWeb(saying("other"));
    const server = await RawServer.start((call) => {
      call.say([welcome([{ request: 0, target: `127.0.0.1:${other.port}` }])]);
      call.say([
        {
          message: "tunnels",
          tunnels: { tunnels: [{ ...tunnel(5), request: 0, target: `127.0.0.1:${other.port}` }] },
        },
        visit(2, { tunnel: 5 }),
      ]);
    });
    await using world = withClient(server, { tunnels: [http(typed.port, "app")], allow: ["none"] });
    const { payload } = await (await world.server.call(1)).heard.chunkNumber(1);
    expect(payload.toString()).toBe("typed");
    expect(other.connections()).toBe(0);
  });

  test("what it names later, by a changed mapping, if that is not allowed", async () => {
    await using first = await startLocalWeb(saying("first"));
    await using second = await startLocalWeb(saying("second"));
    const server = await RawServer.start((call) => {
      call.say([welcome([{ target: `127.0.0.1:${first.port}` }]), visit(2)]);
    });
    await using world = withClient(server, { allow: ["none", `127.0.0.1/32:${first.port}`] });
    const call = await world.server.call(1);
    expect((await call.heard.chunkNumber(1)).payload.toString()).toBe("first");
    call.say([update(1, second.port), visit(4)]);
    expect((await call.heard.message("reset")).reset).toMatchObject({ stream: 4, code: "NOT_ALLOWED" });
    call.say([update(1, first.port), visit(6)]);
    await call.heard.message("accept", 2);
    expect(second.connections()).toBe(0);
  });

  test.each<[string, string]>([
    ["a port of this machine", "127.0.0.1:PORT"],
    ["it by its name", "localhost:PORT"],
    ["it over TLS", "https://127.0.0.1:PORT"],
    ["the very port that was typed", "127.0.0.1:TYPED"],
    ["a name that has to be looked up", "nas.culvert.invalid:PORT"],
  ])("%s, by a tunnel of its own beside the one that was typed", async (_name, target) => {
    await using typed = await startLocalWeb(saying("typed"));
    await using other = await startLocalWeb(saying("other"));
    const added = target.replace("PORT", String(other.port)).replace("TYPED", String(typed.port));
    const server = await RawServer.start((call) => {
      const own = { request: 0, target: `127.0.0.1:${typed.port}` };
      call.say([welcome([own, { name: "added", target: added }]), visit(2), visit(4, { tunnel: 2 })]);
    });
    await using world = withClient(server, { tunnels: [http(typed.port, "app")] });
    const call = await world.server.call(1);
    expect((await call.heard.message("reset")).reset).toMatchObject({ stream: 4, code: "NOT_ALLOWED" });
    await call.heard.message("accept");
    expect(other.connections()).toBe(0);
    expect(typed.connections()).toBe(1);
    const { lines } = world.client.log;
    expect(lines.filter(({ message }) => message === "serving")).toMatchObject([
      { target: `127.0.0.1:${typed.port}` },
    ]);
    const refused = lines.find(({ message }) => message.startsWith("not serving"));
    expect(refused).toMatchObject({ level: "warn", tunnel: "added" });
    expect(refused?.message).toContain(`--allow ${added.replace("https://", "")}`);
  });

  test("another kind of service than the one that was typed", async () => {
    await using typed = await startLocalWeb(saying("typed"));
    const server = await RawServer.start((call) => {
      call.say([welcome([{ request: 0, kind: "UDP", ports: 10, target: `127.0.0.1:${typed.port}` }])]);
      call.say([visit(2, { kind: "UDP" }), visit(4, { kind: "TCP" }), visit(6, { portOffset: 1 }), visit(8)]);
    });
    await using world = withClient(server, { tunnels: [http(typed.port, "app")] });
    const call = await world.server.call(1);
    await call.heard.message("reset", 3);
    expect(call.heard.all("reset").map(({ reset }) => [reset.stream, reset.code])).toEqual(
      [2, 4, 6].map((stream) => [stream, "UNSUPPORTED"]),
    );
    await call.heard.message("accept");
    expect(typed.connections()).toBe(1);
  });

  test.each([1, 7, 4_294_967_295])("what nobody typed, as the answer to request %i", async (request) => {
    await using typed = await startLocalWeb(saying("typed"));
    await using other = await startLocalWeb(saying("other"));
    const server = await RawServer.start((call) =>
      call.say([welcome([{ request, target: `127.0.0.1:${other.port}` }]), visit(2)]),
    );
    await using world = withClient(server, { tunnels: [http(typed.port, "app")], allow: ["none"] });
    const call = await world.server.call(1);
    expect((await call.heard.message("reset")).reset).toMatchObject({ stream: 2, code: "NOT_ALLOWED" });
    expect(other.connections()).toBe(0);
  });

  test.each([
    "",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:99999",
    "http://127.0.0.1:80/path",
    "/run/docker.sock",
    "a b:80",
  ])("the odd target %j", async (target) => {
    const server = await RawServer.start((call) => call.say([welcome([{ target }]), visit(2)]));
    await using world = withClient(server, { allow: ["any"] });
    const { reset } = await (await server.call(1)).heard.message("reset");
    expect(reset.code).toBe("UNKNOWN_TUNNEL");
    expect(world.client.log.lines.filter(({ level }) => level === "warn")).not.toEqual([]);
  });
});

test.each<[string, string]>([
  ["no request at all", "\0\x01"],
  ["a hidden second request", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /admin HTTP/1.1\r\n"],
  ["a bare LF", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n"],
  ["two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n"],
  [
    "a length and a coding",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
  ],
  ["a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n"],
])("a request head with %s never reaches the local service", async (_name, head) => {
  await using web = await startLocalWeb(saying("reached"));
  const server = await RawServer.start((call) =>
    call.say([
      welcome([{ target: `127.0.0.1:${web.port}` }]),
      visit(2, { head: Buffer.from(head, "latin1") }),
    ]),
  );
  await using world = withClient(server);
  const call = await world.server.call(1);
  expect((await call.heard.message("reset")).reset.stream).toBe(2);
  expect(web.connections()).toBe(0);
});

function say(call: RawCall, refused: { code: string; message: string }): void {
  call.say([{ message: "refused", refused }]);
  call.call.end();
}

function tunnel(id: number) {
  return { id, name: "app", kind: "HTTP" as const, url: "http://app.localhost/", target: "127.0.0.1:1" };
}

/** A changed mapping: the tunnel leads to this port of loopback. */
function update(id: number, port: number): Control {
  return { message: "tunnels", tunnels: { tunnels: [{ ...tunnel(id), target: `127.0.0.1:${port}` }] } };
}

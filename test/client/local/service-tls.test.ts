import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import type { LocalService } from "../../../client/local/local-service.ts";
import { ServiceTls } from "../../../client/local/service-tls.ts";
import { makeAuthority, makeCertificate } from "../../support/certificates.ts";
import { failure, Replay, serviceAt, visit } from "./replay.ts";
import { answering, AUTHORITY, GOOD, startTlsService, type TlsService, tlsServiceAt } from "./tls-service.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CA = { ca: AUTHORITY.cert };

async function untilIdle(service: LocalService, count: number): Promise<void> {
  while (service.idle !== count) await new Promise((resolve) => setImmediate(resolve));
}

/** A service below TLS: what it does with each connection is the test's. */
async function startPlain(serve: (socket: Socket) => void): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

test("a request and its answer pass through TLS byte for byte", async () => {
  const head = "HTTP/1.1 299 Fine \xe9\r\nX-L: \xe9\xc3\xa9\r\nContent-Length: 5\r\n\r\n";
  await using service = await startTlsService(answering(`${head}h\xe9llo`), GOOD);
  const answer = await visit(tlsServiceAt(service.port, CA), {
    method: "POST",
    fields: ["Host: app.test", "X-Odd: \xe9\xff", "Content-Length: 4"],
    body: "\x00\xe9\xffz",
  });
  expect(answer).toMatchObject({ status: 299, reason: "Fine \xe9", body: "h\xe9llo" });
  const [connection] = service.connections;
  await connection!.until(() => connection!.text.endsWith("\xffz"));
  expect(connection!.text).toContain("X-Odd: \xe9\xff\r\n");
  expect(connection!.text).toMatch(/\r\n\r\n\x00\xe9\xffz$/);
});

test("one safe request after another takes the same connection, others a fresh one that resumes the session", async () => {
  const resumed: boolean[] = [];
  await using service = await startTlsService((connection, index) => {
    resumed.push((connection.socket as TLSSocket).isSessionReused());
    return answering(OK)(connection, index);
  }, GOOD);
  const local = tlsServiceAt(service.port, CA);
  for (let i = 0; i < 5; i++) {
    await visit(local);
    await untilIdle(local, 1);
  }
  expect(service.connections).toHaveLength(1);
  await visit(local, { method: "POST", body: "x" });
  await visit(local, { method: "POST", body: "x" });
  expect(resumed).toEqual([false, true, true]);
});

test("a connection that the service closes while idle is forgotten", async () => {
  await using service = await startTlsService(answering(OK), GOOD);
  const local = tlsServiceAt(service.port, CA);
  await visit(local);
  await untilIdle(local, 1);
  service.connections[0]!.end();
  await untilIdle(local, 0);
  expect((await visit(local)).body).toBe("ok");
});

test("a body of many megabytes arrives whole both ways", async () => {
  const size = 8 * 1024 * 1024;
  await using service = await startTlsService(async (connection) => {
    await connection.head();
    connection.count();
    await connection.until(() => connection.receivedBytes >= size);
    await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`, Buffer.alloc(size, "d"));
  }, GOOD);
  const fields = ["Host: app.test", `Content-Length: ${size}`];
  const { stream, finished } = new Replay(tlsServiceAt(service.port, CA), {
    method: "PUT",
    fields,
    streaming: true,
  });
  await stream.feedAll(Buffer.alloc(size, "u"));
  stream.finish();
  expect(await finished).toEqual({ method: "PUT", target: "/", status: 200 });
  expect(stream.writtenBytes).toBe(size);
  expect(stream.unreadBytes).toBe(0);
});

test("a slow visitor pauses the service, and gets everything in the end", async () => {
  const size = 8 * 1024 * 1024;
  await using service = await startTlsService(
    answering(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${"d".repeat(size)}`),
    GOOD,
  );
  const { stream, finished } = new Replay(tlsServiceAt(service.port, CA));
  stream.stall();
  await stream.until(() => stream.writtenBytes > 0);
  for (let before = -1; before !== stream.writtenBytes;) {
    before = stream.writtenBytes;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(stream.writtenBytes).toBeLessThan(size / 4);
  stream.unstall();
  await finished;
  expect(stream.writtenBytes).toBe(size);
});

test("a service that refuses an upload and resets the connection behind its answer is still heard", async () => {
  await using service = await startTlsService(async (connection) => {
    connection.pause();
    await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    connection.close();
  }, GOOD);
  const local = tlsServiceAt(service.port, CA);
  for (let i = 0; i < 50; i++) {
    const replay = new Replay(local, { method: "POST", streaming: true });
    const upload = replay.stream.feedAll(Buffer.alloc(1024 * 1024));
    expect(await replay.answer()).toMatchObject({ status: 413, body: "big" });
    await replay.stream.until(() => replay.stream.over);
    await upload;
  }
});

test("an upgrade passes bytes both ways, and half-closes", async () => {
  await using service = await startTlsService(
    async (connection) => {
      await connection.head();
      await connection.send(
        "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly ",
        "last \xff",
      );
      connection.end();
    },
    { ...GOOD, allowHalfOpen: true },
  );
  const { stream, finished } = new Replay(tlsServiceAt(service.port, CA), {
    fields: ["Host: a", "Connection: Upgrade", "Upgrade: x"],
    streaming: true,
  });
  stream.feed("\x00\xff ");
  expect(await finished).toEqual({ method: "GET", target: "/", status: 101 });
  await stream.until(() => stream.ended);
  expect(stream.body.toString("latin1")).toBe("early last \xff");
  stream.feed("still here");
  stream.finish();
  const [connection] = service.connections;
  await connection!.untilEnded();
  expect(connection!.text).toMatch(/\r\n\r\n\x00\xff still here$/);
  expect(stream.wasReset).toBeUndefined();
});

test("an upgraded connection whose TLS breaks is cut for both", async () => {
  await using service = await startTlsService(
    answering("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
    { ...GOOD, allowHalfOpen: true },
  );
  let nearSide!: Socket;
  await using between = await startPlain((socket) => {
    nearSide = socket;
    const farSide = connect(service.port, "127.0.0.1");
    farSide.on("error", () => {});
    socket.pipe(farSide).pipe(socket);
  });
  const fields = ["Host: a", "Connection: Upgrade", "Upgrade: x"];
  const { stream, finished } = new Replay(tlsServiceAt(between.port, CA), { fields, streaming: true });
  expect(await finished).toMatchObject({ status: 101 });
  const closed = once(nearSide, "close");
  nearSide.write("no record of TLS at all");
  await stream.until(() => stream.over);
  await closed;
  expect(stream.wasReset?.code).toBe("CONNECTION_LOST");
  expect(stream.ended).toBe(false);
});

test("a visitor who leaves before the handshake is done takes the connection along", async () => {
  let closed!: Promise<unknown>;
  let accepted!: () => void;
  const first = new Promise<void>((resolve) => (accepted = resolve));
  await using silent = await startPlain((socket) => {
    closed = once(socket.resume(), "close");
    accepted();
  });
  const replay = new Replay(tlsServiceAt(silent.port, CA));
  await first;
  replay.stream.fail();
  await closed;
  expect(replay.outcomes).toMatchObject([{ failure: "CANCELLED" }]);
});

test.each<[string, string, string, string | false]>([
  ["the target's name", "localhost", "", "localhost"],
  ["the server name", "127.0.0.1", "service.test", "service.test"],
  ["no name for an address", "127.0.0.1", "", false],
  ["no name for a server name that is an address", "localhost", "127.0.0.1", false],
])("the service is asked for %s, and for HTTP/1.1 alone", async (_, host, serverName, sni) => {
  const offered: string[][] = [];
  await using service = await startTlsService(answering(OK), {
    ...GOOD,
    ALPNCallback({ protocols }) {
      offered.push(protocols);
      return "http/1.1";
    },
  });
  await visit(tlsServiceAt(service.port, { ...CA, host, serverName }));
  // Node says false where a client names nobody.
  expect(service.connections[0]!.socket.servername).toBe(sni);
  expect(offered).toEqual([["http/1.1"]]);
});

const OTHER = await makeAuthority();
const NOT_TRUSTED = "is not trusted: ";

test.each<[string, Parameters<typeof makeCertificate>[0], Parameters<typeof tlsServiceAt>[1], string]>([
  [
    "that has expired",
    { authority: AUTHORITY, ips: ["127.0.0.1"], fromDays: -3, toDays: -1 },
    CA,
    "its certificate has expired",
  ],
  [
    "that is not valid yet",
    { authority: AUTHORITY, ips: ["127.0.0.1"], fromDays: 1, toDays: 3 },
    CA,
    "its certificate is not valid yet",
  ],
  ["that it has signed itself", { ips: ["127.0.0.1"] }, CA, "no known authority has signed its certificate"],
  [
    "of another authority",
    { authority: OTHER, ips: ["127.0.0.1"] },
    CA,
    "no known authority has signed its certificate (--target-ca",
  ],
  [
    "that only the client's own CA knows",
    { authority: AUTHORITY, ips: ["127.0.0.1"] },
    {},
    "no known authority has signed its certificate (--target-ca",
  ],
  [
    "for another address",
    { authority: AUTHORITY, ips: ["127.0.0.9"] },
    CA,
    "its certificate is not made out to 127.0.0.1",
  ],
  [
    "for another name than the one expected",
    { authority: AUTHORITY, ips: ["127.0.0.1"] },
    { ...CA, serverName: "app.test" },
    "its certificate is not made out to app.test (--target-server-name",
  ],
])("a service with a certificate %s gets nothing, unless it is insecure", async (_, made, tls, why) => {
  await using service = await startTlsService(answering(OK), await makeCertificate(made));
  for (const version of ["first", "again"]) {
    const failed = await failure(tlsServiceAt(service.port, tls), { target: `/${version}`, body: "secret" });
    expect(failed.failure).toBe("UNREACHABLE");
    expect(failed.detail).toContain(`https://127.0.0.1:${service.port} ${NOT_TRUSTED}${why}`);
    expect(failed.detail).toMatch(/; --insecure-target takes any certificate$/);
  }
  await Promise.all(service.connections.map((connection) => connection.untilClosed()));
  expect(service.connections.map(({ receivedBytes }) => receivedBytes).every((bytes) => bytes === 0)).toBe(
    true,
  );
  expect((await visit(tlsServiceAt(service.port, { insecure: true }))).body).toBe("ok");
});

test("a certificate that has signed itself is good where it is the one to trust", async () => {
  const own = await makeCertificate({ ips: ["127.0.0.1"] });
  await using service = await startTlsService(answering(OK), own);
  expect((await visit(tlsServiceAt(service.port, { ca: own.cert }))).body).toBe("ok");
});

test("a service that turns up with another certificate is refused, though a session of the old one is at hand", async () => {
  await using service = await startTlsService(answering(OK), GOOD);
  const local = tlsServiceAt(service.port, CA);
  await visit(local, { method: "POST", body: "x" });
  await using impostor = await startTlsService(answering(OK), {
    ...(await makeCertificate({ ips: ["127.0.0.1"] })),
  });
  const relayed = tlsServiceAt(impostor.port, CA);
  expect(await failure(relayed, { method: "POST", body: "x" })).toMatchObject({ failure: "UNREACHABLE" });
  service.use(await makeCertificate({ authority: OTHER, ips: ["127.0.0.1"] }));
  expect((await failure(local, { method: "POST", body: "x" })).detail).toContain(NOT_TRUSTED);
});

test.each<[string, (socket: Socket) => void, string, string | RegExp]>([
  [
    "answers in plain HTTP",
    (socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
    "BAD_RESPONSE",
    "does not speak TLS; if it speaks HTTP, its target is http://127.0.0.1:",
  ],
  [
    "speaks first, and not TLS",
    (socket) => socket.write("SSH-2.0-any\r\n"),
    "BAD_RESPONSE",
    "does not speak TLS",
  ],
  [
    "closes",
    (socket) => socket.once("data", () => socket.end()),
    "UNREACHABLE",
    "closed the connection instead of speaking TLS",
  ],
  [
    "resets",
    (socket) => socket.once("data", () => socket.resetAndDestroy()),
    "UNREACHABLE",
    "closed the connection instead of speaking TLS",
  ],
  [
    "objects",
    (socket) => socket.once("data", () => socket.end(Buffer.from([0x15, 3, 3, 0, 2, 2, 40]))),
    "UNREACHABLE",
    // OpenSSL 3.0 says the first, later ones the second.
    /does not agree on TLS: ssl(v3|\/tls) alert handshake failure/,
  ],
])("a service behind https:// that %s is said to", async (_, serve, code, words) => {
  await using plain = await startPlain(serve);
  const failed = await failure(tlsServiceAt(plain.port));
  expect(failed.failure).toBe(code);
  expect(failed.detail).toContain(`https://127.0.0.1:${plain.port}`);
  expect(failed.detail).toMatch(words);
});

test.each<[string, object, string]>([
  [
    "speaks HTTP/2 alone",
    { ALPNProtocols: ["h2"] },
    "does not speak HTTP/1.1, and probably only HTTP/2; an http tunnel needs HTTP/1.1: switch that on in the service, or use a tls tunnel",
  ],
  [
    "speaks old TLS alone",
    { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
    "speaks versions of TLS that are too old",
  ],
  ["asks for certificates", { requestCert: true }, "asks its clients for certificates"],
])("a service that %s is said to", async (_, options, words) => {
  await using service = await startTlsService(answering(OK), { ...GOOD, ca: AUTHORITY.cert, ...options });
  const failed = await failure(tlsServiceAt(service.port, CA), { body: "x", method: "POST" });
  expect(failed).toMatchObject({ failure: "UNREACHABLE" });
  expect(failed.detail).toContain(`does not agree on TLS: it ${words}`);
});

test("a handshake that never ends is given up", async () => {
  await using silent = await startPlain((socket) => socket.resume());
  const failed = await failure(tlsServiceAt(silent.port, { timeoutMs: 50 }));
  expect(failed).toMatchObject({ failure: "UNREACHABLE" });
  expect(failed.detail).toContain("did not answer within 0.05 s");
});

test("a port where nobody listens refuses, over TLS too", async () => {
  const { port } = await startPlain(() => {}).then(async (service) => {
    await service[Symbol.asyncDispose]();
    return service;
  });
  for (const host of ["127.0.0.1", "localhost"]) {
    expect(await failure(tlsServiceAt(port, { host }))).toMatchObject({
      failure: "REFUSED",
      detail: `https://${host}:${port} refuses connections; does the service run?`,
    });
  }
});

test("a TLS service behind a plain target is said to be one", async () => {
  await using objecting = await startPlain((socket) =>
    socket.once("data", () => socket.end(Buffer.from([0x15, 3, 1, 0, 2, 2, 70]))),
  );
  expect(await failure(serviceAt({ host: "127.0.0.1", port: objecting.port }))).toMatchObject({
    failure: "BAD_RESPONSE",
    detail: expect.stringContaining(`it speaks TLS; its target is https://127.0.0.1:${objecting.port}`),
  });
  // Node's own, and OpenSSL's, say nothing.
  await using service = await startTlsService(answering(OK), GOOD);
  expect(await failure(serviceAt({ host: "127.0.0.1", port: service.port }))).toMatchObject({
    failure: "CONNECTION_LOST",
    detail: expect.stringContaining(`if it speaks TLS, its target is https://127.0.0.1:${service.port}`),
  });
  expect(service.failures).toEqual(["ERR_SSL_HTTP_REQUEST"]);
});

test.each<[string, object, string]>([
  [
    "certificates to trust",
    { ca: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n" },
    "trust",
  ],
  ["a server name", { serverName: "a b" }, "server name"],
])("%s that cannot be used are refused before anything is dialled", (_, tls, words) => {
  const settings = { insecure: false, ca: "", serverName: "", ...tls };
  expect(() => ServiceTls.to({ host: "a", port: 1, tls: true }, settings)).toThrow(words);
});

describe("with the visitor's name for the service's", () => {
  const VISITOR = { ...CA, serverNameOfVisitor: true };
  test("asks for the Host of each request, and keeps connections and sessions for each name", async () => {
    await using service = await startSites(["a.test", "b.test"]);
    const local = tlsServiceAt(service.port, VISITOR);
    for (const host of ["a.test", "b.test:8443", "A.test", "B.TEST"]) {
      await visit(local, at(host));
      await untilIdle(local, Math.min(2, service.connections.length));
    }
    expect(service.asked).toEqual(["a.test", "b.test"]);
    await visit(local, { method: "POST", body: "x", ...at("b.test") });
    expect(service.asked).toEqual(["a.test", "b.test", "b.test again"]);
  });

  test("a certificate must be good for that name", async () => {
    await using service = await startSites(["a.test"]);
    const { failure: code, detail } = await failure(tlsServiceAt(service.port, VISITOR), at("b.test"));
    expect(code).toBe("UNREACHABLE");
    expect(detail).toContain("its certificate is not made out to b.test");
  });

  test.each([
    ["127.0.0.1", false],
    ["127.0.0.1:443", false],
    ["", false],
    ["a_b!c", false],
    ["a.test.", "a.test"],
  ])("a Host of %j asks for the name %j", async (host, name) => {
    await using service = await startSites(["a.test"]);
    await visit(tlsServiceAt(service.port, VISITOR), at(host));
    expect(service.asked).toEqual([name]);
  });

  test("an insecure target is asked for it too, or for a name of its own", async () => {
    await using service = await startSites(["other.test"]);
    await visit(tlsServiceAt(service.port, { insecure: true, serverNameOfVisitor: true }), at("a.test"));
    await visit(tlsServiceAt(service.port, { insecure: true, serverName: "b.test" }), at("a.test"));
    expect(service.asked).toEqual(["a.test", "b.test"]);
  });

  test("however many names visitors ask for, few keep connections", async () => {
    await using service = await startSites(["*.site.test"]);
    const local = tlsServiceAt(service.port, VISITOR);
    await Promise.all(Array.from({ length: 40 }, (_, i) => visit(local, at(`n${i}.site.test`))));
    await untilIdle(local, 32);
    await visit(local, at("n39.site.test"));
    expect(service.connections).toHaveLength(40);
    await visit(local, at("n0.site.test"));
    expect(service.connections).toHaveLength(41);
    local.close();
    await untilIdle(local, 0);
  });
});

function at(host: string): { fields: string[] } {
  return { fields: [`Host: ${host}`] };
}

/** What each connection was asked for, and whether it resumed a session, beside what the service is. */
async function startSites(names: string[]): Promise<TlsService & { asked: (string | false)[] }> {
  const asked: (string | false)[] = [];
  const identity = await makeCertificate({ authority: AUTHORITY, names, ips: ["127.0.0.1"] });
  const service = await startTlsService((connection, index) => {
    const socket = connection.socket as TLSSocket & { servername: string | false };
    asked.push(socket.isSessionReused() ? `${socket.servername} again` : socket.servername);
    return answering(OK)(connection, index);
  }, identity);
  return Object.assign(service, { asked });
}

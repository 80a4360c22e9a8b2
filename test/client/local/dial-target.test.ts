import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { expect, test } from "vitest";
import { type Consent, consentTo, parseAllowRules } from "../../../client/local/consent.ts";
import { dialFailure, type DialFailure } from "../../../client/local/dial-failure.ts";
import type { Resolve } from "../../../runtime/name-lookup.ts";
import { type DialOptions, dialTarget } from "../../../client/local/dial-target.ts";
import { LocalService } from "../../../client/local/local-service.ts";
import { parseTarget, type Target } from "../../../link/target.ts";
import { RawBackend } from "../../support/raw-backend.ts";
import { failure, serviceAt, visit } from "./replay.ts";

const LOOPBACK_ONLY = parseAllowRules([]);

function resolving(...addresses: string[]): Resolve {
  return (_host, _options, callback) =>
    callback(
      null,
      addresses.map((address): LookupAddress => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
}

const resolvingNothing: Resolve = (_host, _options, callback) =>
  callback(Object.assign(new Error("no"), { code: "ENOTFOUND", syscall: "getaddrinfo" }), []);

async function remoteAddress(options: DialOptions): Promise<string | undefined> {
  const socket = dialTarget(options);
  await once(socket, "connect");
  const { remoteAddress } = socket;
  socket.destroy();
  return remoteAddress;
}

async function dialError(options: DialOptions): Promise<DialFailure | undefined> {
  const socket = dialTarget(options);
  const [error] = (await once(socket, "error")) as [Error];
  expect(socket.destroyed).toBe(true);
  return dialFailure(error, options.target);
}

/** A port that was free a moment ago. */
async function closedPort(): Promise<number> {
  await using backend = await RawBackend.start();
  return backend.target.port;
}

test.each(["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "localhost", "sub.localhost", "LOCALHOST."])(
  "%s reaches a service on 127.0.0.1",
  async (host) => {
    await using backend = await RawBackend.start();
    const target = { host, port: backend.target.port };
    expect(await remoteAddress({ target, consent: LOOPBACK_ONLY })).toBe("127.0.0.1");
  },
);

test.each(["::1", "::", "localhost"])("%s reaches a service on ::1", async (host) => {
  await using backend = await RawBackend.start(() => {}, "::1");
  const target = { host, port: backend.target.port };
  expect(await remoteAddress({ target, consent: LOOPBACK_ONLY })).toBe("::1");
});

test.each(["127.0.0.1", "::1"])("a bare port is this machine, with a service on %s alone", async (host) => {
  await using backend = await RawBackend.start(() => {}, host);
  const target = parseTarget(String(backend.target.port)) as Target;
  expect(await remoteAddress({ target, consent: consentTo(target) })).toBe(host);
  expect(await remoteAddress({ target, consent: LOOPBACK_ONLY })).toBe(host);
});

test("a busy moment while it is dialled costs a service on one family nothing", async () => {
  await using backend = await RawBackend.start();
  const target = parseTarget(String(backend.target.port)) as Target;
  const dialled = remoteAddress({ target, consent: LOOPBACK_ONLY });
  // The addresses are found in the next tick, and the first one is dialled.
  await new Promise((resolve) => process.nextTick(() => process.nextTick(resolve)));
  for (const startMs = performance.now(); performance.now() - startMs < 400;);
  expect(await dialled).toBe("127.0.0.1");
});

test("nobody but loopback answers to localhost, whatever a resolver says", async () => {
  await using backend = await RawBackend.start();
  const target = { host: "localhost", port: backend.target.port };
  const options = { target, consent: parseAllowRules(["any"]), resolve: resolving("192.0.2.1") };
  expect(await remoteAddress(options)).toBe("127.0.0.1");
});

test.each(["192.0.2.1", "10.0.0.1", "fd00::1", "::ffff:192.0.2.1", "169.254.169.254"])(
  "%s is not dialled without consent",
  async (host) => {
    const failed = await dialError({ target: { host, port: 80 }, consent: LOOPBACK_ONLY });
    expect(failed).toMatchObject({ code: "NOT_ALLOWED", detail: expect.stringContaining("--allow") });
  },
);

test("loopback is not dialled with --allow none", async () => {
  await using backend = await RawBackend.start();
  const consent = parseAllowRules(["none"]);
  for (const host of ["127.0.0.1", "localhost", "0.0.0.0"]) {
    const failed = await dialError({ target: { host, port: backend.target.port }, consent });
    expect(failed?.code).toBe("NOT_ALLOWED");
  }
  expect(backend.connections).toHaveLength(0);
});

test("the addresses that a name resolves to need consent, not the name", async () => {
  const target = { host: "harmless.test", port: 80 };
  const failed = await dialError({
    target,
    consent: LOOPBACK_ONLY,
    resolve: resolving("192.0.2.1", "fd00::1"),
  });
  expect(failed).toEqual({
    code: "NOT_ALLOWED",
    detail: expect.stringContaining("harmless.test:80 (192.0.2.1, fd00::1)"),
    // The server learns nothing of the network behind the client.
    publicDetail: expect.not.stringContaining("192.0.2.1"),
  });
});

test("a name that no rule could allow is not looked up: the server would learn which names there are", async () => {
  let lookups = 0;
  const resolve: Resolve = () => void lookups++;
  const target = { host: "secret.lan", port: 80 };
  for (const rules of [[], ["other.lan"], ["10.0.0.0/8:81"]]) {
    const consent = parseAllowRules(rules, { loopback: false });
    const failed = await dialError({ target, consent, resolve });
    expect(failed).toMatchObject({ code: "NOT_ALLOWED", detail: expect.stringContaining("secret.lan:80; ") });
  }
  expect(lookups).toBe(0);
});

test("of several addresses only those with consent are dialled", async () => {
  await using backend = await RawBackend.start();
  const asked: string[] = [];
  const consent: Consent = {
    ...LOOPBACK_ONLY,
    allows: (address, port, host) => {
      asked.push(`${address} ${port} ${host}`);
      return LOOPBACK_ONLY.allows(address, port, host);
    },
  };
  const { port } = backend.target;
  const resolve = resolving("192.0.2.1", "127.0.0.1", "2001:db8::1");
  expect(await remoteAddress({ target: { host: "mixed.test", port }, consent, resolve })).toBe("127.0.0.1");
  expect(asked).toEqual(["192.0.2.1", "127.0.0.1", "2001:db8::1"].map((a) => `${a} ${port} mixed.test`));
});

test("a name is resolved anew for every connection", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  });
  let address = "127.0.0.1";
  const service = new LocalService({
    target: { host: "moving.test", port: backend.target.port },
    consent: LOOPBACK_ONLY,
    resolve: (host, options, callback) => resolving(address)(host, options, callback),
  });
  expect((await visit(service)).body).toBe("ok");
  address = "192.0.2.1";
  expect(await failure(service)).toMatchObject({ failure: "NOT_ALLOWED" });
  address = "127.0.0.1";
  expect((await visit(service)).body).toBe("ok");
});

test("odd spellings of an address are names to resolve, and what comes of them is asked about", async () => {
  for (const host of ["2130706433", "0x7f.1", "127.1"]) {
    const target = { host, port: 80 };
    const failed = await dialError({ target, consent: LOOPBACK_ONLY, resolve: resolving("192.0.2.1") });
    expect(failed?.code).toBe("NOT_ALLOWED");
  }
});

test("a service that refuses is refused", async () => {
  const port = await closedPort();
  for (const host of ["127.0.0.1", "::1", "localhost"]) {
    const failed = await dialError({ target: { host, port }, consent: LOOPBACK_ONLY });
    expect(failed).toMatchObject({
      code: "REFUSED",
      detail: expect.stringMatching(/:\d+ refuses connections/),
    });
  }
});

test("a name that resolves to nothing is unreachable", async () => {
  const target = { host: "nowhere.test", port: 80 };
  const failed = await dialError({ target, consent: LOOPBACK_ONLY, resolve: resolvingNothing });
  expect(failed).toMatchObject({
    code: "UNREACHABLE",
    detail: "nowhere.test:80 cannot be reached: ENOTFOUND",
  });
});

test("a connect that neither succeeds nor fails is given up", async () => {
  const target = { host: "silent.test", port: 80 };
  const failed = await dialError({ target, consent: LOOPBACK_ONLY, resolve: () => {}, timeoutMs: 20 });
  expect(failed).toMatchObject({
    code: "UNREACHABLE",
    detail: "silent.test:80 did not answer within 0.02 s",
  });
});

test("what has connected keeps nothing of its dialling, since it may stand for long", async () => {
  await using backend = await RawBackend.start();
  const socket = dialTarget({ target: backend.target, consent: consentTo(backend.target) });
  await once(socket, "connect");
  expect(socket.listenerCount("connect") + socket.listenerCount("close")).toBe(0);
  socket.destroy();
});

test("errors of a connection that stood are no failures to dial", () => {
  const error = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET", syscall: "read" });
  expect(dialFailure(error, { host: "a", port: 1 })).toBeUndefined();
});

test("visits report how dialling failed, and the service is reached as soon as it is there", async () => {
  const port = await closedPort();
  const refused = await failure(serviceAt({ host: "127.0.0.1", port }), { method: "POST", body: "x" });
  expect(refused).toMatchObject({ failure: "REFUSED" });

  const denied = new LocalService({ target: { host: "192.0.2.1", port: 80 }, consent: LOOPBACK_ONLY });
  expect(await failure(denied)).toMatchObject({ failure: "NOT_ALLOWED" });

  const target = { host: "silent.test", port: 80 };
  const silent = new LocalService({ target, consent: consentTo(target), resolve: () => {}, timeoutMs: 20 });
  expect(await failure(silent)).toMatchObject({ failure: "UNREACHABLE" });
});

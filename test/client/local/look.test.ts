import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { consentTo, parseAllowRules } from "../../../client/local/consent.ts";
import { readListeners } from "../../../client/local/listeners.ts";
import { LocalService, type LocalServiceOptions } from "../../../client/local/local-service.ts";
import { lookAt } from "../../../client/local/look.ts";
import type { Target } from "../../../link/target.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const { signal } = new AbortController();
const NONE = new Set<string>();

function serviceAt(target: Target, more: Partial<LocalServiceOptions> = {}): LocalService {
  return new LocalService({ target, consent: consentTo(target), ...more });
}

/** Something that takes connections, and counts them. */
async function listening(where: { path: string } | { port: 0; host: string }) {
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections++;
    socket.on("error", () => {}).resume();
  }).listen(where);
  await once(server, "listening");
  return {
    address: server.address() as AddressInfo,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

test("a service on this machine is seen without a connection, so that one which takes a single one keeps it", async () => {
  await using server = await listening({ port: 0, host: "127.0.0.1" });
  const { port } = server.address;
  const listeners = await readListeners();
  for (const host of ["127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"])
    expect(await lookAt(serviceAt({ host, port }), { listeners, signal })).toEqual({
      allowed: true,
      answer: "ANSWERS",
    });
  expect(server.connections()).toBe(0);
});

test("where it does not show, a service is connected to once", async () => {
  await using server = await listening({ port: 0, host: "127.0.0.1" });
  const { port } = server.address;
  const look = await lookAt(serviceAt({ host: "127.0.0.1", port }), { listeners: NONE, signal });
  expect(look).toEqual({ allowed: true, answer: "ANSWERS" });
  const socket = await lookAt(serviceAt({ host: "127.0.0.1", port, tls: true }), { listeners: NONE, signal });
  expect(socket.answer).toBe("ANSWERS");
  expect(server.connections()).toBe(2);
});

test("another machine is not taken for this one, whatever listens here", async () => {
  await using server = await listening({ port: 0, host: "0.0.0.0" });
  const { port } = server.address;
  const service = serviceAt(
    { host: "nas.test", port },
    { resolve: (_host, _options, callback) => callback(null, [{ address: "192.0.2.1", family: 4 }]) },
  );
  expect(service.isAmong(await readListeners())).toBe(false);
  expect(serviceAt({ host: "192.0.2.1", port }).isAmong(await readListeners())).toBe(false);
});

test("a UNIX socket answers, or does not exist", async () => {
  const path = join(await temporaryDirectory(), "app.sock");
  const listeners = await readListeners();
  expect(await lookAt(serviceAt({ path }), { listeners, signal })).toMatchObject({
    allowed: true,
    answer: "NO_ANSWER",
    failure: { detail: `unix:${path} does not exist; does the service run?` },
  });
  await using _server = await listening({ path });
  expect((await lookAt(serviceAt({ path }), { listeners, signal })).answer).toBe("ANSWERS");
});

test("a port that nobody listens at does not answer", async () => {
  const server = await listening({ port: 0, host: "127.0.0.1" });
  const { port } = server.address;
  await server[Symbol.asyncDispose]();
  const listeners = await readListeners();
  expect(await lookAt(serviceAt({ host: "127.0.0.1", port }), { listeners, signal })).toMatchObject({
    allowed: true,
    answer: "NO_ANSWER",
    failure: { code: "REFUSED" },
  });
});

test("a name that leads where nothing is allowed is not dialled, and said to be so", async () => {
  await using server = await listening({ port: 0, host: "127.0.0.1" });
  const { port } = server.address;
  const service = serviceAt(
    { host: "app.test", port },
    {
      consent: parseAllowRules(["10.0.0.0/8"], { loopback: false }),
      resolve: (_host, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]),
    },
  );
  const here = serviceAt(
    { host: "localhost", port },
    { consent: parseAllowRules(["10.0.0.0/8"], { loopback: false }) },
  );
  for (const each of [service, here]) {
    expect(each.refused).toBe(false);
    const look = await lookAt(each, { listeners: await readListeners(), signal });
    expect(look).toMatchObject({ allowed: false, failure: { code: "NOT_ALLOWED" } });
  }
  expect(server.connections()).toBe(0);
});

test("a look that is given up ends at once, and says nothing", async () => {
  const over = new AbortController();
  const service = serviceAt({ host: "slow.test", port: 80 }, { resolve: () => over.abort() });
  const look = await lookAt(service, { listeners: NONE, signal: over.signal });
  expect(look).toEqual({ allowed: true, answer: "NOT_LOOKED_AT" });
  const again = await lookAt(service, { listeners: NONE, signal: over.signal });
  expect(again.answer).toBe("NOT_LOOKED_AT");
});

import { expect, test } from "vitest";
import { idleTime, type LocalService } from "../../../client/local/local-service.ts";
import { RawBackend, type RawConnection } from "../../support/raw-backend.ts";
import { Replay, serviceAt, visit, failure, type Visit } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Waits until this many connections lie idle. */
async function untilIdle(service: LocalService, count: number): Promise<void> {
  while (service.idle !== count) await new Promise((resolve) => setImmediate(resolve));
}

/** Leaves one connection idle. */
async function warm(service: LocalService): Promise<void> {
  await visit(service);
  await untilIdle(service, 1);
}

function gate(): { opened: Promise<void>; open: () => void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

async function serve(connection: RawConnection): Promise<void> {
  for (;;) {
    await connection.head();
    await connection.send(OK);
  }
}

test("one request after another takes the same connection", async () => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  for (let i = 0; i < 10; i++) await warm(service);
  expect(backend.connections).toHaveLength(1);
});

test("requests at once take a connection each, and never queue", async () => {
  let heads = 0;
  const all = gate();
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    // Nobody is answered before all have asked.
    if (++heads === 50) all.open();
    await all.opened;
    await connection.send(OK);
  });
  const service = serviceAt(backend.target);
  await Promise.all(Array.from({ length: 50 }, () => visit(service)));
  expect(backend.connections).toHaveLength(50);
});

test("a request that must not be sent twice never takes a used connection", async () => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  await warm(service);
  await visit(service, { method: "POST" });
  await visit(service, { method: "PATCH", body: "x" });
  await visit(service, { method: "PUT", body: "x" });
  await visit(service, { method: "GET", body: "x" });
  expect(backend.connections).toHaveLength(5);
  expect(backend.connections.map(({ text }) => text.match(/HTTP\/1\.1\r\n/g)?.length)).toEqual([
    1, 1, 1, 1, 1,
  ]);
});

test.each<[string, Visit]>([
  ["a length", { method: "POST", fields: ["Host: a", "Content-Length: 1"], body: "x" }],
  ["a length, of a request that is safe", { fields: ["Host: a", "Content-Length: 1"], body: "x" }],
  ["chunks", { method: "PUT", body: "x" }],
  ["chunks of which there is none", { method: "POST", body: "" }],
])("a connection behind a body (%s) is used no more, and the service is told so", async (_, request) => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  await visit(service, { visitor: 7, ...request });
  // What is given back lies idle two turns later.
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(service.idle).toBe(0);
  await visit(service);
  expect(backend.connections).toHaveLength(2);
  const [connection] = backend.connections;
  await connection!.untilClosed();
  expect(connection!.text.match(/\r\nConnection: [a-z-]+\r\n/g)).toEqual(["\r\nConnection: close\r\n"]);
});

test.each<[string, Visit]>([
  ["a GET", {}],
  ["a POST without one", { method: "POST" }],
  ["a POST with an empty one", { method: "POST", fields: ["Host: a", "Content-Length: 0"] }],
])("a connection that carried no body (%s) is used again", async (_, request) => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  await visit(service, request);
  await untilIdle(service, 1);
  await warm(service);
  expect(backend.connections).toHaveLength(1);
  expect(backend.connections[0]!.text).not.toContain("Connection: close");
});

test.each(["end", "reset", "close"] as const)(
  "a used connection that dies (%s) by the next request gives no spurious failure",
  async (how) => {
    await using backend = await RawBackend.start(async (connection, index) => {
      await connection.head();
      await connection.send(OK);
      if (index > 0) return serve(connection);
      // Reads the second request, and goes.
      await connection.head();
      connection[how]();
    });
    const service = serviceAt(backend.target);
    for (const method of ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"]) {
      await warm(service);
      expect(await visit(service, { method })).toMatchObject({ status: 200 });
    }
    expect(backend.connections[0]!.text.match(/HTTP\/1\.1\r\n/g)).toHaveLength(2);
  },
);

test("a request is sent again once only", async () => {
  await using backend = await RawBackend.start(async (connection, index) => {
    await connection.head();
    if (index === 0) await connection.send(OK);
    if (index === 0) await connection.head();
    connection.end();
  });
  const service = serviceAt(backend.target);
  await warm(service);
  expect(await failure(service)).toMatchObject({ failure: "CONNECTION_LOST" });
  expect(backend.connections).toHaveLength(2);
});

test("a request is not sent again once anything of an answer has come", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await connection.send(OK);
    await connection.head();
    await connection.send("HTTP/1.1 2");
    connection.end();
  });
  const service = serviceAt(backend.target);
  await warm(service);
  expect(await failure(service)).toMatchObject({ failure: "BAD_RESPONSE" });
  expect(backend.connections).toHaveLength(1);
});

test.each(["end", "reset"] as const)(
  "a connection that the service closes (%s) while idle is forgotten",
  async (how) => {
    await using backend = await RawBackend.answering(OK);
    const service = serviceAt(backend.target);
    await warm(service);
    backend.connections[0]![how]();
    await untilIdle(service, 0);
    expect((await visit(service)).body).toBe("ok");
    expect(backend.connections).toHaveLength(2);
  },
);

test.each([
  ["Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
  ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
  ["Keep-Alive: timeout=0", "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok"],
  ["Keep-Alive: timeout=1", "HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=5\r\nContent-Length: 2\r\n\r\nok"],
])("an answer with %s is the last on its connection", async (_, answer) => {
  await using backend = await RawBackend.answering(answer);
  const service = serviceAt(backend.target);
  await visit(service);
  await backend.connections[0]!.untilClosed();
  await visit(service);
  expect(backend.connections).toHaveLength(2);
});

test.each([
  [undefined, 5_000],
  ["timeout=3", 2_000],
  ["max=10, timeout=3", 2_000],
  ["Timeout=60", 5_000],
  ["timeout=1", 0],
  ["timeout=0", 0],
  ["max=10", 5_000],
])("behind Keep-Alive: %s a connection lies idle for %i ms", (field, ms) => {
  expect(idleTime(field)).toBe(ms);
});

test("an idle connection is closed when its time is up", async () => {
  // Idle for one second of the two announced.
  await using backend = await RawBackend.answering(
    "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 0\r\n\r\n",
  );
  const service = serviceAt(backend.target);
  const started = performance.now();
  await warm(service);
  await backend.connections[0]!.untilClosed();
  expect(performance.now() - started).toBeGreaterThan(900);
  await untilIdle(service, 0);
});

test("no more than 128 connections lie idle", async () => {
  const all = gate();
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    await all.opened;
    await connection.send(OK);
  });
  const service = serviceAt(backend.target);
  const visits = Array.from({ length: 150 }, () => visit(service));
  await backend.connection(149);
  all.open();
  await Promise.all(visits);
  await untilIdle(service, 128);
  const ended = () => backend.connections.filter((connection) => connection.ended).length;
  while (ended() < 22) await new Promise((resolve) => setImmediate(resolve));
  expect(ended()).toBe(22);
  service.close();
  await untilIdle(service, 0);
});

test("a crowd's next requests take its connections, before the many are closed", async () => {
  let heads = 0;
  let all = gate();
  await using backend = await RawBackend.start(async (connection) => {
    for (;;) {
      await connection.head();
      const { opened, open } = all;
      if (++heads % 150 === 0) open();
      await opened;
      await connection.send(OK);
    }
  });
  const service = serviceAt(backend.target);
  for (let round = 0; round < 3; round++) {
    all = gate();
    await Promise.all(Array.from({ length: 150 }, () => visit(service)));
    await untilIdle(service, 150);
  }
  expect(backend.connections).toHaveLength(150);
  await untilIdle(service, 128);
});

test("requests that take no used connection leave no crowd of them", async () => {
  let heads = 0;
  const all = gate();
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    if (++heads === 150) all.open();
    await all.opened;
    await connection.send(OK);
  });
  const service = serviceAt(backend.target);
  await Promise.all(Array.from({ length: 150 }, () => visit(service, { method: "POST" })));
  const ended = () => backend.connections.filter((connection) => connection.ended).length;
  while (ended() < 22) {
    expect(service.idle).toBeLessThanOrEqual(128);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(service.idle).toBe(128);
});

test("a closed service serves on, and keeps no connections", async () => {
  await using backend = await RawBackend.answering(OK);
  const service = serviceAt(backend.target);
  await warm(service);
  service.close();
  await backend.connections[0]!.untilClosed();
  expect((await visit(service)).body).toBe("ok");
  await backend.connections[1]!.untilClosed();
  expect(service.idle).toBe(0);
});

test("1,000 exchanges leave no sockets, listeners or timers behind", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    for (;;) {
      const head = await connection.head();
      if (head.includes("/reset")) connection.reset();
      else if (head.includes("/garbage")) await connection.send("what\r\n\r\n");
      else if (head.includes("/cut")) {
        await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
        connection.end();
      } else await connection.send(OK);
    }
  });
  const service = serviceAt(backend.target);
  const before = resources();
  // Eleven listeners of a kind on one socket give a warning, and some sockets here serve hundreds of requests.
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  for (let i = 0; i < 200; i++) {
    const left = new Replay(service, { target: "/left" });
    left.stream.fail();
    await new Replay(service, { target: ["/reset", "/garbage", "/cut"][i % 3]! }).finished;
    await visit(service, { method: "POST" });
    await visit(service);
    await visit(service, { method: "HEAD" });
  }
  service.close();
  for (const connection of backend.connections) await connection.untilClosed();
  expect(backend.open).toBe(0);
  expect(resources().sockets).toBeLessThanOrEqual(before.sockets);
  expect(resources().timers).toBeLessThanOrEqual(before.timers);
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
});

/** How many sockets and timers this process holds. */
function resources(): { sockets: number; timers: number } {
  const all = process.getActiveResourcesInfo();
  const count = (kind: string) => all.filter((resource) => resource === kind).length;
  return { sockets: count("TCPSocketWrap"), timers: count("Timeout") };
}

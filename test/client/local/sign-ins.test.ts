import { describe, expect, onTestFinished, test, vi } from "vitest";
import { idleTime, type LocalService } from "../../../client/local/local-service.ts";
import { RawBackend } from "../../support/raw-backend.ts";
import { failure, Replay, serviceAt, visit } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CREDENTIALS = ["Host: a", "Authorization: NTLM TlRMTVNTUAAB"];

function asking(...challenges: string[]): string {
  const fields = challenges.map((challenge) => `WWW-Authenticate: ${challenge}\r\n`).join("");
  return `HTTP/1.1 401 Unauthorized\r\n${fields}Content-Length: 0\r\n\r\n`;
}

/** Answers each request with the number of its connection, from 0; paths with a word in them as that says. */
function counting(): Promise<RawBackend> {
  return RawBackend.start(async (connection, index) => {
    for (;;) {
      const head = await connection.head();
      const length = Number(/\r\nContent-Length: (\d+)/.exec(head)?.[1] ?? 0);
      await connection.take(length);
      if (head.includes("/challenge")) await connection.send(asking("NTLM"));
      else if (head.includes("/closing"))
        await connection.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      else
        await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${String(index).length}\r\n\r\n${index}`);
    }
  });
}

/** The number of the connection that a request took. */
async function connectionOf(service: LocalService, visitor: number, request = {}): Promise<number> {
  const { body } = await visit(service, { visitor, ...request });
  await settled();
  return Number(body);
}

/** Signs a visitor in. @returns the number of its connection */
function signIn(service: LocalService, visitor: number): Promise<number> {
  return connectionOf(service, visitor, { fields: CREDENTIALS });
}

/** What is given back lies idle two turns later. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const CHALLENGES = [
  ["NTLM"],
  ["Negotiate"],
  ["NEGOTIATE"],
  ["ntlm TlRMTVNTUAACAAAA"],
  ["Negotiate oYG2MIGzoAMKAQ=="],
  ['Basic realm="NTLM?", NTLM'],
  ['Basic realm="x"', "Negotiate", "NTLM"],
  ['Digest realm="x",qop="auth",nonce="y" , negotiate\t'],
  ["NTLM, Basic realm=x"],
  ["Negotiate:Kerberos"],
  ["Kerberos"],
  ["CredSSP"],
];

describe("a connection that a sign-in is tied to", () => {
  test.each(CHALLENGES)("serves nobody else behind a challenge: %s %s %s", async (...challenges) => {
    await using backend = await RawBackend.answering(asking(...challenges.filter(Boolean)));
    const service = serviceAt(backend.target);
    await visit(service);
    await backend.connections[0]!.untilClosed();
    await visit(service, { visitor: 1 });
    await settled();
    expect(service.idle).toBe(0);
    expect(service.bound).toBe(1);
    await visit(service, { visitor: 2 });
    await visit(service);
    expect(backend.connections).toHaveLength(4);
  });

  test.each([
    "Authorization: NTLM TlRMTVNTUAAB",
    "AUTHORIZATION: negotiate YIIGhgYGKwYBBQUCoIIG",
    "authorization:  Negotiate\tx",
    "Authorization: Kerberos x",
  ])("serves nobody else behind credentials: %s", async (field) => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    await visit(service, { fields: ["Host: a", field] });
    await backend.connections[0]!.untilClosed();
    expect(backend.connections[0]!.text).toContain("\r\nConnection: close\r\n");
    expect(await connectionOf(service, 1, { fields: ["Host: a", field] })).toBe(1);
    expect(service.idle).toBe(0);
    expect(await connectionOf(service, 2)).toBe(2);
    expect(await connectionOf(service, 1)).toBe(1);
  });

  test.each([
    ['Basic realm="Negotiate with us"', "Basic bmVnb3RpYXRlOm50bG0="],
    ["Bearer", "Bearer ntlm.negotiate.x"],
    ['Digest realm="x", nonce="ntlm"', 'Digest username="ntlm"'],
    ["X-NTLM", "NTLM-like x"],
  ])("is not one where each request says who asks: %s", async (challenge, credentials) => {
    await using backend = await RawBackend.answering(asking(challenge));
    const service = serviceAt(backend.target);
    for (let i = 0; i < 3; i++) {
      await visit(service, { visitor: i, fields: ["Host: a", `Authorization: ${credentials}`] });
      await settled();
    }
    expect(backend.connections).toHaveLength(1);
  });

  test("serves all of its visitor's requests, those with a body too", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    const [alice, bob] = [await signIn(service, 7), await signIn(service, 8)];
    const body = { body: "hello", fields: ["Host: a", "Content-Length: 5"] };
    for (const request of [
      {},
      { method: "POST" },
      { method: "POST", ...body },
      { method: "PATCH", ...body },
      body,
    ]) {
      expect(await connectionOf(service, 7, request)).toBe(alice);
      expect(await connectionOf(service, 8, request)).toBe(bob);
    }
    expect(backend.connections[alice]!.text).not.toContain("Connection: close");
  });

  test("is its visitor's from the challenge on, and taken from those that lay idle", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    expect(await connectionOf(service, 1)).toBe(0);
    const challenged = new Replay(service, { visitor: 2, target: "/challenge" });
    await challenged.answer();
    expect(challenged.stream.bound).toBe(true);
    await settled();
    expect(await connectionOf(service, 1)).toBe(1);
    expect(await connectionOf(service, 2, { method: "POST", fields: CREDENTIALS })).toBe(0);
  });

  test("is not kept behind a body that came with no sign-in, since the service was told to close it", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    const body = { method: "POST", body: "hello", fields: ["Host: a", "Content-Length: 5"] };
    await visit(service, { visitor: 7, target: "/challenge", ...body });
    await settled();
    expect(service.bound).toBe(0);
    expect(await signIn(service, 7)).toBe(1);
    expect(await connectionOf(service, 7, body)).toBe(1);
  });

  test("is begun on a fresh one by credentials, since one that lay idle may be near its end", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    expect(await connectionOf(service, 1)).toBe(0);
    expect(await signIn(service, 1)).toBe(1);
  });

  test("is said to be kept only where it is", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    const bound = async (request: object) => {
      const replay = new Replay(service, { fields: CREDENTIALS, ...request });
      await replay.answer();
      return replay.stream.bound;
    };
    expect(await bound({ visitor: 0 })).toBe(false);
    expect(await bound({ visitor: 1, target: "/closing" })).toBe(false);
    expect(await bound({ visitor: 1, fields: ["Host: a"] })).toBe(false);
    expect(await bound({ visitor: 1 })).toBe(true);
    expect(service.bound).toBe(1);
  });

  test("ends with its visitor's connection", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    const [alice, bob] = [await signIn(service, 7), await signIn(service, 8)];
    service.visitorLeft(7);
    await backend.connections[alice]!.untilClosed();
    expect(await connectionOf(service, 8)).toBe(bob);
    expect(await connectionOf(service, 7)).not.toBe(alice);
    service.visitorLeft(99);
    expect(service.bound).toBe(1);
  });

  test("ends behind the answer if its visitor leaves before", async () => {
    await using backend = await RawBackend.start();
    const service = serviceAt(backend.target);
    const replay = new Replay(service, { visitor: 7, fields: CREDENTIALS });
    const connection = await backend.connection(0);
    await connection.head();
    await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    await replay.stream.until(() => replay.stream.bound);
    service.visitorLeft(7);
    await connection.send("k");
    expect((await replay.answer()).body).toBe("ok");
    await connection.untilClosed();
    expect(service.bound).toBe(0);
  });

  test("ends with the session", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    await signIn(service, 7);
    service.close();
    await backend.connections[0]!.untilClosed();
    await signIn(service, 7);
    await backend.connections[1]!.untilClosed();
    expect(service.bound).toBe(0);
  });

  test("ends when it has lain idle for 60 s, and not before", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    await signIn(service, 6);
    const clock = holdClock();
    const [first, second] = [await signIn(service, 7), await signIn(service, 8)];
    clock.advance(59_000);
    expect(await connectionOf(service, 7)).toBe(first);
    clock.advance(2_000);
    await backend.connections[second]!.untilClosed();
    expect(await connectionOf(service, 7)).toBe(first);
    expect(await connectionOf(service, 8)).not.toBe(second);
  });

  test.each([
    [undefined, 60_000],
    ["timeout=5", 4_000],
    ["timeout=1", 1_000],
    ["timeout=0", 0],
    ["timeout=120", 60_000],
    ["max=10", 60_000],
  ])("lies idle behind Keep-Alive: %s for %i ms", (field, ms) => {
    expect(idleTime(field, true)).toBe(ms);
  });

  test("is one of 1,024 at most, and the one used least lately goes", async () => {
    await using backend = await counting();
    const service = serviceAt(backend.target);
    for (let visitor = 1; visitor <= 1_024; visitor++) await signIn(service, visitor);
    expect(await connectionOf(service, 1)).toBe(0);
    expect(service.bound).toBe(1_024);
    await signIn(service, 2_000);
    await backend.connections[1]!.untilClosed();
    expect(service.bound).toBe(1_024);
    expect(await connectionOf(service, 1)).toBe(0);
  });

  test("is not waited for by another request of its visitor, nor lent", async () => {
    await using backend = await RawBackend.start(async (connection, index) => {
      for (;;) {
        const head = await connection.head();
        if (!head.includes("/held")) await connection.send(OK.replace("ok", `0${index}`));
      }
    });
    const service = serviceAt(backend.target);
    expect(await signIn(service, 7)).toBe(0);
    const held = new Replay(service, { visitor: 7, target: "/held" });
    const [connection] = backend.connections;
    await connection!.until(() => connection!.text.includes("/held"));
    expect(await connectionOf(service, 7)).toBe(1);
    expect(await signIn(service, 7)).toBe(2);
    await connection!.send(OK);
    await held.answer();
    await connection!.untilClosed();
    expect(await connectionOf(service, 7)).toBe(2);
  });

  test.each(["end", "reset"] as const)(
    "is followed by a fresh one when the service closes it (%s), which nobody has signed in",
    async (how) => {
      await using backend = await counting();
      const service = serviceAt(backend.target);
      const alice = await signIn(service, 7);
      backend.connections[alice]![how]();
      while (service.bound > 0) await settled();
      expect(await connectionOf(service, 8)).not.toBe(alice);
      expect(await connectionOf(service, 7)).not.toBe(alice);
    },
  );

  test.each([
    ["GET", 1],
    ["POST", 0],
  ])("that dies by the next request has a %s sent again %i times, on a fresh one", async (method, times) => {
    await using backend = await RawBackend.start(async (connection, index) => {
      await connection.head();
      await connection.send(OK);
      await connection.head();
      if (index === 0) connection.reset();
      else await connection.send(OK);
    });
    const service = serviceAt(backend.target);
    await signIn(service, 8);
    // The other's lies idle, signed in.
    await visit(service, { visitor: 7, fields: CREDENTIALS });
    await settled();
    const replay = new Replay(service, { visitor: 8, method });
    const { failure } = await replay.finished;
    expect(failure).toBe(times === 1 ? undefined : "CONNECTION_LOST");
    expect(backend.connections).toHaveLength(2 + times);
    expect(backend.connections[1]!.text.match(/HTTP\/1\.1\r\n/g)).toHaveLength(1);
  });

  test("that says more than its answer ends", async () => {
    await using backend = await RawBackend.answering(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`);
    const service = serviceAt(backend.target);
    for (let i = 0; i < 3; i++)
      expect((await visit(service, { visitor: 7, fields: CREDENTIALS })).body).toBe("ok");
    expect(backend.connections).toHaveLength(3);
    while (service.bound > 0) await settled();
  });

  test("that breaks HTTP ends", async () => {
    await using backend = await RawBackend.answering("what\r\n\r\n");
    const service = serviceAt(backend.target);
    expect(await failure(service, { visitor: 7, fields: CREDENTIALS })).toMatchObject({
      failure: "BAD_RESPONSE",
    });
    expect(service.bound).toBe(0);
  });
});

describe("an upgrade behind a sign-in", () => {
  const UPGRADE = ["Host: a", "Connection: Upgrade", "Upgrade: echo"];
  const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

  test("takes its visitor's connection along, half-closes and all", async () => {
    await using backend = await RawBackend.start(async (connection) => {
      await connection.head();
      await connection.send(OK);
      await connection.head();
      await connection.send(`${SWITCH}early `);
      await connection.send(await connection.takeUntil("!"));
      connection.end();
      await connection.send(await connection.takeUntil("?"));
    });
    const service = serviceAt(backend.target);
    await visit(service, { visitor: 7, fields: CREDENTIALS });
    const { stream } = new Replay(service, { visitor: 7, fields: UPGRADE, streaming: true });
    await stream.until(() => stream.accepted !== undefined);
    expect(stream.bound).toBe(false);
    expect(service.bound).toBe(0);
    stream.feed("hello!");
    await stream.until(() => stream.ended);
    expect(stream.body.toString()).toBe("early hello!");
    stream.feed("still there?");
    await backend.connections[0]!.until(() => backend.connections[0]!.text.endsWith("still there?"));
    stream.finish();
    await backend.connections[0]!.untilClosed();
    expect(backend.connections).toHaveLength(1);
  });

  test("may be refused, and its connection signed in by the next", async () => {
    await using backend = await RawBackend.start(async (connection) => {
      await connection.head();
      await connection.send(asking("Negotiate"));
      await connection.head();
      await connection.send(SWITCH);
    });
    const service = serviceAt(backend.target);
    const refused = new Replay(service, { visitor: 7, fields: UPGRADE, streaming: true });
    await refused.finished;
    refused.stream.finish();
    expect(refused.stream.bound).toBe(true);
    const again = new Replay(service, { visitor: 7, fields: UPGRADE, streaming: true });
    expect((await again.finished).status).toBe(101);
    expect(backend.connections).toHaveLength(1);
  });

  test("that is refused leaves its connection, which the service may end as any other", async () => {
    await using backend = await RawBackend.answering(asking("NTLM"));
    const service = serviceAt(backend.target);
    const refused = new Replay(service, { visitor: 7, fields: UPGRADE, streaming: true });
    await refused.finished;
    refused.stream.finish();
    await settled();
    expect(service.bound).toBe(1);
    backend.connections[0]!.end();
    await backend.connections[0]!.untilClosed();
    while (service.bound > 0) await settled();
  });
});

/** Puts time limits, and the clock that they go by, in the test's hands. */
function holdClock(): { advance: (ms: number) => void } {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  return { advance: (ms) => void vi.advanceTimersByTime(ms) };
}

import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { describe, expect, onTestFinished } from "vitest";
import { http, startTestClient, type TestClient } from "../support/tunnel-ends.ts";
import { fieldValue } from "../support/raw-visitor.ts";
import { acceptanceWith, WHOLE } from "./acceptance.ts";
import { get, ok, request } from "./messages.ts";
import { makeKey } from "./more-keys.ts";
import { pour } from "./overload-pour.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

const MIB = 1024 * 1024;
const SOON_MS = 5_000;
const CHUNKED = "Transfer-Encoding: chunked";

const LIMITS = {
  head_bytes: 4_096,
  head_fields: 20,
  head_timeout_ms: 1_000,
  idle_timeout_ms: 700,
  stalled_timeout_ms: 1_000,
  body_bytes: 10_000,
  connections: 30,
  connections_per_visitor: 20,
  requests_per_tunnel: 4,
  requests_per_visitor: 5,
  streams_per_session: 6,
  requests_per_key: 8,
  sessions_per_key: 3,
  sessions_per_address: 4,
};

const acceptance = acceptanceWith({ config: JSON.stringify({ limits: LIMITS }) });

/** Clients of this process beside the tunnel's own. */
class Guests {
  readonly #tunnel: Tunnel;
  readonly #clients: TestClient[] = [];

  constructor(tunnel: Tunnel) {
    this.#tunnel = tunnel;
    tunnel.allow(/"message":"client offline"/);
    onTestFinished(async () => {
      await this.#end();
    });
  }

  start(token: string, ...subdomains: string[]): TestClient {
    const { port } = this.#tunnel.backend.target;
    const client = startTestClient(token, {
      clientId: `of-${subdomains.join("-")}`,
      tunnels: subdomains.map((subdomain) => http(port, subdomain)),
    });
    this.#clients.push(client);
    return client;
  }

  /** They have gone, and the server has said so. */
  async leave(): Promise<void> {
    await this.#end();
    const online = this.#tunnel.server.lines.filter(({ message }) => message === "client online").length;
    await this.#tunnel.server.logged("client offline", online - 1);
  }

  async #end(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client[Symbol.asyncDispose]()));
  }
}

/** A visit from an address of this machine, by its number. */
function visitFrom(tunnel: Tunnel, number: number, subdomain: string): Promise<IncomingMessage> {
  const outgoing = httpRequest({
    ...tunnel.address,
    localAddress: `127.0.0.${number}`,
    headers: { Host: `${subdomain}.localhost`, ...tunnel.mark() },
    agent: false,
  });
  onTestFinished(() => void outgoing.destroy());
  outgoing.end();
  return new Promise((resolve, reject) => {
    outgoing.once("response", resolve).on("error", reject);
  });
}

type Visit = [address: number, subdomain: string];

describe("requests at a time: over it the answer is 429, and others are served", () => {
  acceptance.for<[limit: string, allowed: Visit[], tooMany: Visit, says: RegExp, other: Visit]>([
    [
      "requests_per_tunnel",
      [
        [2, "app"],
        [3, "app"],
        [4, "app"],
        [5, "app"],
      ],
      [6, "app"],
      /to this address/,
      [6, "x"],
    ],
    [
      "requests_per_visitor",
      [
        [2, "app"],
        [2, "app"],
        [2, "x"],
        [2, "x"],
        [2, "y"],
      ],
      [2, "y"],
      /from your address/,
      [3, "y"],
    ],
    [
      "streams_per_session",
      [
        [2, "x"],
        [2, "x"],
        [2, "x"],
        [2, "x"],
        [3, "y"],
        [3, "y"],
      ],
      [4, "y"],
      /client serves as many/,
      [4, "app"],
    ],
    [
      "requests_per_key",
      [
        [2, "app"],
        [2, "app"],
        [2, "app"],
        [2, "app"],
        [3, "x"],
        [3, "x"],
        [3, "x"],
        [3, "x"],
      ],
      [4, "y"],
      /this address's owner/,
      [4, "stranger"],
    ],
  ])("limits.%s", async ([, allowed, tooMany, says, other], { tunnel }) => {
    const guests = new Guests(tunnel);
    await guests.start(tunnel.token, "x", "y").online();
    if (other[1] === "stranger") await guests.start(await makeKey(tunnel, "stranger"), "stranger").online();
    const held: ServiceRequest[] = [];
    tunnel.backend.serve((asked) => void held.push(asked));
    const visits = [];
    for (const visit of allowed) {
      const arrived = tunnel.backend.requests.length + 1;
      visits.push(visitFrom(tunnel, ...visit));
      await expect.poll(() => tunnel.backend.requests.length).toBe(arrived);
    }

    const refused = await within(SOON_MS, visitFrom(tunnel, ...tooMany));
    const [page] = (await once(refused.setEncoding("utf8"), "data")) as [string];
    expect([refused.statusCode, page]).toEqual([429, expect.stringMatching(says)]);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    expect(held).toHaveLength(allowed.length);

    const served = visitFrom(tunnel, ...other);
    await expect.poll(() => held.length).toBe(allowed.length + 1);
    for (const { connection } of held.splice(0)) await connection.send(ok("ok"));
    for (const visit of [...visits, served]) expect((await visit).statusCode).toBe(200);

    tunnel.backend.answer(ok("again"));
    expect((await visitFrom(tunnel, ...tooMany)).statusCode).toBe(200);
    await guests.leave();
  });
});

describe("clients at a time: one more is told so, and comes in by itself once there is room", () => {
  acceptance.for<[limit: string, sameKey: boolean]>([
    ["sessions_per_key", true],
    ["sessions_per_address", false],
  ])("limits.%s", async ([limit, sameKey], { tunnel }) => {
    const room = (sameKey ? LIMITS.sessions_per_key : LIMITS.sessions_per_address) - 1;
    const token = sameKey ? tunnel.token : await makeKey(tunnel, "second");
    const guests = new Guests(tunnel);
    // No key has more clients than it may.
    const further = sameKey ? token : await makeKey(tunnel, "third");
    const inside = Array.from({ length: room }, (_, i) =>
      guests.start(i < 2 ? token : further, `${limit.replaceAll("_", "-")}-${i}`),
    );
    await Promise.all(inside.map((each) => each.online()));
    const late = guests.start(token, sameKey ? "late" : "later");
    expect(await within(SOON_MS, late.log.logged("offline; trying again"))).toMatchObject({
      code: "overloaded",
      reason: expect.stringContaining(`limits.${limit}`) as unknown,
    });
    inside[0]!.cut();
    await within(SOON_MS, late.online());
    tunnel.backend.answer(ok("late"));
    const visitor = await tunnel.request(
      `GET / HTTP/1.1\r\nHost: ${sameKey ? "late" : "later"}.localhost\r\n\r\n`,
    );
    expect((await visitor.answer()).body.toString()).toBe("late");
    await guests.leave();
  });
});

describe("a request's body over limits.body_bytes is a 413", () => {
  acceptance.for<[framing: string, sent: string, status: number]>([
    ["a length of as much passes", request("POST /", ["Content-Length: 10000"], "x".repeat(10_000)), 200],
    ["a length of more", request("POST /", ["Content-Length: 10001"]), 413],
    [
      "chunks of as much pass",
      request("POST /", [CHUNKED], `2710\r\n${"x".repeat(10_000)}\r\n0\r\n\r\n`),
      200,
    ],
    ["chunks of more", request("POST /", [CHUNKED], `2711\r\n${"x".repeat(10_001)}\r\n`), 413],
  ])("%s", async ([, sent, status], { tunnel }) => {
    tunnel.allow(/a FIN within the body of POST/);
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(sent);
    expect((await within(SOON_MS, visitor.answer())).status).toBe(status);
  });
});

function fields(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `X-${i}: v`);
}

describe("a request's head over its limits is a 431 or a 408", () => {
  acceptance.for<[name: string, sent: string, status: number]>([
    // With Host and the mark of the case.
    ["20 fields pass", get("/", ...fields(18)), 200],
    ["21 fields", get("/", ...fields(19)), 431],
    ["3.9 KB pass", get(`/${"x".repeat(3_800)}`), 200],
    ["a target of more than 4 KiB", get(`/${"x".repeat(4_100)}`), 431],
    ["a field of more than 4 KiB", get("/", `X: ${"x".repeat(4_100)}`), 431],
  ])("%s", async ([, sent, status], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(sent);
    const answer = await within(SOON_MS, visitor.answer());
    expect(answer.status).toBe(status);
    if (status === 431) expect(fieldValue(answer.fields, "connection")).toBe("close");
  });

  acceptance("one that does not end, and one that never begins", async ({ tunnel }) => {
    const visitors = [await tunnel.visitor(), (await tunnel.visitor()).send("GET / HTTP/1.1\r\nHost: app.")];
    const answers = await within(SOON_MS, Promise.all(visitors.map((visitor) => visitor.answer())));
    expect(answers.map(({ status }) => status)).toEqual([408, 408]);
    for (const visitor of visitors) await within(SOON_MS, visitor.ended);
  });
});

acceptance("limits.idle_timeout_ms closes a connection that asks for nothing more", async ({ tunnel }) => {
  tunnel.backend.answer(ok("ok"));
  const visitor = await tunnel.request(get());
  await visitor.answer();
  const startedAt = performance.now();
  expect(await within(SOON_MS, visitor.rest())).toEqual({ end: "fin", text: "" });
  expect(performance.now() - startedAt).toBeGreaterThan(LIMITS.idle_timeout_ms / 2);
});

acceptance(
  "limits.stalled_timeout_ms cuts off who neither sends what it has begun nor reads what it is sent, and lets wait who waits",
  async ({ tunnel }) => {
    tunnel.allow(/a FIN within the body of POST/);
    const arrive = async (sent: string) => {
      const arrived = tunnel.backend.next();
      return { visitor: await tunnel.request(sent), asked: await arrived };
    };
    const waits = await arrive(get("/waits"));
    const sends = await arrive(request("POST /", [CHUNKED], "4\r\nhalf\r\n"));
    const reads = await arrive(get("/reads"));
    reads.visitor.socket.pause();
    const { connection } = reads.asked;
    await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MIB}\r\n\r\n`);
    pour(connection.socket);
    // Who does not read is told nothing; the local service is.
    await within(SOON_MS, connection.untilClosed());
    expect(await within(SOON_MS, sends.visitor.rest())).toEqual({ end: "rst", text: "" });
    await waits.asked.connection.send(ok("at last"));
    expect((await within(SOON_MS, waits.visitor.answer())).status).toBe(200);
  },
);

acceptance(
  "limits.connections and limits.connections_per_visitor: further ones are closed at once, those inside are not",
  async ({ tunnel }) => {
    /** What one who says nothing gets: the page of a 408 inside, nothing outside. */
    const comesTo = async (localAddress: string): Promise<string> => {
      const socket = connect({ ...tunnel.address, localAddress, allowHalfOpen: true }).setEncoding("latin1");
      let text = "";
      socket.on("data", (part: string) => (text += part)).on("error", () => {});
      await new Promise((resolve) => socket.on("end", resolve).on("close", resolve));
      socket.destroy();
      return text.slice(0, "HTTP/1.1 408".length);
    };
    const from = async (localAddress: string, count: number): Promise<number> => {
      const texts = await Promise.all(Array.from({ length: count }, () => comesTo(localAddress)));
      expect(texts.filter((text) => text !== "" && text !== "HTTP/1.1 408")).toEqual([]);
      return texts.filter((text) => text !== "").length;
    };
    const [one, other] = await within(
      2 * SOON_MS,
      Promise.all([from("127.0.0.2", 25), from("127.0.0.3", 15)]),
    );
    expect(one).toBeLessThanOrEqual(LIMITS.connections_per_visitor);
    expect(one + other).toBe(LIMITS.connections);
  },
);

const whole = acceptanceWith({
  config: JSON.stringify({ limits: { unread_bytes: 8 * MIB } }),
}).runIf(WHOLE);

whole(
  "limits.unread_bytes: what nobody reads takes little of the server's memory, and who reads is served",
  { timeout: 60_000 },
  async ({ tunnel }) => {
    tunnel.backend.serve(async ({ connection, target }) => {
      if (target === "/reads") return connection.send(ok("x".repeat(16 * MIB)));
      await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${256 * MIB}\r\n\r\n`);
      return pour(connection.socket);
    });
    const restingBytes = tunnel.server.residentBytes();
    for (let i = 0; i < 16; i++) {
      const visitor = await tunnel.request(get(`/${i}`));
      await visitor.head();
      // For as long as it reads fast, more and more is sent ahead: up to 16 MiB, of each.
      await visitor.bytes(8 * MIB);
      visitor.socket.pause();
    }
    const reader = await tunnel.request(get("/reads"));
    expect((await within(30_000, reader.answer())).body).toHaveLength(16 * MIB);
    expect(tunnel.server.residentBytes() - restingBytes).toBeLessThan(64 * MIB);
  },
);

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { describe, expect } from "vitest";
import { hasProgram } from "../support/programs.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { acceptance, whole, WHOLE } from "./acceptance.ts";
import { expectAtRest, noteRest } from "./at-rest.ts";
import { besideBystanders, Bystander } from "./bystander.ts";
import type { MarkedVisitor } from "./marked-visitor.ts";
import { chunked, get, HOST, ok, request } from "./messages.ts";
import { pour } from "./overload-pour.ts";
import { residentBytes } from "./process-use.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SOON_MS = 5_000;
/** What 95 of 100 visits beside an attack take. */
const BESIDE_MS = 500;
/** Of a case with thousands of connections. */
const PATIENCE_MS = 180_000;
const CHUNKED = "Transfer-Encoding: chunked";
const seed = Date.now() % 1_000_000_007;

/** Does it so many times, a hundred at a time. */
async function times<T>(count: number, deed: (number: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  while (results.length < count) {
    const length = Math.min(100, count - results.length);
    results.push(...(await Promise.all(Array.from({ length }, (_, i) => deed(results.length + i)))));
  }
  return results;
}

const SLOW = WHOLE ? 500 : 100;
const PIECES = 30;

/** Each sends its text in small pieces, a little at a time. */
async function trickle(visitors: readonly MarkedVisitor[], text: (number: number) => string): Promise<void> {
  for (let piece = 0; piece < PIECES; piece++) {
    for (const [i, visitor] of visitors.entries()) {
      const whole = text(i);
      const at = (part: number): number => Math.floor((whole.length * part) / PIECES);
      visitor.send(whole.slice(at(piece), at(piece + 1)));
    }
    await sleep(20);
  }
}

function isChunked(number: number): boolean {
  return number % 2 === 1;
}

function bodyOf(number: number): string {
  return String(number).padStart(300, "x");
}

describe(`${SLOW} visitors at once that are slow get their answers, and others are served in time:`, () => {
  acceptance("with their heads", { timeout: PATIENCE_MS }, async ({ tunnel }) => {
    tunnel.backend.serve(besideBystanders(({ connection }) => connection.send(ok("at last"))));
    const visitors = await times(SLOW, () => tunnel.visitor());
    const bystander = new Bystander(tunnel);
    const heads = visitors.map(() =>
      get("/", ...Object.entries(tunnel.mark()).map((field) => field.join(": "))),
    );
    await trickle(visitors, (number) => heads[number]!);
    for (const visitor of visitors) expect((await visitor.answer()).status).toBe(200);
    expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
  });

  acceptance("with their bodies, by length and in chunks", { timeout: PATIENCE_MS }, async ({ tunnel }) => {
    tunnel.backend.serve(
      besideBystanders(async ({ connection, body }) => connection.send(ok((await body()).bytes.toString()))),
    );
    const visitors = await times(SLOW, (number) =>
      tunnel.request(request("POST /", [isChunked(number) ? CHUNKED : "Content-Length: 300"])),
    );
    const bystander = new Bystander(tunnel);
    await trickle(visitors, (number) =>
      isChunked(number) ? chunked(...bodyOf(number).match(/.{30}/g)!) : bodyOf(number),
    );
    for (const [i, visitor] of visitors.entries())
      expect((await visitor.answer()).body.toString()).toBe(bodyOf(i));
    expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
  });
});

/** Each fills the system's own buffers with 3 MiB; with more than 1 GiB of those, Linux makes everybody's connections slow. */
const READERS = 200;

whole(
  `${READERS} visitors at once that hardly read cost bounded memory, and others are served in time`,
  { timeout: PATIENCE_MS },
  async ({ tunnel }) => {
    let pouredBytes = 0;
    tunnel.backend.serve(
      besideBystanders(async ({ connection }) => {
        await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MIB}\r\n\r\n`);
        pour(connection.socket, (bytes) => (pouredBytes += bytes));
      }),
    );
    const before = await residentBytes(tunnel.server.pid);
    const visitors = await times(READERS, async () => {
      const visitor = await tunnel.request(get());
      visitor.socket.pause();
      return visitor;
    });
    // At first everything between the two ends fills.
    for (let last = -1; last !== pouredBytes; await sleep(500)) last = pouredBytes;
    const bystander = new Bystander(tunnel);
    for (let round = 0; round < 60; round++) {
      for (const visitor of visitors) visitor.socket.read(16);
      await sleep(50);
    }
    expect((await residentBytes(tunnel.server.pid)) - before).toBeLessThan(512 * MIB);
    expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
  },
);

const missing = hasProgram("slowhttptest") ? "" : " (skipped: no slowhttptest)";
const ATTACKS: [name: string, options: string][] = [
  ["slow reads", "-X -w 1 -y 256 -n 1 -z 16 -k 3"],
  ["slow heads", "-H -i 1"],
  ["slow bodies", "-B -i 1 -s 8192"],
  ["many ranges", "-R -t HEAD -a 10 -b 3000"],
];

describe.skipIf(missing !== "")(`slowhttptest over 200 connections${missing}`, () => {
  acceptance.for(WHOLE ? ATTACKS : ATTACKS.slice(0, 1))(
    "with %s finds the service available, and others are served in time",
    { timeout: 60_000 },
    async ([, options], { tunnel }) => {
      // It cannot mark what it sends.
      tunnel.allow(/a request that nobody sent: \S+ \/slow /, /a FIN within the body of POST \/slow /);
      const answer = ok("x".repeat(64 * KIB));
      tunnel.backend.serve(
        besideBystanders(async ({ connection, body }) => {
          await body();
          await connection.send(answer);
        }),
      );
      const bystander = new Bystander(tunnel);
      const { host, port } = tunnel.address;
      const report = join(await temporaryDirectory(), "report");
      await promisify(execFile)("slowhttptest", [
        ...`${options} -c 200 -r 200 -l ${WHOLE ? 10 : 3} -p 2 -g`.split(" "),
        "-o",
        report,
        "-u",
        `http://app.localhost:${port}/slow`,
        // It looks names up itself, and knows none below localhost.
        "-d",
        `${host}:${port}`,
      ]);
      const [, ...seconds] = (await readFile(`${report}.csv`, "utf8")).trim().split("\n");
      const seen = seconds.map((second) => second.split(",").map(Number));
      // Those that are quickly over may be missing from the last second.
      expect(Math.max(...seen.map(([, closed, , connected]) => closed! + connected!))).toBeGreaterThan(100);
      expect(seen.filter((second) => second[4] === 0)).toEqual([]);
      expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
    },
  );
});

describe("many at once", () => {
  const IDLE = WHOLE ? 2_000 : 200;
  const HELD = WHOLE ? 8_000 : 500;
  const HELD_BYTES = 100_000;

  acceptance(
    `${IDLE} idle connections and ${HELD} requests that wait take less than 100 KB each, and all are answered in the end`,
    { timeout: PATIENCE_MS },
    async ({ tunnel }) => {
      const waiting: ServiceRequest[] = [];
      tunnel.backend.serve(
        besideBystanders((asked) => {
          if (asked.target === "/") return asked.connection.send(ok("idle"));
          waiting.push(asked);
          return undefined;
        }),
      );
      const processes = [tunnel.server, tunnel.client];
      const use = () => Promise.all(processes.map(({ pid }) => residentBytes(pid)));
      await new Bystander(tunnel).leave();
      const empty = await use();
      const idle = await times(IDLE, async () => {
        const visitor = await tunnel.request(get());
        expect((await visitor.answer()).status).toBe(200);
        return visitor;
      });
      const held = await times(HELD, (number) => tunnel.request(get(`/held/${number}`)));
      while (waiting.length < HELD) await sleep(10);
      const full = await use();
      for (const [i, bytes] of full.entries())
        expect(bytes - empty[i]!).toBeLessThan((IDLE + HELD) * HELD_BYTES);
      expect(await new Bystander(tunnel).leave()).toBeLessThan(BESIDE_MS);

      for (const { target, connection } of waiting) void connection.send(ok(target));
      for (const [i, visitor] of held.entries())
        expect((await visitor.answer()).body.toString()).toBe(`/held/${i}`);
      for (const visitor of idle) visitor.request(get());
      for (const visitor of idle) expect((await visitor.answer()).status).toBe(200);
    },
  );

  const CONNECTS = 2_000;
  acceptance(
    `${CONNECTS} connections at once that ask for nothing keep nobody out, and nothing of them is left`,
    { timeout: PATIENCE_MS },
    async ({ tunnel }) => {
      await noteRest(tunnel);
      tunnel.backend.serve(besideBystanders(() => {}));
      const bystander = new Bystander(tunnel);
      const sockets = Array.from({ length: CONNECTS }, () => connect(tunnel.address));
      await Promise.all(
        sockets.map(
          (socket) => new Promise((resolve, reject) => socket.on("connect", resolve).on("error", reject)),
        ),
      );
      expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
      for (const socket of sockets) socket.destroy();
      await expectNothingLeft(tunnel);
    },
  );

  const STORM = 1_000;
  acceptance(
    `a storm of ${STORM} visitors that leave at any moment leaves nothing behind (seed ${seed})`,
    { timeout: PATIENCE_MS },
    async ({ tunnel }) => {
      tunnel.allow(/a FIN within the body of POST/);
      await noteRest(tunnel);
      const long = Buffer.alloc(MIB);
      tunnel.backend.serve(
        besideBystanders(async ({ target, connection }) => {
          if (target === "/quick") {
            await connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nquick");
            connection.end();
          } else if (target === "/long") {
            await connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${MIB}\r\n\r\n`, long);
          }
        }),
      );
      const bystander = new Bystander(tunnel);
      const random = new Random(seed);
      await times(STORM, async () => {
        const visitor = await tunnel.visitor();
        const sent = random.pick(["", "/quick", "/waits", "/long", "upload", "upgrade"]);
        if (sent === "upload") visitor.request(request("POST /waits", [CHUNKED], "4\r\npart\r\n"));
        else if (sent === "upgrade") visitor.request(get("/waits", "Connection: Upgrade", "Upgrade: echo"));
        else if (sent !== "") visitor.request(get(sent));
        if (random.below(10) === 0) visitor.send("GET / HTTP/1.1\r\nHost: app.loc");
        for (let turns = random.below(20); turns > 0; turns--) await new Promise(setImmediate);
        if (random.below(2) === 0) visitor.abort();
        else visitor.end().close();
      });
      // Nobody stalls here: the storm takes all the processor time that there is, and this process its part of it.
      expect(await bystander.leave()).toBeLessThan(SOON_MS);
      await expectNothingLeft(tunnel);
    },
  );
});

/** Of those who have left, once the local service has closed what the client keeps for further requests. */
async function expectNothingLeft(tunnel: Tunnel): Promise<void> {
  for (const connection of tunnel.backend.connections) connection.close();
  await expectAtRest(tunnel);
}

describe("what never ends is answered and closed within 8 MiB:", () => {
  acceptance.for<[name: string, start: string, piece: string, statuses: number[]]>([
    ["blank lines", "", "\r\n", [400]],
    ["blank lines behind a request", get(), "\r\n", [200, 400]],
    ["a method", "", "A", [400, 501]],
    ["a target", "GET /", "x", [431]],
    ["a field's name", `GET / HTTP/1.1\r\n${HOST}\r\n`, "x", [431]],
    ["a field's value", `GET / HTTP/1.1\r\n${HOST}\r\nX: `, "x", [431]],
    ["fields", `GET / HTTP/1.1\r\n${HOST}\r\n`, "X: 1\r\n", [431]],
    ["a chunk's extension", request("POST /", [CHUNKED]) + "5;", "x", [413]],
    ["extensions of chunks", request("POST /", [CHUNKED]), `1;${"x".repeat(500)}\r\nx\r\n`, [413]],
    ["a chunk's size", request("POST /", [CHUNKED]), "0", [400, 413]],
    ["trailers", `${request("POST /", [CHUNKED])}0\r\n`, "X: 1\r\n", [431]],
    ["NULs", "", "\0", [400]],
    ["TLS", "", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\x04\0\0\0\0\0", [400, 505]],
    ["random bytes", "", new Random(seed).bytes(4 * KIB).toString("latin1"), [400]],
  ])("%s", async ([, start, piece, statuses], { tunnel }) => {
    // What has come of a request is passed on until the rest shows what it is.
    tunnel.allow(/a FIN within the body/);
    tunnel.backend.serve(({ line, connection }) =>
      line.startsWith("GET") ? connection.send(ok("first")) : undefined,
    );
    const visitor = await tunnel.visitor();
    if (/^(?:GET|POST) .*\r\n\r\n/s.test(start)) visitor.request(start);
    else visitor.send(start);
    using flood = new Flood(visitor, piece);
    const seen = [(await within(SOON_MS, visitor.answer())).status];
    if (seen[0] === 200) seen.push((await within(SOON_MS, visitor.answer())).status);
    expect(flood.sentBytes).toBeLessThan(8 * MIB);
    expect(statuses).toEqual(expect.arrayContaining(seen));
    await within(SOON_MS, visitor.ended);
  });
});

/** Sends the same again and again, as fast as it is taken. */
class Flood implements Disposable {
  readonly #visitor: MarkedVisitor;
  readonly #block: Buffer;
  readonly #timer: NodeJS.Timeout;

  constructor(visitor: MarkedVisitor, piece: string) {
    this.#visitor = visitor;
    this.#block = Buffer.from(piece.repeat(Math.ceil((64 * KIB) / piece.length)), "latin1");
    this.#timer = setInterval(() => {
      if (!visitor.socket.writableNeedDrain) visitor.send(this.#block);
    }, 1);
  }

  get sentBytes(): number {
    return this.#visitor.socket.bytesWritten;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

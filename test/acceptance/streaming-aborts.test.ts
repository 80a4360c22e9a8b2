import { describe, expect } from "vitest";
import { Random } from "../support/random.ts";
import { acceptance } from "./acceptance.ts";
import { expectAtRest, noteRest } from "./at-rest.ts";
import type { MarkedVisitor } from "./marked-visitor.ts";
import { get, request } from "./messages.ts";
import { Firehose } from "./pattern-stream.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

/** "Within seconds." */
const SOON_MS = 5_000;
const GIB = 1 << 30;
const CHUNKED = "Transfer-Encoding: chunked";
const LONG = "Content-Length: 1000000";
const PART = "x".repeat(70_000);
const PART_IN_CHUNKS = `${PART.length.toString(16)}\r\n${PART}\r\n`;

type Way = "FIN" | "RST";
const WAYS: Way[] = ["FIN", "RST"];

function leave(visitor: MarkedVisitor, way: Way): void {
  if (way === "FIN") visitor.end();
  else visitor.abort();
}

function quit({ connection }: ServiceRequest, way: Way): void {
  if (way === "FIN") connection.close();
  else connection.reset();
}

interface Exchange {
  visitor: MarkedVisitor;
  asked: ServiceRequest;
}

/** A request that has arrived, and whose answer has come as far as this. */
async function exchange(tunnel: Tunnel, sent: string, answered = ""): Promise<Exchange> {
  const arrived = tunnel.backend.next();
  const visitor = await tunnel.request(sent);
  const asked = await arrived;
  if (answered !== "") {
    await asked.connection.send(answered);
    await visitor.head();
  }
  return { visitor, asked };
}

/** One more part of the upload has arrived. */
async function uploadSome({ visitor, asked }: Exchange, part = PART): Promise<void> {
  visitor.send(part);
  await asked.connection.take(part.length);
}

/** One more part of the answer has arrived. */
async function answerSome({ visitor, asked }: Exchange, part = PART): Promise<void> {
  await asked.connection.send(part);
  await visitor.bytes(part.length);
}

type Moment = [name: string, (tunnel: Tunnel) => Promise<Exchange>];

/** Once an answer has begun. */
const ANSWERING: Moment[] = [
  ["behind the answer's head", (tunnel) => exchange(tunnel, get(), `HTTP/1.1 200 OK\r\n${LONG}\r\n\r\n`)],
  [
    "within an answer by length",
    async (tunnel) => {
      const begun = await exchange(tunnel, get(), `HTTP/1.1 200 OK\r\n${LONG}\r\n\r\n`);
      await answerSome(begun);
      return begun;
    },
  ],
  [
    "within an answer in chunks",
    async (tunnel) => {
      const begun = await exchange(tunnel, get(), `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n`);
      await answerSome(begun, "2\r\nhi\r\n");
      return begun;
    },
  ],
  [
    "within an upload that is being answered",
    async (tunnel) => {
      const begun = await exchange(tunnel, request("POST /", [LONG]), `HTTP/1.1 200 OK\r\n${LONG}\r\n\r\n`);
      await uploadSome(begun);
      await answerSome(begun);
      return begun;
    },
  ],
  [
    "within an upload in chunks that is being answered in chunks",
    async (tunnel) => {
      const upload = request("POST /", [CHUNKED]);
      const begun = await exchange(tunnel, upload, `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n`);
      await uploadSome(begun, "2\r\nup\r\n");
      await answerSome(begun, "4\r\ndown\r\n");
      return begun;
    },
  ],
];

/** While no byte of the answer has come. */
const WAITING: Moment[] = [
  ["while it waits", (tunnel) => exchange(tunnel, get())],
  [
    "behind its upload",
    async (tunnel) => {
      const begun = await exchange(tunnel, request("POST /", ["Content-Length: 5"], "hello"));
      await begun.asked.body();
      return begun;
    },
  ],
  ["before its upload", (tunnel) => exchange(tunnel, request("POST /", [LONG]))],
  [
    "within an upload by length",
    async (tunnel) => {
      const begun = await exchange(tunnel, request("POST /", [LONG]));
      await uploadSome(begun);
      return begun;
    },
  ],
  [
    "within an upload in chunks",
    async (tunnel) => {
      const begun = await exchange(tunnel, request("POST /", [CHUNKED]));
      await uploadSome(begun, "2\r\nup\r\n");
      return begun;
    },
  ],
  [
    "while it waits for 100 Continue",
    (tunnel) => exchange(tunnel, request("POST /", [LONG, "Expect: 100-continue"])),
  ],
  [
    "behind 103 Early Hints",
    (tunnel) => exchange(tunnel, get(), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
  ],
];

function everyWay(moments: Moment[]): [way: Way, ...Moment][] {
  return WAYS.flatMap((way) => moments.map((moment): [Way, ...Moment] => [way, ...moment]));
}

describe("a visitor that leaves, and the local service hears of it within seconds, and nothing is left:", () => {
  acceptance.for(everyWay([...WAITING, ...ANSWERING]))("by %s %s", async ([way, , reach], { tunnel }) => {
    // Of an upload that ends early there is nothing else to say.
    tunnel.allow(/FIN within the body/);
    await noteRest(tunnel);
    const { visitor, asked } = await reach(tunnel);
    leave(visitor, way);
    await within(SOON_MS, asked.connection.untilClosed());
    await expectAtRest(tunnel);
  });

  acceptance.for(WAYS)("by %s while its download is stalled", async (way, { tunnel }) => {
    await noteRest(tunnel);
    const { visitor, asked } = await exchange(
      tunnel,
      get(),
      `HTTP/1.1 200 OK\r\nContent-Length: ${GIB}\r\n\r\n`,
    );
    visitor.socket.pause();
    const { socket } = asked.connection;
    const hose = new Firehose(socket, { stream: 1, totalBytes: GIB });
    // More than the visitor's own socket holds: the tunnel waits for it.
    await hose.taken(6 << 20);
    leave(visitor, way);
    await within(SOON_MS, asked.connection.untilClosed());
    await expectAtRest(tunnel);
  });

  acceptance.for(WAYS)(
    "by %s while its upload is stalled: heard of once it is read again",
    async (way, { tunnel }) => {
      tunnel.allow(/FIN within the body/);
      await noteRest(tunnel);
      const { visitor, asked } = await exchange(tunnel, request("POST /", [`Content-Length: ${GIB}`]));
      asked.count();
      asked.connection.pause();
      const part = Buffer.alloc(1 << 20);
      visitor.send(part);
      leave(visitor, way);
      asked.connection.resume();
      await within(SOON_MS, asked.connection.untilClosed());
      expect(asked.bodyBytes).toBeLessThanOrEqual(part.length);
      await expectAtRest(tunnel);
    },
  );

  acceptance.for(WAYS)("by %s within its head: no request is made of it", async (way, { tunnel }) => {
    await noteRest(tunnel);
    for (const part of ["G", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: app.localhost\r\n"]) {
      const visitor = (await tunnel.visitor()).send(part);
      leave(visitor, way);
      await within(SOON_MS, visitor.ended);
    }
    await expectAtRest(tunnel);
    expect(tunnel.backend.requests).toEqual([]);
  });

  acceptance.for(WAYS)("by %s as soon as it has asked", async (way, { tunnel }) => {
    tunnel.backend.serve(() => {});
    await noteRest(tunnel);
    for (let i = 0; i < 20; i++) leave(await tunnel.request(get()), way);
    await expectAtRest(tunnel);
  });

  acceptance.for(WAYS)(
    "by %s with further requests behind this one: they are not made",
    async (way, { tunnel }) => {
      await noteRest(tunnel);
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(get("/first"), get("/second"), get("/third"));
      const { connection } = await arrived;
      leave(visitor, way);
      await within(SOON_MS, connection.untilClosed());
      await expectAtRest(tunnel);
      expect(tunnel.backend.requests.map(({ target }) => target)).toEqual(["/first"]);
    },
  );
});

/** Whatever is asked, asked again too, comes to this. */
function quitAlways(tunnel: Tunnel, way: Way, answered: string): void {
  tunnel.backend.serve(async (asked) => {
    if (answered !== "") await asked.connection.send(answered);
    quit(asked, way);
  });
}

describe("a local service that breaks off, and the visitor hears of it within seconds, and nothing is left:", () => {
  acceptance.for(
    WAYS.flatMap((way) =>
      [
        ["before its answer", get(), ""],
        ["within its answer's status line", get(), "HTTP/1.1 20"],
        ["within its answer's head", get(), "HTTP/1.1 200 OK\r\nContent-Le"],
        ["before its answer to a POST", request("POST /", ["Content-Length: 2"], "hi"), ""],
        ["within an upload by length", request("POST /", [LONG], PART), ""],
        ["within an upload in chunks", request("POST /", [CHUNKED], PART_IN_CHUNKS), ""],
        ["while an upload waits for 100 Continue", request("POST /", [LONG, "Expect: 100-continue"]), ""],
      ].map(([name, sent, answered]) => [way, name!, sent!, answered!] as const),
    ),
  )("by %s %s: 502", async ([way, , sent, answered], { tunnel }) => {
    await noteRest(tunnel);
    quitAlways(tunnel, way, answered);
    const visitor = await tunnel.request(sent);
    expect((await within(SOON_MS, visitor.answer())).status).toBe(502);
    visitor.close();
    await expectAtRest(tunnel);
  });

  acceptance.for(everyWay(ANSWERING))("by %s %s: a visible cut", async ([way, , reach], { tunnel }) => {
    await noteRest(tunnel);
    const { visitor, asked } = await reach(tunnel);
    quit(asked, way);
    const { text } = await within(SOON_MS, visitor.rest());
    expect(text).not.toContain("0\r\n\r\n");
    visitor.close();
    await expectAtRest(tunnel);
  });

  acceptance("by RST within an answer that ends by close: a visible cut", async ({ tunnel }) => {
    await noteRest(tunnel);
    const begun = await exchange(tunnel, get(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    await begun.asked.connection.send("hi");
    await begun.visitor.bytes("2\r\nhi\r\n".length);
    begun.asked.connection.reset();
    const { text } = await within(SOON_MS, begun.visitor.rest());
    expect(text).not.toContain("0\r\n\r\n");
    begun.visitor.close();
    await expectAtRest(tunnel);
  });

  acceptance.for(WAYS)("by %s while its answer is not read", async (way, { tunnel }) => {
    await noteRest(tunnel);
    const { visitor, asked } = await exchange(
      tunnel,
      get(),
      `HTTP/1.1 200 OK\r\nContent-Length: ${GIB}\r\n\r\n`,
    );
    visitor.socket.pause();
    const hose = new Firehose(asked.connection.socket, { stream: 1, totalBytes: GIB });
    await hose.taken(6 << 20);
    quit(asked, way);
    visitor.socket.resume();
    await within(SOON_MS, visitor.ended);
    visitor.close();
    await expectAtRest(tunnel);
  });
});

acceptance("a hundred that leave at any moment, either end first, leave nothing", async ({ tunnel }) => {
  tunnel.allow(/FIN within the body/);
  await noteRest(tunnel);
  const random = new Random(Date.now());
  tunnel.backend.serve(async (asked) => {
    const { connection } = asked;
    const pieces = random.below(6);
    if (pieces > 0) await connection.send(`HTTP/1.1 200 OK\r\n${LONG}\r\n\r\n`);
    for (let i = 1; i < pieces; i++) await connection.send("x".repeat(random.below(50_000)));
    if (random.below(2) === 0) quit(asked, random.pick(WAYS));
  });
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      const uploads = random.below(2) === 0;
      const visitor = await tunnel.request(uploads ? request("POST /", [LONG]) : get());
      for (let i = random.below(5); i > 0; i--) {
        if (uploads) visitor.send(Buffer.alloc(random.below(50_000)));
        await new Promise((resolve) => setTimeout(resolve, random.below(20)));
      }
      leave(visitor, random.pick(WAYS));
    }),
  );
  await expectAtRest(tunnel);
});

import { createHash } from "node:crypto";
import { once } from "node:events";
import { request, type Agent, type ClientRequest, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { bytesOf } from "./bytes.ts";
import { WrongAnswer } from "./ledger.ts";

const KIB = 1024;
/** No visitor waits longer, fault or not: a dead connection is noticed within 25 s. */
const HANG_MS = 45_000;
/** Events and echoes come each second. */
const SILENCE_MS = 15_000;

/** Where visitors come to. */
export interface Entrance {
  address: string;
  port: number;
  /** The name of the tunnel. */
  host: string;
  /** Keeps connections for those who come again. */
  agent: Agent;
}

/** A visit that is over after a while; `number` is another one each time. Throws if it does not go as it should. */
export type Visit = (entrance: Entrance, number: number) => Promise<void>;

export interface Kind {
  name: string;
  /** Of all visits. */
  share: number;
  /** So small that its time is the tunnel's. */
  timed?: boolean;
  visit: Visit;
}

/** What visitors do. */
export const KINDS: Kind[] = [
  {
    name: "small page",
    share: 75,
    timed: true,
    visit: (entrance, number) => getPage(entrance, 1 + (number % 2000)),
  },
  {
    name: "page over a new connection",
    share: 8,
    visit: (entrance, number) => getPage(entrance, 1 + (number % 20_000), false),
  },
  {
    name: "post",
    share: 10,
    visit: (entrance, number) => post(entrance, bytesOf(1 + (number % 20_000)), true),
  },
  { name: "upload", share: 2, visit: (entrance) => post(entrance, bytesOf(512 * KIB), false) },
  { name: "aborted download", share: 2, visit: abortDownload },
  { name: "aborted upload", share: 1, visit: abortUpload },
  { name: "slow reader", share: 1, visit: readSlowly },
  { name: "five events", share: 1, visit: (entrance) => listen(entrance, 5) },
];

async function getPage(entrance: Entrance, length: number, keep = true): Promise<void> {
  const body = await read(await answerTo(ask(entrance, "GET", `/page/${length}`, { keep }).end()));
  if (!body.equals(bytesOf(length)))
    throw new WrongAnswer(`another page of ${body.length} bytes, not ${length}`);
}

async function post(entrance: Entrance, bytes: Buffer, sized: boolean): Promise<void> {
  const outgoing = ask(entrance, "POST", "/digest", { length: sized ? bytes.length : undefined });
  const answer = answerTo(outgoing);
  for (let at = 0; at < bytes.length; at += 64 * KIB) outgoing.write(bytes.subarray(at, at + 64 * KIB));
  outgoing.end();
  const digest = (await read(await answer)).toString();
  if (digest !== createHash("sha256").update(bytes).digest("hex"))
    throw new WrongAnswer("other bytes arrived");
}

async function abortDownload(entrance: Entrance, number: number): Promise<void> {
  const answer = await answerTo(ask(entrance, "GET", "/endless", { keep: false }).end());
  let left = (number % 512) * KIB;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    left -= chunk.length;
    if (left < 0) return;
  }
  throw new WrongAnswer("an endless answer ended");
}

async function abortUpload(entrance: Entrance): Promise<void> {
  const outgoing = ask(entrance, "POST", "/digest", { length: 1024 * KIB, keep: false });
  outgoing.on("error", () => {});
  outgoing.write(bytesOf(256 * KIB));
  await sleep(200);
  outgoing.destroy();
}

/** Half a second after each piece, so that the rest waits on the way. */
async function readSlowly(entrance: Entrance): Promise<void> {
  const length = 4096 * KIB;
  const answer = await answerTo(ask(entrance, "GET", `/page/${length}`, { keep: false }).end());
  let received = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if (!chunk.equals(bytesOf(length).subarray(received, received + chunk.length))) {
      throw new WrongAnswer(`other bytes at ${received}`);
    }
    const pieces = Math.floor((received + chunk.length) / (512 * KIB)) - Math.floor(received / (512 * KIB));
    received += chunk.length;
    if (pieces > 0) await sleep(500);
  }
  if (received !== length) throw new WrongAnswer(`${received} bytes and a false end`);
}

/** @param count of events; 0 for those without end */
export async function listen(entrance: Entrance, count: number, signal?: AbortSignal): Promise<void> {
  const outgoing = ask(entrance, "GET", `/events/${count}`, { keep: false, hangMs: SILENCE_MS, signal });
  const answer = await answerTo(outgoing.end());
  let text = "";
  let next = 0;
  for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) {
    text += chunk;
    for (; text.includes("\n\n"); next++) {
      const expected = `data: ${next}\n\n`;
      if (!text.startsWith(expected)) throw new WrongAnswer(`event ${next} is ${JSON.stringify(text)}`);
      text = text.slice(expected.length);
    }
  }
  if (next !== count) throw new WrongAnswer(`${next} events and a false end`);
}

/** Sends a message a second, and wants it back, until the signal. */
export async function talk(entrance: Entrance, signal: AbortSignal): Promise<void> {
  const { address, port, host } = entrance;
  const socket = new WebSocket(`ws://${address}:${port}/`, {
    headers: { Host: host },
    handshakeTimeout: HANG_MS,
  });
  try {
    await once(socket, "open", { signal });
    const closed = once(socket, "close").then(() => {
      throw new Error("the WebSocket was closed");
    });
    closed.catch(() => {});
    socket.on("error", () => {});
    for (let number = 1; ; number++) {
      const sent = bytesOf(number % 5_000);
      const echo = once(socket, "message", { signal: AbortSignal.timeout(SILENCE_MS) });
      socket.send(sent);
      const [received] = (await Promise.race([echo, closed])) as [Buffer];
      if (!received.equals(sent)) throw new WrongAnswer("another message came back");
      await sleep(1_000, undefined, { signal });
    }
  } finally {
    socket.on("error", () => {});
    socket.terminate();
  }
}

interface AskOptions {
  length?: number | undefined;
  keep?: boolean;
  hangMs?: number;
  signal?: AbortSignal | undefined;
}

function ask(entrance: Entrance, method: string, path: string, options: AskOptions = {}): ClientRequest {
  const { address, port, host, agent } = entrance;
  const { length, keep = true, hangMs = HANG_MS, signal } = options;
  const outgoing = request({
    host: address,
    port,
    method,
    path,
    agent: keep ? agent : false,
    headers: { Host: host, ...(length === undefined ? {} : { "Content-Length": length }) },
    signal,
  });
  outgoing.setTimeout(hangMs, () =>
    outgoing.destroy(new (hangMs === HANG_MS ? WrongAnswer : Error)(`nothing for ${hangMs / 1000} s`)),
  );
  return outgoing;
}

/** @throws if it is any other than 200; then the body is left */
async function answerTo(outgoing: ClientRequest): Promise<IncomingMessage> {
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  const status = answer.statusCode!;
  if (status === 200) {
    // Once the answer is there, it is the answer that fails.
    outgoing.on("error", () => {});
    return answer;
  }
  outgoing.on("error", () => {}).destroy();
  const what = `status ${status} for ${outgoing.method} ${outgoing.path}`;
  throw new ([502, 503, 504].includes(status) ? Error : WrongAnswer)(what);
}

async function read(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

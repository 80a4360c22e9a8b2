import { Cut } from "../support/raw-visitor.ts";
import type { MarkedVisitor } from "./marked-visitor.ts";
import { get, request } from "./messages.ts";
import type { ServiceRequest } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

interface Moment {
  name: string;
  sent: string;
  /** Octets of the body that have reached the local service. */
  uploaded?: number;
  /** What the local service has sent, and what of it the visitor has read behind the head. */
  answered?: { sent: string; read: string };
  /** Nothing but a reset tells the visitor that its answer was cut. */
  endsByClose?: boolean;
}

const LONG = "Content-Length: 1000000";
const CHUNKED = "Transfer-Encoding: chunked";
const PART = "4\r\npart\r\n";

/** What a visitor may be in the middle of. */
const MOMENTS: Moment[] = [
  { name: "waits for an answer", sent: get("/") },
  {
    name: "waits behind its upload",
    sent: request("POST /", ["Content-Length: 4"], "part"),
    uploaded: 4,
  },
  { name: "uploads by length", sent: request("POST /", [LONG], "part"), uploaded: 4 },
  { name: "uploads in chunks", sent: request("POST /", [CHUNKED], PART), uploaded: 4 },
  {
    name: "asks to upgrade",
    sent: get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
  },
  {
    name: "has read a head",
    sent: get("/"),
    answered: { sent: `HTTP/1.1 200 OK\r\n${LONG}\r\n\r\n`, read: "" },
  },
  {
    name: "reads by length",
    sent: get("/"),
    answered: { sent: `HTTP/1.1 200 OK\r\n${LONG}\r\n\r\npart`, read: "part" },
  },
  {
    name: "reads chunks",
    sent: get("/"),
    answered: { sent: `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${PART}`, read: PART },
  },
  {
    name: "reads in HTTP/1.1 what ends by close",
    sent: get("/"),
    answered: { sent: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart", read: PART },
  },
  {
    name: "reads in HTTP/1.0 what ends by close",
    sent: "GET / HTTP/1.0\r\nHost: app.localhost\r\n\r\n",
    answered: { sent: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart", read: "part" },
    endsByClose: true,
  },
  {
    name: "uploads while it reads",
    sent: request("POST /", [CHUNKED], PART),
    uploaded: 4,
    answered: { sent: `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n${PART}`, read: PART },
  },
  {
    name: "is upgraded",
    sent: get("/", "Connection: Upgrade", "Upgrade: echo"),
    answered: {
      sent: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
      read: "hello",
    },
  },
];

/**
 * `page`: the server has said 502 to 504. `cut`: the connection ended, and nobody can take what has come for the whole.
 * `over`: it ended before an answer. Anything else is said in words.
 */
export type Outcome = string;

/** A visitor at each moment, one of each. */
export class Moments {
  readonly #exchanges: { moment: Moment; visitor: MarkedVisitor; asked: ServiceRequest }[] = [];

  static async reach(tunnel: Tunnel): Promise<Moments> {
    // What is broken off within an upload ends so at the local service.
    tunnel.allow(/a FIN within the body of POST/);
    const moments = new Moments();
    for (const moment of MOMENTS) {
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(moment.sent);
      const asked = await arrived;
      await asked.connection.until(() => asked.bodyBytes >= (moment.uploaded ?? 0));
      if (moment.answered) {
        await asked.connection.send(moment.answered.sent);
        await visitor.head();
        const read = await visitor.bytes(moment.answered.read.length);
        if (read.toString() !== moment.answered.read) throw new Error(`it has read ${read.toString()}`);
      }
      moments.#exchanges.push({ moment, visitor, asked });
    }
    return moments;
  }

  /** What becomes of each within a time, by the moment's name. */
  async outcomes(withinMs: number): Promise<Record<string, Outcome>> {
    const outcomes = this.#exchanges.map(async ({ moment, visitor }) => {
      const outcome = await within(withinMs, outcomeOf(moment, visitor)).catch(
        (error: Error) => error.message,
      );
      return [moment.name, outcome] as const;
    });
    return Object.fromEntries(await Promise.all(outcomes));
  }

  /** Resolves when the local service has been told of the end of every one. */
  async serviceTold(withinMs: number): Promise<void> {
    await within(withinMs, Promise.all(this.#exchanges.map(({ asked }) => asked.connection.untilClosed())));
  }
}

/** What must become of each when the way behind the server is lost. */
export const BROKEN_OFF: Record<string, Outcome> = Object.fromEntries(
  MOMENTS.map(({ name, answered }) => [name, answered ? "cut" : "page"]),
);

async function outcomeOf({ answered, endsByClose }: Moment, visitor: MarkedVisitor): Promise<Outcome> {
  if (!answered) return firstAnswer(visitor);
  const { end, text } = await visitor.rest();
  if (text !== "") return `more: ${text}`;
  return endsByClose && end === "fin" ? "an end like any other" : "cut";
}

async function firstAnswer(visitor: MarkedVisitor): Promise<Outcome> {
  try {
    const { status } = await visitor.answer();
    return [502, 503, 504].includes(status) ? "page" : `the status ${status}`;
  } catch (error) {
    if (error instanceof Cut && error.partial === "") return "over";
    throw error;
  }
}

import { createHash } from "node:crypto";
import { describe, expect } from "vitest";
import { pattern } from "../support/byte-pattern.ts";
import { Random } from "../support/random.ts";
import { fieldValue } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { get, request } from "./messages.ts";
import type { ServiceRequest } from "./strict-backend.ts";

const EXCHANGES = 200;
const MAX_BODY_BYTES = 60_000;
const CHUNKED = "Transfer-Encoding: chunked";
const seed = Date.now() % 1_000_000_007;

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the local service answers to a number: none like another. */
function answerTo(number: number): Buffer {
  return pattern(1_000 + number, 0, (number * 7_919) % MAX_BODY_BYTES);
}

/** In pieces of any size. */
function cut(body: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const length = 1 + random.below(20_000);
    pieces.push(body.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

function chunk(piece: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]);
}

/** A message's framing, and its body's pieces as they go over the wire. */
function framed(body: Buffer, random: Random): { framing: string; pieces: Buffer[] } {
  const pieces = cut(body, random);
  if (random.below(2) === 0) return { framing: `Content-Length: ${body.length}`, pieces };
  return { framing: CHUNKED, pieces: [...pieces.map(chunk), Buffer.from("0\r\n\r\n")] };
}

/** Sends what each has, a piece of any of them at a time. */
async function sendMixed(
  senders: { send(piece: Buffer): unknown; pieces: Buffer[] }[],
  random: Random,
): Promise<void> {
  const left = senders.filter(({ pieces }) => pieces.length > 0);
  while (left.length > 0) {
    const at = random.below(left.length);
    const sender = left[at]!;
    await sender.send(sender.pieces.shift()!);
    if (sender.pieces.length === 0) left.splice(at, 1);
  }
}

describe(`${EXCHANGES} exchanges at once are never mixed up (seed ${seed}):`, () => {
  acceptance(
    "uploads and answers that come in pieces, in any order",
    { timeout: 60_000 },
    async ({ tunnel }) => {
      const random = new Random(seed);
      const arrived: ServiceRequest[] = [];
      const all = new Promise<void>((resolve) => {
        tunnel.backend.serve((each) => {
          if (arrived.push(each) === EXCHANGES) resolve();
        });
      });
      const uploads = Array.from({ length: EXCHANGES }, (_, i) =>
        pattern(i, 0, random.below(MAX_BODY_BYTES)),
      );
      const framedUploads = uploads.map((body) => framed(body, random));
      const visitors = await Promise.all(
        framedUploads.map(({ framing }, i) => tunnel.request(request(`POST /${i}`, [framing]))),
      );
      await all;
      await sendMixed(
        visitors.map((visitor, i) => ({
          send: (piece) => visitor.send(piece),
          pieces: framedUploads[i]!.pieces,
        })),
        random,
      );

      const answers = await Promise.all(
        arrived.map(async (each) => {
          const number = Number(each.target.slice(1));
          const { framing, pieces } = framed(answerTo(number), random);
          const head = `HTTP/1.1 200 OK\r\nX-Number: ${number}\r\nX-Sum: ${sha256((await each.body()).bytes)}\r\n${framing}\r\n\r\n`;
          return {
            send: (piece: Buffer) => each.connection.send(piece),
            pieces: [Buffer.from(head), ...pieces],
          };
        }),
      );
      const [received] = await Promise.all([
        Promise.all(visitors.map((visitor) => visitor.answer())),
        sendMixed(answers, random),
      ]);
      for (const [i, { fields, body }] of received.entries()) {
        expect(fieldValue(fields, "X-Number")).toBe(String(i));
        expect(fieldValue(fields, "X-Sum")).toBe(sha256(uploads[i]!));
        expect(body.equals(answerTo(i))).toBe(true);
      }
    },
  );

  acceptance(
    "four of each of fifty visitors, one behind the other, answered as late as it comes",
    { timeout: 60_000 },
    async ({ tunnel }) => {
      const random = new Random(seed);
      tunnel.backend.serve(async ({ target, connection }) => {
        await new Promise((resolve) => setTimeout(resolve, random.below(30)));
        const { framing, pieces } = framed(answerTo(Number(target.slice(1))), random);
        await connection.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`, ...pieces);
      });
      await Promise.all(
        Array.from({ length: EXCHANGES / 4 }, async (_, i) => {
          const numbers = [0, 1, 2, 3].map((each) => i * 4 + each);
          const visitor = await tunnel.request(...numbers.map((number) => get(`/${number}`)));
          for (const number of numbers) {
            const { status, body } = await visitor.answer();
            expect(status).toBe(200);
            expect(body.equals(answerTo(number))).toBe(true);
          }
        }),
      );
    },
  );
});

import { expect, test } from "vitest";
import { MAX_WINDOW_BYTES } from "../../link/credit.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";
import { type LinkEnd, linkPair, openRequest } from "../support/link-pair.ts";
import { Random, SEEDS } from "../support/random.ts";
import { turn } from "../support/turns.ts";

/** What both ends of one stream have in common: the truth that the link is held to. */
interface Exchange {
  opener: Side;
  answerer: Side | undefined;
  /** Somebody reset it: from here on bytes may be missing, but never wrong. */
  reset: boolean;
  /** What went otherwise than it should; shared by all exchanges of a run. */
  problems: string[];
}

interface End {
  trailers: string | undefined;
}

/** One end of one stream, played at random, that checks what it is told. */
class Side implements StreamHandler {
  stream!: LinkStream;
  readonly exchange: Exchange;
  readonly isOpener: boolean;
  sentBytes = 0;
  receivedBytes = 0;
  unreadBytes = 0;
  answered = false;
  interims = 0;
  paused = false;
  said: End | undefined;
  heard: End | undefined;
  over = false;
  /** Whether bytes are consumed as they come. */
  eager = false;

  constructor(exchange: Exchange, isOpener: boolean) {
    this.exchange = exchange;
    this.isOpener = isOpener;
  }

  // What it does.

  answer(end: boolean): void {
    this.answered = true;
    if (end) this.said ??= { trailers: undefined };
    this.stream.accept(Buffer.from("200"), end);
  }

  write(length: number): void {
    const chunk = pattern(this.stream.id, this.isOpener, this.sentBytes, length);
    this.sentBytes += length;
    if (!this.stream.write(chunk)) this.paused = true;
  }

  finish(trailers: string | undefined): void {
    this.said = { trailers };
    this.stream.end(trailers === undefined ? undefined : Buffer.from(trailers));
  }

  cancel(): void {
    this.exchange.reset = true;
    this.over = true;
    this.stream.reset("CANCELLED");
  }

  read(bytes: number): void {
    this.unreadBytes -= bytes;
    this.stream.consumed(bytes);
  }

  get finished(): boolean {
    return this.over || (this.said !== undefined && this.heard !== undefined);
  }

  // What it is told.

  accepted(): void {
    this.#check(this.isOpener && !this.answered, "an answer");
    this.answered = true;
    this.#check(this.interims === this.exchange.answerer!.interims, "missing interim answers");
  }

  interim(): void {
    this.#check(this.isOpener && !this.answered, "an interim answer");
    this.interims++;
  }

  data(chunk: Buffer): void {
    this.#check(this.answered || !this.isOpener, "data before the answer");
    this.#check(this.heard === undefined, "data behind the end");
    const expected = pattern(this.stream.id, !this.isOpener, this.receivedBytes, chunk.length);
    this.#check(chunk.equals(expected), "wrong bytes");
    this.receivedBytes += chunk.length;
    this.unreadBytes += chunk.length;
    this.#check(this.unreadBytes <= MAX_WINDOW_BYTES, "more than a window unread");
    if (this.eager) this.read(this.unreadBytes);
  }

  end(trailers: Buffer | undefined): void {
    const other = this.isOpener ? this.exchange.answerer! : this.exchange.opener;
    this.#check(this.answered || !this.isOpener, "an end before the answer");
    this.#check(this.heard === undefined, "a second end");
    this.#check(this.receivedBytes === other.sentBytes, "an end before the last byte");
    this.#check(other.said !== undefined && trailers?.toString() === other.said.trailers, "other trailers");
    this.heard = { trailers: trailers?.toString() };
  }

  reset(code: StreamFailure, detail: string): void {
    this.#check(this.exchange.reset, `a reset that nobody said: ${code} ${detail}`);
    this.over = true;
  }

  drained(): void {
    this.#check(this.paused, "room that nobody waits for");
    this.paused = false;
  }

  #check(right: boolean, what: string): void {
    const where = `stream ${this.stream.id}, ${this.isOpener ? "opener" : "answerer"}`;
    if (this.over) this.exchange.problems.push(`${where}: told something behind the end (${what}?)`);
    else if (!right) this.exchange.problems.push(`${where}: ${what}`);
  }
}

/** Two links and everything that is going on between them. */
class Run {
  readonly random: Random;
  readonly pair: ReturnType<typeof linkPair>;
  readonly exchanges = new Map<number, Exchange>();
  readonly problems: string[] = [];
  active: Side[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
    this.pair = linkPair({ slice: this.random.pick([undefined, 997, 70_000]) });
    for (const end of this.ends) {
      end.onOpened = (stream) => {
        const exchange = this.exchanges.get(stream.id)!;
        exchange.answerer = this.#join(stream, new Side(exchange, false));
        stream.handler = exchange.answerer;
      };
    }
  }

  get ends(): LinkEnd[] {
    return [this.pair.server, this.pair.client];
  }

  get sides(): Side[] {
    return [...this.exchanges.values()].flatMap(({ opener, answerer }) =>
      answerer ? [opener, answerer] : [opener],
    );
  }

  async step(): Promise<void> {
    const { random } = this;
    const dice = random.next();
    if (dice < 0.1 && this.active.length < 80) this.#open(random.pick(this.ends));
    else if (dice < 0.3) await turn();
    else if (dice < 0.32) random.pick(this.ends).carrier.hold();
    else if (dice < 0.38) random.pick(this.ends).carrier.release(random.pick([1, 3, Infinity]));
    else if (this.active.length > 0) this.#act(random.pick(this.active));
    this.active = this.active.filter((side) => !side.finished);
  }

  /** Everybody reads on and finishes; a writer that was told to wait must be told to go on before it does. */
  async settle(): Promise<void> {
    for (const end of this.ends) end.carrier.release();
    for (let turns = 0; turns < 5_000 && this.problems.length === 0; turns++) {
      if (this.pair.server.link.streams + this.pair.client.link.streams === 0) return;
      for (const side of this.sides) {
        if (side.over) continue;
        if (!side.eager) side.read(side.unreadBytes);
        side.eager = true;
        if (!side.isOpener && !side.answered) side.answer(false);
        if (!side.paused && !side.said) side.finish(undefined);
      }
      await turn();
    }
  }

  #open(end: LinkEnd): void {
    const exchange: Exchange = {
      opener: undefined as unknown as Side,
      answerer: undefined,
      reset: false,
      problems: this.problems,
    };
    const side = new Side(exchange, true);
    const noBody = this.random.next() < 0.3;
    if (noBody) side.said = { trailers: undefined };
    exchange.opener = this.#join(end.link.open(openRequest({ end: noBody }), side), side);
    this.exchanges.set(side.stream.id, exchange);
  }

  #join(stream: LinkStream, side: Side): Side {
    side.stream = stream;
    side.eager = this.random.next() < 0.5;
    this.active.push(side);
    return side;
  }

  #act(side: Side): void {
    const { random } = this;
    const dice = random.next();
    const mayAnswer = !side.isOpener && !side.answered;
    if (mayAnswer && dice < 0.15) {
      side.answer(random.next() < 0.2 && !side.said);
    } else if (mayAnswer && dice < 0.2) {
      side.interims++;
      side.stream.interim(Buffer.from("103"));
    } else if (!side.said && dice < 0.6) {
      // Now and then a writer that does not listen.
      if (side.paused && random.next() < 0.95) return;
      side.write(random.pick([0, 1, 100, 5000, 65_535, 65_536, 65_537, random.below(300_000)]));
    } else if (!side.said && dice < 0.68) {
      side.finish(random.pick([undefined, undefined, "", "t: 1\r\n"]));
    } else if (dice < 0.686) {
      side.cancel();
    } else if (!side.eager) {
      side.read(random.next() < 0.5 ? side.unreadBytes : random.below(side.unreadBytes + 1));
    }
  }
}

test.each(SEEDS)(
  "whatever is done with streams, all that was written arrives in order (seed %i)",
  async (seed) => {
    const run = new Run(seed);
    for (let step = 0; step < 8_000 && run.problems.length === 0; step++) await run.step();
    await run.settle();

    expect(run.problems).toEqual([]);
    expect(run.ends.map(({ over }) => over)).toEqual([undefined, undefined]);
    expect(run.ends.map(({ link }) => link.streams)).toEqual([0, 0]);
    const whole = [...run.exchanges.values()].filter(({ reset }) => !reset);
    expect(whole.length).toBeGreaterThan(30);
    for (const { opener, answerer } of whole) {
      expect(opener.receivedBytes).toBe(answerer!.sentBytes);
      expect(answerer!.receivedBytes).toBe(opener.sentBytes);
      expect([opener.heard, answerer!.heard]).toEqual([answerer!.said, opener.said]);
    }
  },
);

const PATTERN = new Random(7).bytes(1 << 18);

/** The bytes that one end of a stream writes from an offset on: different for each, and cheap. */
function pattern(stream: number, opener: boolean, offset: number, length: number): Buffer {
  const from = (stream * 7919 + (opener ? 0 : 4099) + offset) % PATTERN.length;
  const parts = [PATTERN.subarray(from, from + length)];
  for (let left = length - parts[0]!.length; left > 0; left -= parts.at(-1)!.length) {
    parts.push(PATTERN.subarray(0, left));
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/**
 * A link against a malicious other end: any messages about any streams, in any order, while this end's own program does
 * whatever it likes, from inside its callbacks too. The event loop's turns are played by hand, so that all that goes wrong
 * goes wrong here, and again with the same seed.
 */
import * as fc from "fast-check";
import { afterEach, expect, vi } from "vitest";
import type { Batch, Carrier, CarrierReceiver } from "../../link/carrier.ts";
import { DATAGRAM, END, MAX_DATAGRAM_BYTES, TRAILERS } from "../../link/chunks.ts";
import { INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from "../../link/credit.ts";
import { TunnelError } from "../../link/errors.ts";
import { Link } from "../../link/link.ts";
import type { Control, Kind, Open, ResetCode } from "../../link/messages.ts";
import { UnreadBudget } from "../../link/unread-budget.ts";
import type { LinkStream, StreamFailure, StreamHandler } from "../../link/stream.ts";
import { pattern } from "../support/byte-pattern.ts";
import { ContractWatch } from "../support/contract-watch.ts";
import { controlMessage, streamMessages } from "../support/control-arbitraries.ts";
import { fuzz } from "../support/fuzz.ts";
import { openRequest } from "../support/link-pair.ts";
import { chunk } from "../support/raw-peer.ts";

/** In place of ids that mean something only while it runs: below, a stream that there is; this, one that may be opened. */
const NEXT_ID = 16;
const streamId = fc.oneof(
  { weight: 30, arbitrary: fc.nat(NEXT_ID - 1) },
  { weight: 10, arbitrary: fc.constant(NEXT_ID) },
  fc.constantFrom(1_000, 1_001, 0xffff_ffef, 0xffff_fff0, 0xffff_fffe, 0xffff_ffff),
);
const length = fc.oneof(fc.nat(20), fc.constantFrom(0, 1, 4_000, 65_507, 65_508, 65_535, 65_536, 65_537));

type Action =
  | { act: "accept"; end: boolean }
  | { act: "interim" }
  | { act: "write"; bytes: number }
  /** Datagrams, that many. */
  | { act: "send"; bytes: number; times: number }
  | { act: "end"; trailers: boolean }
  | { act: "reset"; code: ResetCode }
  | { act: "read"; share: number }
  | { act: "open"; end: boolean; kind: Kind };

interface SaidChunk {
  stream: number;
  flags: number;
  bytes: number;
  /** Some more of them than there is credit for. */
  times: number;
}

type Step =
  | {
      step: "say";
      /** Also what is a breach at first sight. */
      wild: boolean;
      control: Control[];
      chunks: SaidChunk[];
      cutBytes: number;
    }
  | { step: "act"; stream: number; action: Action }
  | { step: "turn" | "hold" | "release" | "end" | "close" | "lose" | "leave" };

const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ act: fc.constant("accept"), end: fc.boolean() }),
  fc.record({ act: fc.constant("interim") }),
  {
    weight: 4,
    arbitrary: fc.record({ act: fc.constant("write"), bytes: fc.oneof(length, fc.nat(300_000)) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ act: fc.constant("send"), bytes: length, times: fc.constantFrom(1, 1, 5, 300) }),
  },
  fc.record({ act: fc.constant("end"), trailers: fc.boolean() }),
  fc.record({
    act: fc.constant("reset"),
    code: fc.constantFrom<ResetCode[]>("CANCELLED", "COMPLETE", "INTERNAL"),
  }),
  { weight: 3, arbitrary: fc.record({ act: fc.constant("read"), share: fc.constantFrom(0, 0.3, 1) }) },
  fc.record({
    act: fc.constant("open"),
    end: fc.boolean(),
    kind: fc.constantFrom<Kind[]>("HTTP", "HTTP", "UDP"),
  }),
);

const legalFlags = fc.constantFrom(0, 0, 0, END, END | TRAILERS, DATAGRAM, DATAGRAM);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      step: fc.constant("say"),
      wild: fc.integer({ min: 0, max: 11 }).map((number) => number === 11),
      control: fc.array(
        fc.oneof({ weight: 12, arbitrary: fc.oneof(...streamMessages(streamId)) }, controlMessage),
        { maxLength: 3 },
      ),
      chunks: fc.array(
        fc.record({
          stream: streamId,
          flags: fc.oneof({ weight: 40, arbitrary: legalFlags }, fc.nat(255)),
          bytes: length,
          times: fc.constantFrom(1, 1, 1, 5),
        }),
        { maxLength: 3 },
      ),
      cutBytes: fc.oneof({ weight: 40, arbitrary: fc.constant(0) }, fc.nat(9)),
    }),
  },
  { weight: 12, arbitrary: fc.record({ step: fc.constant("act"), stream: fc.nat(15), action }) },
  { weight: 8, arbitrary: fc.record({ step: fc.constantFrom("turn", "turn", "turn", "hold", "release") }) },
  fc.record({ step: fc.constantFrom("end", "close", "lose", "leave") }),
);

const run = fc.record({
  side: fc.constantFrom<("server" | "client")[]>("server", "client"),
  sliceBytes: fc.constantFrom(Infinity, Infinity, 1_000, 1),
  creditBytes: fc.constantFrom(0, 1, 10_000, INITIAL_WINDOW_BYTES),
  /** What the streams do in turn whenever they are told something. */
  reactions: fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, action), { maxLength: 6 }),
  steps: fc.array(step, { maxLength: 60, size: "max" }),
});

const EMPTY = Buffer.alloc(0);
const immediates: (() => void)[] = [];
afterEach(() => vi.unstubAllGlobals());

fuzz(
  "whatever the other end says, a link keeps the contract, and tells each stream a story that makes sense",
  [run],
  ({ steps, ...options }) => {
    immediates.length = 0;
    const later = (callback: () => void) => immediates.push(callback);
    vi.stubGlobal("setImmediate", later);
    const nextTick = vi.spyOn(process, "nextTick").mockImplementation((callback) => {
      later(callback as () => void);
    });
    try {
      const world = new World(options);
      for (const step of steps) world.take(step);
      world.finish();
      expect(world.problems).toEqual([]);
    } finally {
      vi.unstubAllGlobals();
      nextTick.mockRestore();
    }
  },
  { cost: 2, runs: 600 },
);

/** One turn of the event loop: what it sets off waits for the next. */
function turn(): void {
  for (const callback of immediates.splice(0)) callback();
}

class World {
  readonly watch: ContractWatch;
  readonly link: Link;
  readonly problems: string[];
  readonly stories: Story[] = [];
  readonly carrier = new PlayedCarrier((batch) => {
    this.watch.sent(batch);
    for (const control of batch.control) this.#hear(control);
  });
  readonly #budget = new UnreadBudget();
  readonly #sliceBytes: number;
  readonly #reactions: (Action | undefined)[];
  /** Streams that the other end has said its end on. */
  readonly #saidEnd = new Set<Story>();
  readonly #saidBytes = new Map<number, number>();
  /** Of datagrams that the other end has said, and the stream was not told of. */
  readonly #saidLengths = new Map<number, number[]>();
  readonly #grantedBytes = new Map<number, number>();
  #nextPeerId: number;
  #reaction = 0;
  #pongs = 0;
  #closed = 0;
  #error: TunnelError | undefined;

  constructor(options: {
    side: "server" | "client";
    sliceBytes: number;
    creditBytes: number;
    reactions: (Action | undefined)[];
  }) {
    this.#sliceBytes = options.sliceBytes;
    this.#reactions = options.reactions;
    this.#nextPeerId = options.side === "server" ? 1 : 2;
    this.watch = new ContractWatch({ side: options.side, initialCreditBytes: options.creditBytes });
    this.problems = this.watch.problems;
    this.link = new Link({
      carrier: this.carrier,
      side: options.side,
      budget: this.#budget,
      handler: {
        opened: (stream, open) => this.#opened(stream, open),
        message() {},
        closed: (error) => {
          this.#closed++;
          this.#error = error;
        },
      },
    });
    this.link.peerStreamCredit = options.creditBytes;
  }

  take(step: Step): void {
    switch (step.step) {
      case "say":
        return this.#play(step);
      case "act":
        return this.act(this.stories.at(step.stream % Math.max(1, this.stories.length)), step.action);
      case "turn":
        return turn();
      case "hold":
        return this.carrier.hold();
      case "release":
        return this.carrier.release();
      case "end":
        return this.link.end();
      case "close":
        return this.link.close();
      case "lose":
        return this.carrier.lose(new TunnelError("lost", "the connection broke off"));
      case "leave":
        return this.carrier.lose(undefined);
    }
  }

  act(story: Story | undefined, action: Action): void {
    if (action.act === "open") {
      if (this.stories.length >= 40) return;
      const opened = new Story(this, true, action.kind);
      opened.saidAll = action.end;
      opened.stream = this.link.open(openRequest({ end: action.end, kind: action.kind }), opened);
      this.stories.push(opened);
    } else story?.act(action);
  }

  /** Does what is next in the list, unless that is nothing. */
  react(story: Story): void {
    const action = this.#reactions[this.#reaction++ % Math.max(1, this.#reactions.length)];
    // Reactions set off reactions; enough is enough.
    if (action && this.#reaction < 500) this.act(story, action);
  }

  /** A link that lives still answers; one that ends has told everybody. */
  finish(): void {
    this.carrier.release();
    this.#settle();
    if (this.#closed === 0 && this.carrier.open) {
      const before = this.#pongs;
      this.#say([{ message: "ping", ping: { id: 1 } }]);
      this.#settle();
      this.check(this.#pongs === before + 1, "a ping without a pong");
      for (const story of this.stories) {
        const granted =
          INITIAL_WINDOW_BYTES + (this.#grantedBytes.get(story.stream.id) ?? 0) + story.slackBytes;
        this.check(story.receivedBytes <= granted, `more data than credit on ${story.stream.id}`);
      }
    }
    const whole = this.stories.filter(({ ended, stream }) => ended && this.watch.hasEnded(stream.id));
    for (const story of whole) this.check(!story.failed, `a failure of ${story.stream.id}, which was over`);
    this.link.close();
    this.#settle();
    this.check(this.#closed === 1, `closed ${this.#closed} times`);
    this.check(this.link.streams === 0, "streams of a closed link");
    this.check(!this.carrier.open, "a carrier left open");
    this.check(this.#budget.heldBytes === 0, `${this.#budget.heldBytes} bytes still count as unread`);
    for (const story of this.stories) {
      const mayBeWhole = story.ended && story.saidAll;
      this.check(
        story.over || mayBeWhole || whole.includes(story),
        `${story.stream.id} was not told of the end`,
      );
    }
    const error = this.#error;
    this.check(
      error === undefined || (error instanceof TunnelError && error.code !== "internal"),
      `an error of its own: ${String(error?.cause)}`,
    );
  }

  check(right: boolean, what: string): void {
    if (!right) this.problems.push(what);
  }

  #settle(): void {
    for (let turns = 0; immediates.length > 0 && turns < 1_000; turns++) turn();
    this.check(immediates.length === 0, "turns without end");
  }

  #opened(stream: LinkStream, open: Open): void {
    this.watch.opened(open);
    this.#saidBytes.set(stream.id, 0);
    this.#saidLengths.delete(stream.id);
    this.#grantedBytes.set(stream.id, 0);
    const story = new Story(this, false, open.kind);
    story.stream = stream;
    stream.handler = story;
    this.stories.push(story);
    this.react(story);
  }

  #hear(control: Control): void {
    if (control.message === "pong") this.#pongs++;
    if (control.message !== "credit") return;
    const { stream, bytes } = control.credit;
    this.#grantedBytes.set(stream, (this.#grantedBytes.get(stream) ?? 0) + bytes);
  }

  #play({ wild, control, chunks, cutBytes }: Extract<Step, { step: "say" }>): void {
    for (const each of control) {
      const message = this.#resolve(each);
      if (wild || this.#isLegal(message)) this.#say([message]);
    }
    const run = chunks.flatMap(({ stream, flags, bytes, times }) => {
      const id = this.#resolveId(stream);
      return Array.from({ length: times }, () =>
        wild || this.#isLegalChunk(id, flags, bytes)
          ? this.#chunk(id, flags, Math.min(bytes, wild ? Infinity : 65_536))
          : EMPTY,
      );
    });
    const data = Buffer.concat(run);
    this.#say([], wild ? data.subarray(0, data.length - cutBytes) : data);
  }

  /** As far as the other end can tell. */
  #isLegal(control: Control): boolean {
    switch (control.message) {
      case "open":
        return control.open.stream === this.#nextPeerId - 2;
      case "accept":
      case "interim": {
        const id = control.message === "accept" ? control.accept.stream : control.interim.stream;
        const story = this.#story(id);
        return story !== undefined && story.isOpener && !story.answered;
      }
      case "credit":
        return this.#story(control.credit.stream) !== undefined;
      case "reset":
        return this.#story(control.reset.stream) !== undefined;
      default:
        return true;
    }
  }

  #isLegalChunk(id: number, flags: number, bytes: number): boolean {
    const story = this.#story(id);
    if (!story || this.#saidEnd.has(story) || ![0, END, END | TRAILERS, DATAGRAM].includes(flags))
      return false;
    if (flags === DATAGRAM && (story.kind !== "UDP" || bytes > MAX_DATAGRAM_BYTES)) return false;
    if ((flags & (DATAGRAM | TRAILERS)) === 0 && story.kind === "UDP" && bytes > 0) return false;
    if (story.ended || (story.isOpener && !story.answered)) return false;
    if ((flags & END) !== 0) this.#saidEnd.add(story);
    return true;
  }

  #story(id: number): Story | undefined {
    return this.stories.findLast(({ stream }) => stream.id === id);
  }

  #say(control: Control[], data: Buffer = EMPTY): void {
    const { receiver } = this.carrier;
    if (!receiver) return;
    for (const message of control) {
      this.watch.told(message);
      receiver.control([message]);
    }
    for (let at = 0; at < data.length; at += this.#sliceBytes) {
      receiver.data(data.subarray(at, at + this.#sliceBytes));
    }
    receiver.batchEnd();
  }

  #resolve(control: Control): Control {
    const body = (control as unknown as Record<string, { stream?: number }>)[control.message]!;
    if (body.stream === undefined) return control;
    return { ...control, [control.message]: { ...body, stream: this.#resolveId(body.stream) } };
  }

  #resolveId(id: number): number {
    if (id > NEXT_ID) return id;
    if (id < NEXT_ID && this.stories.length > 0) return this.stories[id % this.stories.length]!.stream.id;
    this.#nextPeerId += 2;
    return this.#nextPeerId - 2;
  }

  /** The length of the next datagram that a stream is to be told of. */
  nextLength(id: number): number | undefined {
    return this.#saidLengths.get(id)?.shift();
  }

  #chunk(id: number, flags: number, bytes: number): Buffer {
    if (flags === DATAGRAM) this.#saidLengths.set(id, [...(this.#saidLengths.get(id) ?? []), bytes]);
    const said = this.#saidBytes.get(id) ?? 0;
    if ((flags & TRAILERS) === 0) this.#saidBytes.set(id, said + bytes);
    return chunk(id, flags, pattern(id, said, bytes));
  }
}

/** One end of one stream: does what it is asked, and checks that what it is told makes sense. */
class Story implements StreamHandler {
  stream!: LinkStream;
  receivedBytes = 0;
  ended = false;
  failed = false;
  /** It has said its end, and nothing was before it that could be lost. */
  saidAll = false;
  readonly isOpener: boolean;
  readonly kind: Kind;
  /** By how much a datagram may take the other end beyond its credit. */
  readonly slackBytes: number;
  answered = false;
  readonly #world: World;
  #silenced = false;
  #paused = false;
  #unreadBytes = 0;
  #readBytes = 0;
  #writtenBytes = 0;
  /** A datagram, an empty one perhaps. */
  #sentOnce = false;

  constructor(world: World, isOpener: boolean, kind: Kind) {
    this.#world = world;
    this.isOpener = isOpener;
    this.kind = kind;
    this.slackBytes = kind === "UDP" ? MAX_DATAGRAM_BYTES - 1 : 0;
  }

  get over(): boolean {
    return this.failed || this.#silenced;
  }

  act(action: Exclude<Action, { act: "open" }>): void {
    switch (action.act) {
      case "accept":
        if (this.isOpener) break;
        this.stream.accept(Buffer.from("200"), action.end);
        if (action.end) this.#sayEnd();
        break;
      case "interim":
        if (!this.isOpener) this.stream.interim(Buffer.from("103"));
        break;
      case "send": {
        for (let i = 0; i < action.times; i++) {
          const datagram = pattern(this.stream.id, this.#writtenBytes, action.bytes);
          if (this.stream.send(datagram)) {
            this.#writtenBytes += action.bytes;
            this.#sentOnce = true;
            this.#world.check(this.kind === "UDP", `a datagram taken by ${this.stream.id}`);
          }
        }
        break;
      }
      case "write": {
        if (this.kind === "UDP") break;
        // What a stream does not take any more does not count.
        const bytes = pattern(this.stream.id, this.#writtenBytes, action.bytes);
        this.#writtenBytes += action.bytes;
        if (!this.stream.write(bytes)) this.#paused = true;
        break;
      }
      case "end":
        this.stream.end(action.trailers ? Buffer.from("a: b\r\n") : undefined);
        if (!action.trailers) this.#sayEnd();
        break;
      case "reset":
        this.#silenced = true;
        this.stream.reset(action.code);
        break;
      case "read": {
        const bytes = Math.floor(this.#unreadBytes * action.share);
        this.#unreadBytes -= bytes;
        this.#readBytes += bytes;
        this.stream.consumed(bytes);
        break;
      }
    }
  }

  accepted(): void {
    this.#told("an answer", this.isOpener && !this.answered);
    this.answered = true;
    this.#world.react(this);
  }

  interim(): void {
    this.#told("an interim answer", this.isOpener && !this.answered);
    this.#world.react(this);
  }

  data(chunk: Buffer): void {
    this.#told("data", this.kind !== "UDP");
    this.#take(chunk);
  }

  datagram(datagram: Buffer): void {
    this.#told("a datagram", this.kind === "UDP");
    this.#told("a piece", this.#world.nextLength(this.stream.id) === datagram.length);
    this.#take(datagram);
  }

  #take(chunk: Buffer): void {
    this.#told("data", !this.ended && (this.answered || !this.isOpener));
    this.#told("wrong bytes", chunk.equals(pattern(this.stream.id, this.receivedBytes, chunk.length)));
    this.receivedBytes += chunk.length;
    this.#unreadBytes += chunk.length;
    const windowBytes = this.#readBytes === 0 ? INITIAL_WINDOW_BYTES : MAX_WINDOW_BYTES;
    this.#told("more than a window", this.#unreadBytes <= windowBytes + this.slackBytes);
    this.#world.react(this);
  }

  end(): void {
    this.#told("an end", !this.ended && (this.answered || !this.isOpener));
    this.ended = true;
    this.#world.react(this);
  }

  reset(_code: StreamFailure): void {
    this.#told("a failure", true);
    this.failed = true;
    this.#world.react(this);
  }

  drained(): void {
    this.#told("room that nobody waits for", this.#paused);
    this.#paused = false;
    this.#world.react(this);
  }

  #sayEnd(): void {
    if (!this.over && this.#writtenBytes === 0 && !this.#sentOnce) this.saidAll = true;
  }

  #told(what: string, makesSense: boolean): void {
    this.#world.check(
      makesSense && !this.over,
      `stream ${this.stream.id} was told ${what}${this.over ? ", being over" : ""}`,
    );
  }
}

/** Takes batches at once, or only counts them as under way while it holds. */
class PlayedCarrier implements Carrier {
  receiver: CarrierReceiver | undefined;
  open = true;
  readonly #onBatch: (batch: Batch) => void;
  #held: (() => void)[] | undefined;
  #ended = false;

  constructor(onBatch: (batch: Batch) => void) {
    this.#onBatch = onBatch;
  }

  send(batch: Batch, written: () => void): void {
    if (this.#ended || !this.open) throw new Error("a batch was sent behind the end");
    this.#onBatch(batch);
    if (this.#held) this.#held.push(written);
    else setImmediate(written);
  }

  receive(receiver: CarrierReceiver): void {
    this.receiver = receiver;
  }

  end(): void {
    if (this.#ended) throw new Error("ended twice");
    this.#ended = true;
    setImmediate(() => this.lose(undefined));
  }

  abort(): void {
    this.open = false;
    this.receiver = undefined;
  }

  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    for (const written of this.#held ?? []) setImmediate(written);
    this.#held = undefined;
  }

  /** The connection is over, and the link told so. */
  lose(error: TunnelError | undefined): void {
    this.open = false;
    const { receiver } = this;
    this.receiver = undefined;
    receiver?.closed(error);
  }
}

import { consentTo } from "../../../client/local/consent.ts";
import { type HttpOutcome, serveHttp } from "../../../client/local/http-exchange.ts";
import { LocalService } from "../../../client/local/local-service.ts";
import { parseFields, parseResponseHead, type RawFields } from "../../../link/http-head.ts";
import type { Open } from "../../../link/messages.ts";
import { FakeStream } from "../../support/fake-stream.ts";

export interface Visit {
  method?: string;
  target?: string;
  /** Field lines without their line ends. */
  fields?: string[];
  /** The whole body; absent: none, and the open says so. */
  body?: string;
  /** The number of the visitor's connection. */
  visitor?: number;
  /** The body is fed by the test. */
  streaming?: boolean;
  /** Whether the server takes statuses from 600 on. */
  wideStatuses?: boolean;
}

export interface Answer {
  status: number;
  reason: string;
  fields: RawFields;
  body: string;
  trailers: RawFields;
}

export function serviceAt(target: { host: string; port: number }): LocalService {
  return new LocalService({ target, consent: consentTo(target) });
}

export function openFor({
  method = "GET",
  target = "/",
  fields = ["Host: app.test"],
  body,
  visitor = 0,
  streaming,
}: Visit): Open {
  const lines = [`${method} ${target} HTTP/1.1`, ...fields].map((line) => `${line}\r\n`).join("");
  return {
    stream: 2,
    tunnel: 1,
    kind: "HTTP",
    requestId: "r1",
    visitor: "203.0.113.7:4711",
    head: Buffer.from(lines, "latin1"),
    end: body === undefined && !streaming,
    visitorConnection: visitor,
  };
}

/** A visitor's request on its way through the local side. */
export class Replay {
  readonly stream = new FakeStream();
  readonly outcomes: HttpOutcome[] = [];
  readonly finished: Promise<HttpOutcome>;

  constructor(service: LocalService, visit: Visit = {}) {
    this.finished = new Promise((resolve) => {
      const finished = (outcome: HttpOutcome) => {
        this.outcomes.push(outcome);
        resolve(outcome);
      };
      const open = openFor(visit);
      serveHttp(this.stream, open, { service, finished, wideStatuses: visit.wideStatuses });
      if (open.end && !this.stream.over) this.stream.finish();
    });
    if (visit.body !== undefined) {
      this.stream.feed(visit.body);
      this.stream.finish();
    }
  }

  /** The whole answer; a failure rejects. */
  async answer(): Promise<Answer> {
    const outcome = await this.finished;
    if (outcome.failure) throw new Error(`${outcome.failure}: ${outcome.detail}`);
    return { ...this.head, body: this.stream.body.toString("latin1"), trailers: this.trailers };
  }

  get head(): { status: number; reason: string; fields: RawFields } {
    return parseResponseHead(Buffer.from(this.stream.accepted!.head, "latin1"));
  }

  get trailers(): RawFields {
    return parseFields(Buffer.from(this.stream.trailers ?? "", "latin1"));
  }
}

export function visit(service: LocalService, request: Visit = {}): Promise<Answer> {
  return new Replay(service, request).answer();
}

/** How a visit fails. */
export async function failure(service: LocalService, request: Visit = {}): Promise<HttpOutcome> {
  const replay = new Replay(service, request);
  const outcome = await replay.finished;
  if (!outcome.failure) throw new Error(`it did not fail: ${JSON.stringify(outcome)}`);
  if (replay.stream.ended) throw new Error("a false end");
  return outcome;
}

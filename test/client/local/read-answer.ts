import type { AnswerHead } from "../../../client/local/answer-head.ts";
import { AnswerReader } from "../../../client/local/answer-reader.ts";

/** What a reader makes of the bytes of one answer; all text has one character per byte. */
export interface ReadAnswer {
  /** `broken`: refused; `cut`: its end is missing. */
  outcome: "whole" | "switched" | "broken" | "cut";
  /** Heads as `encodeResponseHead` makes them. */
  interims: string[];
  head: string | undefined;
  body: string;
  /** As `encodeFields` makes them. */
  trailers: string;
}

export interface OwnAnswer extends ReadAnswer {
  /** How many bytes belong to it. */
  bytes: number;
  fault: string;
  heads: AnswerHead[];
  /** Whether it lasted until the connection's end. */
  untilTheEnd: boolean;
}

export interface Sent {
  method?: string;
  /** Where the bytes are cut into pieces. */
  cuts?: number[];
  /** Whether the connection ends behind them. */
  ends?: boolean;
}

/** Has our reader read an answer. */
export function readAnswer(text: string, { method = "GET", cuts = [], ends = true }: Sent = {}): OwnAnswer {
  const bytes = Buffer.from(text, "latin1");
  const heads: AnswerHead[] = [];
  const interims: string[] = [];
  const body: Buffer[] = [];
  let head: string | undefined;
  const reader = new AnswerReader(method, {
    interimAnswer(interim) {
      heads.push(interim);
      interims.push(interim.bytes.toString("latin1"));
    },
    answer(final) {
      heads.push(final);
      head = final.bytes.toString("latin1");
    },
    body: (part) => body.push(part),
  });
  let read = 0;
  for (const piece of piecesOf(bytes, cuts)) {
    // A reader keeps nothing of what it was given but what it passes on.
    const lent = Buffer.from(piece);
    const length = reader.push(lent);
    read += length;
    if (length < piece.length) break;
  }
  const wasReading = reader.state === "reading";
  const ended = ends && reader.end();
  const outcome = reader.state === "reading" || reader.state === "stopped" ? "cut" : reader.state;
  return {
    outcome,
    interims,
    head,
    body: Buffer.concat(body).toString("latin1"),
    trailers: reader.trailers?.toString("latin1") ?? "",
    bytes: read,
    fault: reader.fault,
    heads,
    untilTheEnd: wasReading && ended,
  };
}

export function piecesOf(bytes: Buffer, cuts: number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((end, i) => bytes.subarray(places[i - 1] ?? 0, end));
}

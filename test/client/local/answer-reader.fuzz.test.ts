/**
 * Our reader of answers beside Node's (llhttp): what either refuses is refused, and what ours takes means the same to both. A
 * service's answer that two readers end in two places is how answers get to the wrong visitor. Three things ours takes that
 * Node refuses: LF alone behind a line of a head, the same length more than once, `Transfer-Encoding: identity`. Node is given such
 * answers without them (tidied-answer.ts).
 */
import * as fc from "fast-check";
import { expect } from "vitest";
import { parseFields, parseResponseHead } from "../../../link/http-head.ts";
import { fuzz } from "../../support/fuzz.ts";
import { answerText } from "./answer-arbitraries.ts";
import { readByNode } from "./node-answer.ts";
import { readAnswer } from "./read-answer.ts";
import { tidied } from "./tidied-answer.ts";

/** Where we refuse more than llhttp does. */
const STRICTER = new RegExp(
  [
    "it does not begin with HTTP/1.", // HTTP/0.9 and 2.0
    "no status line", // a status of 0 to 99
    "a control character", // in the reason
    "a tab behind", // a coding or an option
    "a transfer coding", // others than chunked, which it reads to the end or not at all
    "two transfer codings", // chunked beside identity
    "no single valid Content-Length", // of more than 15 digits
    "status 101 that switches nothing",
    "a switch of protocols with a body",
    "an interim answer behind which", // with `close` and something else in HTTP/1.0
    "a malformed chunk extension", // bytes beyond ASCII, no value behind `=`
    "a chunk size that is too large", // zeros before it
    "its trailers: a length or a coding",
  ].join("|"),
);

const method = fc.constantFrom("GET", "GET", "GET", "POST", "HEAD");
const cuts = fc.array(fc.nat(2_000), { maxLength: 8 });

fuzz(
  "an answer that is taken means the same to Node, to its last byte; what Node refuses, tidied, is not taken",
  [answerText, method, cuts],
  async (text, method, cuts) => {
    const own = readAnswer(text, { method });
    const { outcome, interims, head, body, trailers } = own;
    if (outcome === "whole") {
      const answer = tidied(text.slice(0, own.bytes));
      const node = await readByNode(answer, { method, cuts, ends: own.untilTheEnd });
      expect(node).toEqual({ outcome, interims, head, body, trailers, error: "" });
      if (!own.untilTheEnd) {
        const short = await readByNode(answer.slice(0, -1), { method, ends: false });
        expect(short.outcome).toBe("cut");
      }
    } else if (outcome === "switched") {
      // In one piece, since Node hands over what came with the head.
      const node = await readByNode(tidied(text), { method });
      expect(node).toEqual({ outcome, interims, head, body: text.slice(own.bytes), trailers, error: "" });
    } else if (outcome === "cut") {
      const node = await readByNode(tidied(text), { method, cuts });
      expect(["cut", "broken"]).toContain(node.outcome);
      // What has been passed on was not a guess.
      if (node.outcome === "cut") expect(node).toMatchObject({ interims, head, body });
    }
  },
);

fuzz("an answer that Node takes is refused for few reasons", [answerText, method], async (text, method) => {
  const { outcome, fault } = readAnswer(text, { method });
  if (outcome !== "broken") return;
  const node = await readByNode(text, { method });
  if (node.outcome === "whole" || node.outcome === "switched") expect(fault).toMatch(STRICTER);
});

fuzz(
  "it makes no difference in which pieces an answer comes",
  [answerText, method, cuts, fc.boolean()],
  (text, method, cuts, ends) => {
    const whole = readAnswer(text, { method, ends });
    const pieces = readAnswer(text, { method, ends, cuts });
    const bytewise = readAnswer(text, { method, ends, cuts: Array.from(text, (_, i) => i) });
    for (const split of [pieces, bytewise]) {
      // How much of a broken answer was looked at is nobody's business.
      expect({ ...split, bytes: 0 }).toEqual({ ...whole, bytes: 0 });
      if (whole.outcome !== "broken") expect(split.bytes).toBe(whole.bytes);
    }
  },
);

fuzz("what is passed on is what the server's side can read", [answerText, method], (text, method) => {
  const { interims, head, trailers, heads } = readAnswer(text, { method });
  for (const each of head === undefined ? interims : [...interims, head]) {
    const { status } = parseResponseHead(Buffer.from(each, "latin1"));
    expect(heads.map((known) => known.status)).toContain(status);
  }
  parseFields(Buffer.from(trailers, "latin1"));
});

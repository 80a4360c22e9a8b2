import type { IncomingMessage } from "node:http";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encodeFields, parseFields } from "../../../../link/http-head.ts";
import {
  answerFields,
  interimFields,
  peerOf,
  requestFields,
  switchingFields,
  trailerFields,
} from "../../../../server/edge/http/forwarding.ts";
import { checkRequest, type RequestFacts } from "../../../../server/edge/http/request-check.ts";
import { address, PLAIN, spell, spelling } from "../../../support/address-arbitraries.ts";
import { plainAddress } from "../../../../runtime/ip-address.ts";
import { fuzz } from "../../../support/fuzz.ts";
import { parsedRequest, telltaleFields } from "../../../support/http-arbitraries.ts";

const HOP_BY_HOP = [
  ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"],
  ["http2-settings", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info"],
].flat();
const OF_THE_PEER = /^(?:x-forwarded-.*|forwarded|x-real-ip)$/;
/** Without these a message means something else, so a Connection field cannot take them away. */
const NOT_TO_BE_NAMED = [
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "host",
];
/** X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded and X-Real-IP. */
const ADDED = 5;

const visitor = fc.oneof(fc.ipV4(), fc.ipV6());
const upgrade = fc.constantFrom<string[][]>([], [], ["websocket"]);

fuzz(
  "a local service hears of the visitor what is true, in whatever spelling the visitor lies",
  [parsedRequest, visitor, upgrade],
  (request, visitor, upgrade) => {
    const facts = factsOf(request);
    const fields = requestFields(request.rawHeaders, facts, { peer: peerOf(visitor), upgrade });
    const own = fields.slice(0, -2 * ADDED);
    const names = canonicalNames(own);
    expect(names.filter((name) => OF_THE_PEER.test(name))).toEqual([]);
    const hopByHop = names.filter((name) => HOP_BY_HOP.includes(name) && !isUpgrade(name, upgrade));
    expect(hopByHop).toEqual([]);
    expect(names.filter((name) => name === "host")).toHaveLength(1);
    const named = facts.connectionOptions.filter((option) => !NOT_TO_BE_NAMED.includes(option));
    expect(
      lowerNames(own).filter((name) => named.includes(name) && !isUpgrade(name, upgrade) && !isKept(name)),
    ).toEqual([]);

    const added = fields.slice(-2 * ADDED);
    expect(canonicalNames(added)).toEqual([
      "x-forwarded-for",
      "x-forwarded-proto",
      "x-forwarded-host",
      "forwarded",
      "x-real-ip",
    ]);
    expect(added[1]).toBe(visitor);
    expect(added[9]).toBe(visitor);
    expect(added[7]).toMatch(/^for=(?:[\d.]+|"\[[\da-f:.]+\]");host=(?:[\w.-]+|"[\w.:[\]-]+");proto=http$/i);
  },
);

fuzz(
  "a request's other fields keep their order and bytes, and only few are added",
  [parsedRequest, visitor, upgrade],
  (request, visitor, upgrade) => {
    const facts = factsOf(request);
    const fields = requestFields(request.rawHeaders, facts, { peer: peerOf(visitor), upgrade });
    expect(fields.length).toBeLessThanOrEqual(request.rawHeaders.length + 2 * (ADDED + 1));
    expect(parseFields(encodeFields(fields))).toEqual(fields);
    const changed = ["host", "connection", "upgrade"];
    const own = pairs(fields.slice(0, -2 * ADDED)).filter(([name]) => !changed.includes(name.toLowerCase()));
    expectInOrder(own, pairs(request.rawHeaders));
    const plain = pairs(request.rawHeaders).filter(([name]) => name === "X-A" || name === "Cookie");
    if (facts.connectionOptions.length === 0) expectInOrder(plain, own);
  },
);

const head = fc.record({
  status: fc.constantFrom(200, 204, 304, 404, 500),
  reason: fc.constant("OK"),
  fields: telltaleFields,
});

fuzz(
  "an answer's fields say nothing of the local connection, and stay when they go the same way again",
  [head, fc.boolean()],
  (head, chunked) => {
    const answer = answerFields(head, chunked);
    if (!answer) return;
    expect(lowerNames(answer.fields).filter((name) => HOP_BY_HOP.includes(name))).toEqual([]);
    expectInOrder(pairs(answer.fields), pairs(head.fields));
    const lengths = pairs(answer.fields).filter(([name]) => name.toLowerCase() === "content-length");
    expect(lengths.length).toBeLessThanOrEqual(1);
    if (lengths.length === 1) expect(answer.contentLength).toBe(Number(lengths[0]![1]));
    expect(answerFields({ ...head, fields: answer.fields }, chunked)?.fields).toEqual(answer.fields);
  },
);

fuzz(
  "the heads of 1xx answers and switches stay when they go the same way again",
  [telltaleFields],
  (fields) => {
    const interim = interimFields(fields);
    expect(
      lowerNames(interim).filter((name) => HOP_BY_HOP.includes(name) || name === "content-length"),
    ).toEqual([]);
    expect(interimFields(interim)).toEqual(interim);

    const switching = switchingFields(fields);
    expect(lowerNames(switching).filter((name) => name === "connection")).toHaveLength(1);
    expect(lowerNames(switching)).not.toContain("content-length");
    expect(lowerNames(switching)).not.toContain("transfer-encoding");
    expect(switchingFields(switching)).toEqual(switching);
  },
);

fuzz(
  "trailers neither frame nor route a message, nor speak of the visitor, in any spelling",
  [telltaleFields],
  (fields) => {
    const trailers = trailerFields(fields);
    if (!trailers) return;
    const names = canonicalNames(trailers);
    expect(
      names.filter(
        (name) => ["content-length", "host", ...HOP_BY_HOP].includes(name) || OF_THE_PEER.test(name),
      ),
    ).toEqual([]);
    expectInOrder(pairs(trailers), pairs(fields));
    expect(trailerFields(trailers)).toEqual(trailers);
  },
);

fuzz("an address has one spelling", [address, spelling], (octets, spelling) => {
  const plain = plainAddress(spell(octets, spelling));
  expect(plain).toBe(plainAddress(spell(octets, PLAIN)));
  expect(plainAddress(plain!)).toBe(plain);
});

fuzz(
  "text that is no address has no spelling",
  [fc.oneof(fc.string(), fc.domain(), fc.ipV4Extended())],
  (text) => {
    const plain = plainAddress(text);
    if (plain !== undefined) expect(plainAddress(plain)).toBe(plain);
  },
);

test("trailers lose what is about the connection in spellings with underscores too", () => {
  expect(trailerFields(["Proxy_Authenticate", "x", "keep_alive", "x", "X-Sum", "1"])).toEqual(["X-Sum", "1"]);
});

test.each(["::ffff:c000:201", "::FFFF:C000:0201", "0:0:0:0:0:ffff:192.0.2.1"])("%s is 192.0.2.1", (text) => {
  expect(plainAddress(text)).toBe("192.0.2.1");
});

/** Of requests that are refused there is nothing to forward. */
function factsOf(request: { rawHeaders: string[] }): RequestFacts {
  const facts = checkRequest(request as IncomingMessage, { maxFields: 256, defaultHost: "default.test" });
  fc.pre(!("status" in facts));
  return facts;
}

function isUpgrade(name: string, upgrade: string[]): boolean {
  return upgrade.length > 0 && (name === "upgrade" || name === "connection");
}

function isKept(name: string): boolean {
  return ["close", "keep-alive"].includes(name);
}

/** As what turns `_` into `-` would read them. */
function canonicalNames(fields: string[]): string[] {
  return lowerNames(fields).map((name) => name.replaceAll("_", "-"));
}

function lowerNames(fields: string[]): string[] {
  return pairs(fields).map(([name]) => name.toLowerCase());
}

function pairs(fields: string[]): [string, string][] {
  return fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]!] as [string, string]] : []));
}

/** All of `some` stand in `all`, in this order. */
function expectInOrder(some: [string, string][], all: [string, string][]): void {
  let at = 0;
  for (const [name, value] of some) {
    const found = all.findIndex(
      ([otherName, otherValue], i) => i >= at && otherName === name && otherValue === value,
    );
    expect(found, `${name}: ${value}`).toBeGreaterThanOrEqual(at);
    at = found + 1;
  }
}

import { isIPv4 } from "node:net";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { normalizeHostname, normalizeLabel, splitHostPort } from "../../../server/routing/hostname.ts";
import { fuzz } from "../../support/fuzz.ts";

const PIECES = [
  ["a", "A", "z", "0", "9", "127", "0x7f", "-", "--", "_", ".", "..", "xn--", "XN--"],
  ["xn--mnchen-3ya", "xn--a", "ü", "ß", "ς", "İ", "ı", "K", "ﬁ", "１", "．", "。", "\u00ad", "\u200d"],
  ["\u0301", "日本", "א", "ا", "🦆", "\u2100", "*", "@", ":", "/", "\\", "?", "#", "%", "%2e", ","],
  [" ", "\t", "\n", "\0", "[", "]", "\u00a0", "\ufeff"],
].flat();
const piece = fc.oneof(
  fc.constantFrom(...PIECES),
  fc.string({ unit: "grapheme", maxLength: 3 }),
  fc.constantFrom("a", "-", "1").map((character) => character.repeat(63)),
);
const text = fc.oneof(
  fc.domain(),
  fc.ipV4Extended(),
  fc.string({ unit: fc.constantFrom("a", "B", "1", "-", "_", "."), maxLength: 20 }),
  fc.array(piece, { maxLength: 7 }).map((pieces) => pieces.join("")),
  fc.string({ unit: "binary", maxLength: 20 }),
);

fuzz("a hostname in its one spelling has no other", [text], (text) => {
  const hostname = normalizeHostname(text);
  if (hostname === undefined) return;
  expect(normalizeHostname(hostname)).toBe(hostname);
  expect(normalizeHostname(`${hostname}.`)).toBe(hostname);
  expect(normalizeHostname(hostname.toUpperCase())).toBe(hostname);
});

fuzz("letters in either case name the same host", [text, fc.infiniteStream(fc.boolean())], (text, upper) => {
  const other = text.replaceAll(/[a-z]/gi, (letter) =>
    upper.next().value === true ? letter.toUpperCase() : letter.toLowerCase(),
  );
  expect(normalizeHostname(other)).toBe(normalizeHostname(text));
});

fuzz("a hostname holds nothing but labels, and means the same to a browser", [text], (text) => {
  const hostname = normalizeHostname(text);
  if (hostname === undefined) return;
  expect(hostname.length).toBeLessThanOrEqual(253);
  for (const label of hostname.split(".")) expect(label).toMatch(/^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/);
  expect(new URL(`http://${hostname}/`).hostname).toBe(hostname);
  // An address is what was written as one.
  if (isIPv4(hostname)) expect(text.replace(/\.$/, "")).toBe(hostname);
});

fuzz("a subdomain is one label, and the first of its hostname", [text], (text) => {
  const label = normalizeLabel(text);
  if (label === undefined) return;
  expect(label).toMatch(/^[a-z0-9-]{1,63}$/);
  expect(normalizeLabel(label)).toBe(label);
  expect(normalizeHostname(`${text}.example.com`)).toBe(`${label}.example.com`);
});

const hostField = fc.oneof(
  fc
    .tuple(
      text,
      fc.constantFrom("", ":", ":80", ":65535", ":65536", ":0080", ":-1", ":8 0", ":80:80", ":1e3"),
    )
    .map((parts) => parts.join("")),
  fc
    .tuple(
      fc.constantFrom("[", "", "[["),
      fc.oneof(fc.ipV6(), fc.ipV4(), text),
      fc.constantFrom("]", "", "]]", "]:80", "]80", "%25eth0]"),
    )
    .map((parts) => parts.join("")),
);

fuzz("a Host that is read has no second reading", [hostField], (field) => {
  const place = splitHostPort(field);
  if (!place) return;
  expect(field).toMatch(/^[\w.:[\]-]+$/);
  const { hostname, port } = place;
  expect(splitHostPort(hostname)).toEqual({ hostname });
  expect(splitHostPort(field.toUpperCase())).toEqual(place);
  if (!hostname.startsWith("[")) expect(normalizeHostname(hostname)).toBe(hostname);
  if (port === undefined) return;
  expect(port).toBeGreaterThanOrEqual(0);
  expect(port).toBeLessThanOrEqual(65_535);
  expect(splitHostPort(`${hostname}:${port}`)).toEqual(place);
});

fuzz("a Host is read as a browser reads the URL that it comes from", [hostField], (field) => {
  const place = splitHostPort(field);
  if (!place) return;
  const url = new URL(`http://${field}/`);
  expect(url.hostname.replace(/\.$/, "")).toBe(place.hostname);
  expect(url.port === "" ? 80 : Number(url.port)).toBe(place.port ?? 80);
});

test.each(["0x0", "0x", "a.0x7f", "0.0.0.0x0"])("%s, an address to a browser, is no hostname", (text) => {
  expect(normalizeHostname(text)).toBeUndefined();
  expect(splitHostPort(text)).toBeUndefined();
});

import { expect, test } from "vitest";
import { nearest } from "../../runtime/nearest.ts";

const OPTIONS = ["listen", "public_address", "port", "hostnames", "hostname", "tls", "key"];

test.each([
  ["prot", "port"],
  ["listne", "listen"],
  ["publicAddress", "public_address"],
  ["Public-Address", "public_address"],
  ["hostnams", "hostnames"],
  ["hostnme", "hostname"],
  ["TLS", "tls"],
  ["kye", "key"],
  ["host", "hostnames"],
  ["public", "public_address"],
])("%s is probably %s", (word, meant) => {
  expect(nearest(word, OPTIONS)).toBe(meant);
});

test.each(["zebra", "", "x", "pu", "x".repeat(100_000)])("%s is nothing known", (word) => {
  expect(nearest(word, OPTIONS)).toBeUndefined();
});

import { expect, test } from "vitest";
import {
  normalizeHostname,
  normalizePublicName,
  normalizeSubdomain,
  splitHostPort,
  wildcardsOver,
} from "../../../server/routing/hostname.ts";

test.each([
  ["app.example.com", "app.example.com"],
  ["APP.Example.COM", "app.example.com"],
  ["app.example.com.", "app.example.com"],
  ["localhost", "localhost"],
  ["my_app.local", "my_app.local"],
  ["r3---sn.example.com", "r3---sn.example.com"],
  ["münchen.example", "xn--mnchen-3ya.example"],
  ["MÜNCHEN.example.", "xn--mnchen-3ya.example"],
  ["XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example"],
  ["ｅｘａｍｐｌｅ。com", "example.com"],
  ["127.0.0.1", "127.0.0.1"],
  ["8080.localhost", "8080.localhost"],
  [`${"a".repeat(63)}.com`, `${"a".repeat(63)}.com`],
  [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
  [`${"a.".repeat(126)}a.`, `${"a.".repeat(126)}a`],
])("%s has one spelling", (text, hostname) => {
  expect(normalizeHostname(text)).toBe(hostname);
});

test.each([
  "",
  ".",
  "..",
  ".com",
  "a..b",
  "a.com..",
  "*",
  "*.example.com",
  "a b",
  " a",
  "a ",
  "a,b",
  "a@b",
  "a/b",
  "a\\b",
  "a:80",
  "a?b",
  "a#b",
  "a%62",
  "%61",
  "a\tb",
  "a\n",
  "a\u0000b",
  "a\u007fb",
  "-a.com",
  "a-.com",
  "ä b.com",
  "ä/b.com",
  "ä:80",
  "ä@b.com",
  "ä%2e.com",
  "\u00a0.com",
  "[::1]",
  "::1",
  "1.2.3",
  "256.1.1.1",
  "01.2.3.4",
  "example.1",
  "8080",
  "xn--a.com",
  "xn--a-.com",
  "xn--.com",
  "a\u2100.com",
  "a.com\u2028",
  `${"a".repeat(64)}.com`,
  `${"a.".repeat(126)}aa`,
  "a".repeat(1_000_000),
  "ä".repeat(1_000_000),
  "a-".repeat(500_000),
])("%j is no hostname", (text) => {
  expect(normalizeHostname(text)).toBeUndefined();
});

test("full-width digits do not make an address", () => {
  expect(normalizeHostname("１２７.1")).toBe(undefined);
});

test("what is normalised stays as it is", () => {
  for (const name of ["app.example.com", "xn--mnchen-3ya.example", "127.0.0.1", "my_app.local"]) {
    expect(normalizeHostname(name)).toBe(name);
  }
});

test("a subdomain is one label of letters, digits and hyphens", () => {
  expect(normalizeSubdomain("App-1")).toBe("app-1");
  expect(normalizeSubdomain("2048-game")).toBe("2048-game");
  expect(normalizeSubdomain("münchen")).toBe("xn--mnchen-3ya");
  expect(normalizeHostname("2048.localhost")).toBe("2048.localhost");
  for (const text of ["", "2048", "a.b", "a_b", "a.", "-a", "a-", "*", "a b", "a".repeat(64), "ä。b"]) {
    expect(normalizeSubdomain(text)).toBeUndefined();
  }
});

test.each([
  ["app.example.com", { hostname: "app.example.com" }],
  ["App.Example.com.:8080", { hostname: "app.example.com", port: 8080 }],
  ["app.example.com:", { hostname: "app.example.com" }],
  ["app.example.com:0080", { hostname: "app.example.com", port: 80 }],
  ["1.2.3.4:80", { hostname: "1.2.3.4", port: 80 }],
  ["[::1]", { hostname: "[::1]" }],
  ["[::1]:8080", { hostname: "[::1]", port: 8080 }],
  ["[0:0:0:0:0:0:0:1]:", { hostname: "[::1]" }],
  ["[2001:DB8::A]:1", { hostname: "[2001:db8::a]", port: 1 }],
])("Host: %s is read", (header, expected) => {
  expect(splitHostPort(header)).toEqual(expected);
});

test.each([
  "",
  ":",
  ":80",
  "a:b",
  "a:80:80",
  "a:-1",
  "a:+1",
  "a: 80",
  "a:80 ",
  "a:1e3",
  "a:65536",
  "a:000080",
  "a, b",
  "a,b",
  "a b",
  "user@a",
  "user:password@a",
  "a@b:80",
  "a/b",
  "a:80/b",
  "http://a",
  "a?b",
  "a#b",
  "a%20b",
  "münchen.example",
  "m\u00c3\u00bcnchen.example",
  "*",
  "::1",
  "[]",
  "[",
  "]",
  "[::1",
  "[::1]80",
  "[::1]:x",
  "[::1]:80:80",
  "[::1%eth0]",
  "[::1%25eth0]",
  "[::g]",
  "[1.2.3.4]",
  "[v1.a]",
  "[::1].com",
  "x[::1]",
])("Host: %j is refused", (header) => {
  expect(splitHostPort(header)).toBeUndefined();
});

test.each([
  ["*", "*"],
  ["*.Example.COM.", "*.example.com"],
  ["*.localhost", "*.localhost"],
  ["*.münchen.example", "*.xn--mnchen-3ya.example"],
  ["App.example.com", "app.example.com"],
])("%s is a public name", (text, name) => {
  expect(normalizePublicName(text)).toBe(name);
});

test.each([
  "",
  "*.",
  "**",
  "*.*",
  "*.*.com",
  "a.*",
  "*a.com",
  "*.127.0.0.1",
  "*.a:80",
  `*.${"a.".repeat(126)}a`,
])("%s is no public name", (text) => {
  expect(normalizePublicName(text)).toBeUndefined();
});

test("the wildcards over a name are the closest first, and none over a single label", () => {
  expect([...wildcardsOver("a.b.example.com")]).toEqual(["*.b.example.com", "*.example.com", "*.com"]);
  expect([...wildcardsOver("*.example.com")]).toEqual(["*.com"]);
  expect([...wildcardsOver("localhost")]).toEqual([]);
});

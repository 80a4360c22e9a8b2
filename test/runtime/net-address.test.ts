import { expect, test } from "vitest";
import {
  formatAddress,
  parseListenAddress,
  parseServerAddress,
  parseTargetAddress,
} from "../../runtime/net-address.ts";

test.each([
  [":8080", { port: 8080 }],
  ["8080", { port: 8080 }],
  [":0", { port: 0 }],
  ["0", { port: 0 }],
  ["127.0.0.1:8080", { host: "127.0.0.1", port: 8080 }],
  ["localhost:65535", { host: "localhost", port: 65535 }],
  ["[::1]:80", { host: "::1", port: 80 }],
  ["[::]:80", { host: "::", port: 80 }],
])("one can listen on %s", (text, address) => {
  expect(parseListenAddress(text)).toEqual(address);
});

test.each([
  ["3000", { host: "localhost", port: 3000 }],
  [":3000", { host: "localhost", port: 3000 }],
  ["127.0.0.1:3000", { host: "127.0.0.1", port: 3000 }],
  ["localhost:3000", { host: "localhost", port: 3000 }],
  ["my_service.local.:1", { host: "my_service.local.", port: 1 }],
  ["[fe80::1%eth0]:80", { host: "fe80::1%eth0", port: 80 }],
])("%s is a target", (text, address) => {
  expect(parseTargetAddress(text)).toEqual(address);
});

test("a server's address has a host and a port", () => {
  expect(parseServerAddress("tunnel.example.com:7000")).toEqual({ host: "tunnel.example.com", port: 7000 });
  expect(parseServerAddress("7000")).toBe("expected HOST:PORT such as tunnel.example.com:7000");
  expect(parseServerAddress(":7000")).toBe("expected HOST:PORT such as tunnel.example.com:7000");
  expect(parseServerAddress("tunnel.example.com")).toBe("expected HOST:PORT such as tunnel.example.com:7000");
});

test.each([
  "",
  ":",
  "localhost",
  "localhost:",
  "a b:80",
  "a/b:80",
  "a@b:80",
  "-a:80",
  "a..b:80",
  ".a:80",
  "300.1.1.1:80",
  "1.2:80",
  "[localhost]:80",
  "[::1]",
  "[]:80",
  "[::1:80",
  "[::1]80",
  "x:8o",
  "0x7f000001:80",
  "a.0x7f:80",
  "x:+80",
  "x:-1",
  "x:80 ",
  "x:80\n",
  `${"a".repeat(64)}:80`,
  `${"a.".repeat(127)}a:80`,
])("%j is no target, and what was expected is said", (text) => {
  expect(parseTargetAddress(text)).toMatch(/^expected HOST:PORT such as 127\.0\.0\.1:3000/);
});

test("common slips are named", () => {
  expect(parseTargetAddress("http://127.0.0.1:3000")).toMatch(/, without http:\/\/$/);
  expect(parseTargetAddress("::1:3000")).toMatch(/an IPv6 address stands in brackets/);
  expect(parseListenAddress("::1")).toMatch(/an IPv6 address stands in brackets/);
  expect(parseTargetAddress("127.0.0.1:0")).toMatch(/a port is 1 to 65535$/);
  expect(parseListenAddress(":65536")).toMatch(/a port is 0 to 65535$/);
  expect(parseListenAddress(`:${"9".repeat(400)}`)).toMatch(/a port is 0 to 65535$/);
});

test.each([":8080", "127.0.0.1:8080", "[::1]:8080", "localhost:0"])(
  "%s is formatted as it was read",
  (text) => {
    const parsed = parseListenAddress(text);
    if (typeof parsed === "string") throw new Error(parsed);
    expect(formatAddress(parsed)).toBe(text);
  },
);

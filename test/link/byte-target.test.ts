import { expect, test } from "vitest";
import {
  formatTargetRange,
  parseTcpTarget,
  parseTlsTarget,
  parseUdpTarget,
  type TargetRange,
} from "../../link/byte-target.ts";

const RANGES: [text: string, range: TargetRange, formatted?: string][] = [
  ["22", { target: { host: "localhost", port: 22 }, ports: 1 }, "localhost:22"],
  ["192.168.1.10:3389", { target: { host: "192.168.1.10", port: 3389 }, ports: 1 }],
  ["6000-6010", { target: { host: "localhost", port: 6000 }, ports: 11 }, "localhost:6000-6010"],
  ["my-1.lan:6000-6999", { target: { host: "my-1.lan", port: 6000 }, ports: 1_000 }],
  ["[fd00::1]:65534-65535", { target: { host: "fd00::1", port: 65_534 }, ports: 2 }],
  ["7-7", { target: { host: "localhost", port: 7 }, ports: 1 }, "localhost:7"],
];

test.each(RANGES)("%s is a target of TCP and UDP, and is written so", (text, range, formatted = text) => {
  expect(parseTcpTarget(text)).toEqual(range);
  expect(parseUdpTarget(text)).toEqual(range);
  expect(formatTargetRange(range)).toBe(formatted);
});

test("a UNIX socket is a target of TCP and TLS, whatever its path ends with", () => {
  for (const path of ["/run/app.sock", "/run/app:60-70"]) {
    expect(parseTcpTarget(`unix:${path}`)).toEqual({ target: { path }, ports: 1 });
    expect(parseTlsTarget(`unix:${path}`)).toEqual({ path });
    expect(formatTargetRange({ target: { path }, ports: 1 })).toBe(`unix:${path}`);
  }
});

test("a target of TLS has one port", () => {
  expect(parseTlsTarget("443")).toEqual({ host: "localhost", port: 443 });
  expect(parseTlsTarget("nas.lan:443-443")).toEqual({ host: "nas.lan", port: 443 });
  expect(parseTlsTarget("443-444")).toBe(
    "expected HOST:PORT such as 127.0.0.1:3000, with one port since all visitors of a hostname go to the same",
  );
});

const expected = "expected HOST:PORT such as 127.0.0.1:3000";

test.each([
  ["", expected],
  ["nas", expected],
  ["a b:1-2", expected],
  ["6000-", expected],
  ["1-2-3", expected],
  ["https://nas:443", `${expected}, without https:// since the bytes pass untouched`],
  ["HTTP://nas", `${expected}, without HTTP:// since the bytes pass untouched`],
  ["tcp://nas:1-2", `${expected}, without tcp:// since the bytes pass untouched`],
  ["0", `${expected}; a port is 1 to 65535`],
  ["0-2", `${expected}; a port is 1 to 65535`],
  ["fd00::1-2", `${expected}; an IPv6 address stands in brackets, such as [::1]:3000`],
  ["2-1", "expected a port such as 2222, or several such as 6000-6010, the lower one first"],
  ["65535-65536", "expected a port such as 2222, or several such as 6000-6010; a port is 1 to 65535"],
  ["1-1001", "expected at most 1000 ports: a tunnel has no more"],
])("%s is none: %s", (text, message) => {
  for (const parse of [parseTcpTarget, parseUdpTarget, parseTlsTarget]) expect(parse(text)).toBe(message);
});

test("a UNIX socket is no target of UDP", () => {
  expect(parseUdpTarget("unix:/run/app.sock")).toBe(
    `${expected}, since UDP goes to ports and not to UNIX sockets`,
  );
});

import { expect, test } from "vitest";
import { parsePortRange, portsIn } from "../../link/port-range.ts";

test.each([
  ["1", { from: 1, to: 1 }, 1],
  ["2222", { from: 2222, to: 2222 }, 1],
  ["6000-6010", { from: 6000, to: 6010 }, 11],
  ["1-65535", { from: 1, to: 65_535 }, 65_535],
])("%s is a range of ports, its last among them", (text, range, ports) => {
  expect(parsePortRange(text)).toEqual(range);
  expect(portsIn(range)).toBe(ports);
});

const expected = "expected a port such as 2222, or several such as 6000-6010";

test.each<[string, string]>([
  ...["", "x", "-1", "1-", "-", "1-2-3", "1 - 2", "0x10", "1e3", "1.5", "２"].map(
    (text): [string, string] => [text, expected],
  ),
  ["0", `${expected}; a port is 1 to 65535`],
  ["0-2", `${expected}; a port is 1 to 65535`],
  ["65536", `${expected}; a port is 1 to 65535`],
  ["1-65536", `${expected}; a port is 1 to 65535`],
  [`1-${"9".repeat(400)}`, `${expected}; a port is 1 to 65535`],
  ["6010-6000", `${expected}, the lower one first`],
])("%s is none: %s", (text, message) => {
  expect(parsePortRange(text)).toBe(message);
});

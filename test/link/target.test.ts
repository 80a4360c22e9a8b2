import { expect, test } from "vitest";
import { formatTarget, hostOf, parseTarget, type Target } from "../../link/target.ts";

test.each<[string, Target, string, string]>([
  ["3000", { host: "localhost", port: 3000 }, "localhost:3000", "localhost:3000"],
  ["localhost:80", { host: "localhost", port: 80 }, "localhost:80", "localhost"],
  ["[::1]:443", { host: "::1", port: 443 }, "[::1]:443", "[::1]:443"],
  ["http://localhost", { host: "localhost", port: 80 }, "localhost:80", "localhost"],
  ["http://nas.lan:3000/", { host: "nas.lan", port: 3000 }, "nas.lan:3000", "nas.lan:3000"],
  ["HTTP://[::1]", { host: "::1", port: 80 }, "[::1]:80", "[::1]"],
  ["https://10.0.0.5", { host: "10.0.0.5", port: 443, tls: true }, "https://10.0.0.5:443", "10.0.0.5"],
  ["https://:8443", { host: "localhost", port: 8443, tls: true }, "https://localhost:8443", "localhost:8443"],
  ["Https://nas.lan/", { host: "nas.lan", port: 443, tls: true }, "https://nas.lan:443", "nas.lan"],
  ["https://nas.lan:80", { host: "nas.lan", port: 80, tls: true }, "https://nas.lan:80", "nas.lan:80"],
  [
    "https://[fd00::5]:8443",
    { host: "fd00::5", port: 8443, tls: true },
    "https://[fd00::5]:8443",
    "[fd00::5]:8443",
  ],
  ["https://[fd00::5]", { host: "fd00::5", port: 443, tls: true }, "https://[fd00::5]:443", "[fd00::5]"],
  ["unix:/run/app.sock", { path: "/run/app.sock" }, "unix:/run/app.sock", "localhost"],
  ["unix:///run/my app@1.sock", { path: "/run/my app@1.sock" }, "unix:/run/my app@1.sock", "localhost"],
])("%s is read", (text, target, written, host) => {
  expect(parseTarget(text)).toEqual(target);
  expect(formatTarget(target)).toBe(written);
  expect(parseTarget(written)).toEqual(target);
  expect(hostOf(target)).toBe(host);
});

test.each([
  ["", "expected HOST:PORT"],
  ["nas.lan", "expected HOST:PORT"],
  ["ftp://nas.lan:21", "without ftp://"],
  ["https://", "expected a target without a path"],
  ["https:///", "expected a target without a path"],
  ["https://nas.lan/admin", "expected a target without a path"],
  ["https://nas.lan?a", "expected a target without a path"],
  ["https://nas.lan#a", "expected a target without a path"],
  ["https://user@nas.lan", "expected a target without a path"],
  ["https://nas.lan:", "expected HOST:PORT"],
  ["https://nas.lan:0", "a port is 1 to 65535"],
  ["https://nas.lan:70000", "a port is 1 to 65535"],
  ["https://::1", "in brackets"],
  ["https://a b", "expected HOST:PORT"],
  ["http://nas.lan\n", "expected"],
  ["unix:", "expected a UNIX socket"],
  ["unix:run/app.sock", "with an absolute path"],
  ["unix://run/app.sock", "with an absolute path"],
  ["unix:/", "expected a UNIX socket"],
  ["unix:/run/apps/", "expected a UNIX socket"],
  ["unix:/run/../etc/x", "expected a UNIX socket"],
  ["unix:/run/..", "expected a UNIX socket"],
  ["unix:/run/a\0b", "expected a UNIX socket"],
  ["unix:/run/a\nb", "expected a UNIX socket"],
  ["unix:\0abstract", "with an absolute path"],
  [`unix:/${"x".repeat(107)}`, "at most 107 bytes"],
  [`unix:/${"\u00e9".repeat(54)}`, "at most 107 bytes"],
])("%j is no target", (text, expected) => {
  expect(parseTarget(text)).toContain(expected);
});

test("a path of 107 bytes is one", () => {
  const path = `/${"x".repeat(106)}`;
  expect(parseTarget(`unix:${path}`)).toEqual({ path });
});

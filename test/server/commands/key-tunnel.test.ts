import { expect, test } from "vitest";
import { parseTunnels } from "../../../server/commands/key-tunnel.ts";

test.each([
  ["web=https://10.0.0.5@app", "app.example.com", "https://10.0.0.5:443"],
  ["web=https://[fd00::5]:8443@App.Example.ORG", "app.example.org", "https://[fd00::5]:8443"],
  ["web=http://localhost", "web.example.com", "localhost:80"],
  ["web=unix:/run/app.sock", "web.example.com", "unix:/run/app.sock"],
  ["web=unix:///run/app.sock@*", "*", "unix:/run/app.sock"],
  ["web=unix:/run/app@1=a.sock@app", "app.example.com", "unix:/run/app@1=a.sock"],
])("%s maps a tunnel", (text, hostname, target) => {
  expect(parseTunnels([text], "example.com")).toEqual([{ name: "web", kind: "HTTP", hostname, target }]);
});

test.each([
  ["web=http:3000@app", { kind: "HTTP", hostname: "app.example.com", target: "localhost:3000" }],
  ["web=http:http://nas", { kind: "HTTP", hostname: "web.example.com", target: "nas:80" }],
  ["web=http://nas:81", { kind: "HTTP", hostname: "web.example.com", target: "nas:81" }],
  // A machine called "tcp".
  ["web=http:tcp:22", { kind: "HTTP", hostname: "web.example.com", target: "tcp:22" }],
  [
    "web=tls:127.0.0.1:993@Mail.Example.ORG",
    { kind: "TLS", hostname: "mail.example.org", target: "127.0.0.1:993" },
  ],
  ["web=tls:unix:/run/x", { kind: "TLS", hostname: "web.example.com", target: "unix:/run/x" }],
  ["web=tcp:22@2222", { kind: "TCP", port: 2222, ports: 1, target: "localhost:22" }],
  ["web=tcp:22", { kind: "TCP", port: 0, ports: 1, target: "localhost:22" }],
  ["web=tcp:22@0", { kind: "TCP", port: 0, ports: 1, target: "localhost:22" }],
  ["web=tcp:tcp:22@1", { kind: "TCP", port: 1, ports: 1, target: "tcp:22" }],
  ["web=tcp:unix:/run/a@b@0", { kind: "TCP", port: 0, ports: 1, target: "unix:/run/a@b" }],
  ["web=tcp:[::1]:6000-6010@7000-7010", { kind: "TCP", port: 7000, ports: 11, target: "[::1]:6000" }],
  ["web=tcp:6000@7000-7010", { kind: "TCP", port: 7000, ports: 11, target: "localhost:6000" }],
  ["web=udp:27015@27015", { kind: "UDP", port: 27_015, ports: 1, target: "localhost:27015" }],
  ["web=udp:nas:6000-6010", { kind: "UDP", port: 0, ports: 11, target: "nas:6000" }],
])("%s maps a tunnel of its kind", (text, tunnel) => {
  expect(parseTunnels([text], "example.com")).toEqual([{ name: "web", ...tunnel }]);
});

test.each([
  ["web=tcp:22@ssh", 'behind the "@": expected a port such as 2222, or several such as 6000-6010'],
  ["web=tcp:22@", 'behind the "@"'],
  ["web=tcp:22@70000", 'behind the "@"'],
  ["web=tcp:22@9-8", 'behind the "@"'],
  ["web=tcp:", "expected HOST:PORT"],
  ["web=tcp:https://nas", "without https://"],
  ["web=tls:https://nas@a.org", "without https://"],
  ["web=tls:1-2@a.org", "expected HOST:PORT"],
  ["web=tls:1@a b", 'behind the "@"'],
  ["web=udp:unix:/run/x@1", "UDP goes to ports"],
  ["web=tcp:1-3@1-2", "the target has 3 ports, and the tunnel 2"],
  ["web=tcp:unix:/run/x@1-2", "a UNIX socket has no ports"],
  ["web=udp:1-1001", "expected at most 1000 ports"],
  ["web=udp:1@1-1001", "one tunnel may have 1000 ports, and these are 1001: make it several"],
  ["web=udp:65535@1-2", "the target's ports would end at 65536"],
  ["web=https://10.0.0.5/path@app", "expected a target without a path"],
  ["web=unix:app.sock@app", "with an absolute path"],
  ["web=unix:/run/apps/@app", "expected a UNIX socket"],
  ["web=3000@app@other", "expected HOST:PORT"],
  ["web=", "expected HOST:PORT"],
  ["ssh=22@2222", "a number is no subdomain; for a public port write ssh=tcp:22@2222 (or udp:)"],
  ["ssh=unix:/run/x@2222", "write ssh=tcp:unix:/run/x@2222"],
  ["mail=tls:993@2222", 'a subdomain such as app, or "*" behind the "@"'],
])("%s is refused", (text, expected) => {
  expect(() => parseTunnels([text], "example.com")).toThrow(expected);
});

test.each([
  [["a=tcp:1@5-9", "b=tcp:1@7"], '"tcp:7" is given twice'],
  [["a=tls:1@x.org", "b=tls:1@x.org"], '"tls:x.org" is given twice'],
])("an address is given once of each kind: %j", (texts, expected) => {
  expect(() => parseTunnels(texts, "example.com")).toThrow(expected);
});

test("one port of each kind, one hostname of each kind, and any number of free ports are no mistake", () => {
  const texts = ["a=tcp:1@5", "b=udp:1@5", "c=tls:1@x.org", "d=http:1@x.org", "e=tcp:1", "f=tcp:1"];
  expect(parseTunnels(texts, "example.com")).toHaveLength(6);
});

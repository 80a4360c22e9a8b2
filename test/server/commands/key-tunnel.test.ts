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
  ["web=https://10.0.0.5/path@app", "expected a target without a path"],
  ["web=unix:app.sock@app", "with an absolute path"],
  ["web=unix:/run/apps/@app", "expected a UNIX socket"],
  ["web=3000@app@other", "expected HOST:PORT"],
  ["web=", "expected HOST:PORT"],
])("%s is refused", (text, expected) => {
  expect(() => parseTunnels([text], "example.com")).toThrow(expected);
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkCommand } from "../../../server/commands/check.ts";

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "check-"));
  file = path.join(directory, "config.yaml");
});
afterEach(() => rmSync(directory, { recursive: true }));

function check(text: string, env: NodeJS.ProcessEnv = {}) {
  writeFileSync(file, text, { mode: 0o600 });
  let output = "";
  const exitCode = checkCommand(file, { write: (part) => (output += part) }, env);
  return { exitCode, output };
}

test("a fine file is summed up, without its secrets", () => {
  const { exitCode, output } = check(
    `http: { domain: example.com }
grpc: { public_address: "tunnel.example.com:7000", tls: off }
data_dir: /var/lib/culvert
keys:
  - name: home
    secret: \${KEY}
    hostnames: ["*"]
    tunnels: [{ name: web, type: http, target: 3000 }]
`,
    { KEY: "s".repeat(30) },
  );
  expect(exitCode).toBe(0);
  expect(output).toBe(`${file}: fine
  http      :8080, domain example.com
  grpc      :7000, public address tunnel.example.com:7000, tls off
  data_dir  /var/lib/culvert
  keys      1, with 1 tunnel
    home: secret ******, hostnames * web.example.com
      web: http web.example.com -> 127.0.0.1:3000
`);
});

test("warnings follow the summary", () => {
  writeFileSync(path.join(directory, "key"), "s".repeat(30), { mode: 0o644 });
  const { exitCode, output } = check("keys: [{ name: a, secret_file: key }]");
  expect(exitCode).toBe(0);
  expect(output).toMatch(/^.*: fine\n[^]*\nwarning: keys\[0\]\.secret_file: every user/);
});

test("problems are listed, and the exit code is 2", () => {
  expect(check("http: { prot: 1 }\nkeys: 3\n")).toEqual({
    exitCode: 2,
    output: `${file}:1:9  http.prot: unknown option. Known here: listen, domain, public_url, trusted_proxies, hold_ms, timeout_ms\n${file}:2:7  keys: expected a list, got 3\n`,
  });
});

test("a file that is not there is a problem too", () => {
  let output = "";
  expect(checkCommand(path.join(directory, "none"), { write: (part) => (output += part) }, {})).toBe(2);
  expect(output).toMatch(/none: cannot be read: no such file or directory/);
});

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
tcp: { listen: 203.0.113.7 }
udp: { ports: none }
tls: { listen: ":8443" }
data_dir: /var/lib/culvert
keys:
  - name: home
    secret: \${KEY}
    hostnames: ["*"]
    ports: [2200, 6000-6010]
    tunnels:
      - { name: web, type: http, target: 3000 }
      - { name: ssh, type: tcp, port: 2222, target: 22, proxy_protocol: v2, connections: 5, connections_per_visitor: 2 }
      - { name: range, type: udp, ports: 7100-7102, target: "nas:6000", idle_timeout_ms: 9, bytes_per_second: 1000 }
      - { name: any, type: tcp, target: 1-3 }
      - { name: mail, type: tls, target: 993 }
`,
    { KEY: "s".repeat(30) },
  );
  expect(exitCode).toBe(0);
  expect(output).toBe(`${file}: fine
  http      :8080, domain example.com
  grpc      :7000, public address tunnel.example.com:7000, tls off
  tcp       203.0.113.7, free ports 20000-29999
  udp       all addresses, free ports none
  tls       :8443
  data_dir  /var/lib/culvert
  keys      1, with 5 tunnels
    home: secret ******, hostnames * web.example.com mail.example.com, ports 2200 6000-6010
      web: http web.example.com -> localhost:3000
      ssh: tcp port 2222 -> localhost:22, proxy_protocol v2, connections 5, connections_per_visitor 2
      range: udp ports 7100-7102 -> nas:6000-6002, idle_timeout_ms 9, bytes_per_second 1000
      any: tcp any 3 free ports -> localhost:1-3
      mail: tls mail.example.com -> localhost:993
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

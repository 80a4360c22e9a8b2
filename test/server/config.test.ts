import { placeInWords } from "../../server/routing/place.ts";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "../../runtime/config-error.ts";
import { loadServerConfig, type ServerOverrides } from "../../server/config.ts";
import { makeCertificate } from "../support/certificates.ts";

const SECRET = "abcdefghij_ABCDEFGHIJ_0123";

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "server-config-"));
  file = path.join(directory, "config.yaml");
});
afterEach(() => rmSync(directory, { recursive: true }));

function load(text: string, env: NodeJS.ProcessEnv = {}, overrides: ServerOverrides = {}) {
  write("config.yaml", text);
  return loadServerConfig(file, { HOME: "/home/ada", STATE_DIRECTORY: "/state", ...env }, overrides);
}

function write(name: string, text: string, mode = 0o600): void {
  writeFileSync(path.join(directory, name), text);
  chmodSync(path.join(directory, name), mode);
}

function problemsOf(text: string, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    load(text, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.replaceAll(`${directory}/`, "").split("\n");
  }
  throw new Error("the file was read without a problem");
}

/** A key whose options besides name and secret are those given. */
const key = (name: string, options = "") => `  - name: ${name}\n    secret: ${SECRET}\n${options}`;

test("without a file the defaults hold, and an empty file is the same", () => {
  const { config, warnings } = loadServerConfig(undefined, { STATE_DIRECTORY: "/state" });
  expect(config).toEqual({
    http: {
      listen: { port: 8080 },
      domain: "localhost",
      trustedProxies: [],
      holdMs: 3_000,
      timeoutMs: 120_000,
    },
    grpc: { listen: { port: 7000 }, tls: "auto" },
    tcp: { ports: { from: 20_000, to: 29_999 }, trustedProxies: [] },
    udp: { ports: { from: 20_000, to: 29_999 } },
    dataDir: "/state",
    limits: {
      headBytes: 32_768,
      headFields: 256,
      headTimeoutMs: 60_000,
      idleTimeoutMs: 75_000,
      stalledTimeoutMs: 600_000,
      bodyBytes: Infinity,
      connections: 16_000,
      connectionsPerVisitor: 12_000,
      requestsPerTunnel: 16_000,
      requestsPerKey: 16_000,
      requestsPerVisitor: 12_000,
      sessionsPerKey: 2_000,
      sessionsPerAddress: 4_000,
      streamsPerSession: 16_000,
      unreadBytes: 268_435_456,
    },
    keys: [],
  });
  expect(warnings).toEqual([]);
  expect(load("").config).toEqual(config);
  expect(load("http:\ngrpc:\n  listen:\nkeys:\n").config).toEqual(config);
});

test("config.example.yaml is read without a problem", () => {
  copyFileSync("config.example.yaml", file);
  write("office.key", `${SECRET}\n`);
  const { config, warnings } = loadServerConfig(file, { HOME_KEY: "h".repeat(22) });
  expect(warnings).toEqual([]);
  const { config: defaults } = loadServerConfig(undefined, { STATE_DIRECTORY: "/state" });
  // The file shows each option with its default.
  expect(config.limits).toEqual(defaults.limits);
  expect(config).toEqual({
    http: { ...defaults.http, domain: "example.com" },
    limits: defaults.limits,
    grpc: { listen: { port: 7000 }, publicAddress: { host: "tunnel.example.com", port: 7000 }, tls: "auto" },
    tcp: { ports: { from: 20_000, to: 29_999 }, trustedProxies: [] },
    udp: { ports: { from: 20_000, to: 29_999 } },
    dataDir: "/var/lib/culvert",
    keys: [
      {
        name: "home",
        secret: "h".repeat(22),
        hostnames: ["app.example.com", "*", "blog.example.com"],
        tunnels: [
          { name: "web", kind: "HTTP", hostname: "app.example.com", target: "127.0.0.1:3000" },
          { name: "blog", kind: "HTTP", hostname: "blog.example.com", target: "localhost:2368" },
          { name: "any", kind: "HTTP", hostname: "*", target: "127.0.0.1:8000" },
        ],
      },
      {
        name: "office",
        secret: SECRET,
        hostnames: ["*.office.example.com", "wiki.example.com"],
        tunnels: [
          { name: "wiki", kind: "HTTP", hostname: "wiki.example.com", target: "192.168.1.20:80" },
          {
            name: "branches",
            kind: "HTTP",
            hostname: "*.office.example.com",
            target: "https://192.168.1.30:443",
            targetTls: { insecure: true, ca: "", serverName: "" },
            hostHeader: "target",
            timeoutMs: 600_000,
          },
        ],
      },
    ],
  });
});

test("the command line comes before the file, and the file before the environment", () => {
  const text = "data_dir: state\ngrpc: { public_address: 'a:1' }\n";
  expect(load(text).config.dataDir).toBe(path.join(directory, "state"));
  const { config } = load(text, {}, { dataDir: "/srv/x", publicAddress: "b:2" });
  expect(config.dataDir).toBe("/srv/x");
  expect(config.grpc.publicAddress).toEqual({ host: "b", port: 2 });
  expect(() => load(text, {}, { publicAddress: "nowhere" })).toThrow(
    'command line: --public-address: expected HOST:PORT such as tunnel.example.com:7000, got "nowhere"',
  );
});

test("certificate files are found from the config file, and must be readable", () => {
  write("cert.pem", "");
  write("key.pem", "");
  expect(load("grpc: { tls: { cert: cert.pem, key: ./key.pem } }").config.grpc.tls).toEqual({
    cert: path.join(directory, "cert.pem"),
    key: path.join(directory, "key.pem"),
  });
  expect(load("grpc:\n  tls: off\n").config.grpc.tls).toBe("off");
  expect(problemsOf("grpc: { tls: { cert: none.pem, key: -----BEGIN } }")).toEqual([
    'config.yaml:1:22  grpc.tls.cert: expected a file that can be read (no such file or directory), got "none.pem"',
    "config.yaml:1:37  grpc.tls.key: expected a file that can be read (no such file or directory), got ******",
  ]);
  expect(problemsOf("grpc: { tls: { cert: cert.pem } }")).toEqual([
    "config.yaml:1:14  grpc.tls.key: missing: expected the path of a file",
  ]);
  expect(problemsOf("grpc: { tls: true }")).toEqual([
    "config.yaml:1:14  grpc.tls: expected auto, off or { cert: FILE, key: FILE }, got true",
  ]);
});

test.each([
  ["http: { listen: 'x' }", "1:17  http.listen: expected an address and port such as :8080"],
  ["http: { listen: 80000 }", "1:17  http.listen: expected an address and port such as :8080"],
  ["http: { domain: .example.com }", "1:17  http.domain: expected a domain such as example.com"],
  ["http: { domain: '*.example.com' }", "1:17  http.domain: expected a domain"],
  ["http: { domain: 203.0.113.7 }", "1:17  http.domain: expected a domain"],
  ["grpc: { public_address: example.com }", "1:25  grpc.public_address: expected HOST:PORT"],
  ["grpc: { listen: ':8080' }", "1:17  grpc.listen: port 8080 is taken by http.listen"],
  ["http: { public_url: 'https://x/y' }", "1:21  http.public_url: expected a URL without a path"],
  ["http: { public_url: x.org }", "1:21  http.public_url: expected a URL without a path"],
  ["http: { public_url: 'https://u@x.org' }", "1:21  http.public_url: expected a URL without a path"],
  ["http: { trusted_proxies: [10.0.0.0/33] }", "1:27  http.trusted_proxies[0]: expected an address or range"],
  ["http: { trusted_proxies: [proxy.org] }", "1:27  http.trusted_proxies[0]: expected an address or range"],
  ["http: { hold_ms: -1 }", "1:18  http.hold_ms: "],
  ["http: { timeout_ms: 0 }", "1:21  http.timeout_ms: "],
  ["limits: { body_bytes: many }", "1:23  limits.body_bytes: expected a number of bytes, or none"],
  ["limits: { head_bytes: 100 }", "1:23  limits.head_bytes: "],
  [
    "limits: { requests_per_tunel: 1 }",
    '1:11  limits.requests_per_tunel: unknown option. Did you mean "requests_per_tunnel"?',
  ],
  [
    "grpc: { publicAddress: 'a:1' }",
    '1:9  grpc.publicAddress: unknown option. Did you mean "public_address"?',
  ],
  ["data_dir: [x]", "1:11  data_dir: expected the path of a directory, got a list"],
  ["keys: [x]", "1:8  keys[0]: expected options"],
  [`keys: [${SECRET}]`, "1:8  keys[0]: expected options, each on its own line as NAME: VALUE, got text"],
  ["keys: { name: x }", "1:7  keys: expected a list, got options"],
  ["keys: [null]", "1:8  keys[0]: missing: expected options"],
])("an impossible value is refused: %s", (text, problem) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(`config.yaml:${problem}`);
});

test("both listeners may take any free port, or one port on two addresses", () => {
  expect(load("http: { listen: ':0' }\ngrpc: { listen: ':0' }").config.grpc.listen).toEqual({ port: 0 });
  const apart = load("http: { listen: '127.0.0.1:8080' }\ngrpc: { listen: '[::1]:8080' }");
  expect(apart.config.grpc.listen).toEqual({ host: "::1", port: 8080 });
});

test("a secret is long enough to withstand guessing, and is never shown", () => {
  const short = "keys: [{ name: a, secret: abcdefghijklmnopqrstu }]";
  expect(problemsOf(short)).toEqual([
    "config.yaml:1:27  keys[0].secret: expected at least 22 characters of A-Z, a-z, 0-9 and _, got ******",
  ]);
  expect(problemsOf(`keys: [{ name: a, secret: "${SECRET}-" }]`)).toHaveLength(1);
  expect(problemsOf("keys:\n  - name: a\n    secret: ${K}\n", { K: "tooshort" }).join()).not.toContain(
    "tooshort",
  );
});

test("a key needs one secret, no more and no fewer", () => {
  write("a.key", SECRET);
  expect(problemsOf(`keys: [{ name: a }, { name: b, secret: ${SECRET}, secret_file: a.key }]`)).toEqual([
    "config.yaml:1:8  keys[0]: the key needs a secret: give secret or secret_file",
    expect.stringContaining("keys[1].secret_file: a key has one secret: take out secret or secret_file"),
  ]);
});

test("a secret file is found from the config file, whatever the working directory", () => {
  write("a.key", `${SECRET}\r\n`);
  expect(load("keys: [{ name: a, secret_file: a.key }]").config.keys[0]!.secret).toBe(SECRET);
});

test.each([
  ["none.key", "expected a file that can be read (no such file or directory)"],
  [".", "expected a file that can be read (it is a directory)"],
  ["empty.key", "expected a file with a secret (it is empty)"],
  ["long.key", "expected a file with a secret and nothing else (it is too long)"],
  ["short.key", "the file's content is no secret: expected at least 22 characters"],
  ["two.key", "the file's content is no secret: expected at least 22 characters"],
  [SECRET, "expected a file that can be read (no such file or directory)"],
])("what is wrong with a secret file is said at its place, without its content: %s", (name, problem) => {
  write("empty.key", "\n");
  write("long.key", "x".repeat(10_000));
  write("short.key", "hunter2\n");
  write("two.key", `${SECRET}\n${SECRET}\n`);
  const [line, ...others] = problemsOf(`keys: [{ name: a, secret_file: ${name} }]`);
  expect(others).toEqual([]);
  expect(line).toContain(`config.yaml:1:32  keys[0].secret_file: ${problem}`);
  expect(line).not.toMatch(new RegExp(`hunter2|xxx|${SECRET}`));
});

test("secrets that everybody on the machine can read give a warning", () => {
  write("a.key", SECRET, 0o644);
  write("b.key", SECRET, 0o640);
  const text = "keys: [{ name: a, secret_file: a.key }, { name: b, secret_file: b.key }]";
  expect(load(text).warnings).toEqual([
    "keys[0].secret_file: every user of this machine can read this file; chmod 600 it",
  ]);

  const inline = `keys:\n${key("a")}  - name: b\n    secret: \${K}\n`;
  expect(load(inline, { K: SECRET }).warnings).toEqual([]);
  chmodSync(file, 0o644);
  expect(loadServerConfig(file, { K: SECRET }).warnings).toEqual([
    `keys[0].secret: every user of this machine can read ${file}; chmod 600 it`,
  ]);
});

test("hostnames have one spelling, and those of tunnels are the key's own", () => {
  const text = `http: { domain: Example.COM. }
keys:
${key(
  "a",
  `    hostnames: [App.Example.org., münchen.example]
    tunnels:
      - { name: one, type: http, hostname: APP.example.org, target: 3000 }
      - { name: two, type: http, subdomain: Zwei, target: "[::1]:80" }
      - { name: Three, type: http, target: "nas:80" }
`,
)}`;
  const [loaded] = load(text).config.keys;
  expect(loaded!.hostnames).toEqual([
    "app.example.org",
    "xn--mnchen-3ya.example",
    "zwei.example.com",
    "three.example.com",
  ]);
  expect(loaded!.tunnels.map((tunnel) => [placeInWords(tunnel), tunnel.target])).toEqual([
    ["app.example.org", "127.0.0.1:3000"],
    ["zwei.example.com", "[::1]:80"],
    ["three.example.com", "nas:80"],
  ]);
});

test("what is given twice is a problem at the second place, which names the first", () => {
  expect(
    problemsOf(`keys:
${key("a", "    hostnames: [x.org, X.ORG., '*']\n    tunnels: [{ name: t, type: http, hostname: y.org, target: 1 }]\n")}
${key(
  "a",
  `    hostnames: ["*"]
    tunnels:
      - { name: t, type: http, hostname: x.org, target: 1 }
      - { name: t, type: http, subdomain: u, target: 1 }
      - { name: u, type: http, target: 1 }
      - { name: v, type: http, hostname: y.org, target: 1 }
`,
)}`),
  ).toEqual([
    "config.yaml:4:24  keys[0].hostnames[1]: this hostname is taken by keys[0].hostnames[0]: a hostname is given once",
    "config.yaml:7:11  keys[1].name: this name is taken by keys[0]: names are given once",
    "config.yaml:9:17  keys[1].hostnames[0]: this hostname is taken by keys[0].hostnames[2]: a hostname is given once",
    "config.yaml:11:42  keys[1].tunnels[0].hostname: this hostname is taken by keys[0].hostnames[0]: a hostname is given once",
    "config.yaml:12:17  keys[1].tunnels[1].name: this name is taken by tunnels[0]: names are given once",
    "config.yaml:13:17  keys[1].tunnels[2].name: this hostname is taken by keys[1].tunnels[1]: a hostname is given once",
    "config.yaml:14:42  keys[1].tunnels[3].hostname: this hostname is taken by keys[0].tunnels[0]: a hostname is given once",
  ]);
});

test("a hostname that another key lists further down is that key's", () => {
  const tunnel = "    tunnels: [{ name: t, type: http, hostname: x.org, target: 1 }]\n";
  expect(problemsOf(`keys:\n${key("a", tunnel)}${key("b", "    hostnames: [x.org]\n")}`)).toEqual([
    "config.yaml:4:48  keys[0].tunnels[0].hostname: this hostname is taken by keys[1].hostnames[0]: a hostname is given once",
  ]);
});

test("a key's own tunnels may have the hostnames that it lists", () => {
  const text = `keys:\n${key("a", "    hostnames: [x.org]\n    tunnels: [{ name: t, type: http, hostname: x.org, target: 1 }]\n")}`;
  expect(load(text).config.keys[0]!.hostnames).toEqual(["x.org"]);
});

test.each([
  ["{ name: t, type: tcp, target: 1 }", "type: expected http, got "],
  ["{ name: t, target: 1 }", "type: missing: expected http"],
  ["{ name: t, type: http }", "target: missing: expected HOST:PORT such as 127.0.0.1:3000"],
  [
    "{ name: t, type: http, target: 'http://x/y' }",
    "target: expected a target without a path, such as https://127.0.0.1:8443",
  ],
  ["{ name: t, type: http, target: ':0' }", "a port is 1 to 65535"],
  ["{ type: http, target: 1 }", "name: missing: expected a name such as "],
  ["{ name: 'a b', type: http, target: 1 }", "name: expected a name such as "],
  [
    "{ name: a.b, type: http, target: 1 }",
    "name: this name cannot be a subdomain: give the tunnel a hostname or subdomain",
  ],
  [
    "{ name: t, type: http, target: 1, hostname: 'a:80' }",
    "hostname: expected a hostname such as app.example.com",
  ],
  [
    "{ name: t, type: http, target: 1, hostname: 'a.*' }",
    "hostname: expected a hostname such as app.example.com",
  ],
  ["{ name: t, type: http, target: 1, subdomain: a.b }", "subdomain: expected a single label such as app"],
  ["{ name: t, type: http, target: 1, subdomain: '*' }", "subdomain: expected a single label such as app"],
  ["{ name: t, type: http, target: 1, hostname: a, subdomain: b }", "subdomain: a tunnel has one address"],
  ["{ name: t, type: http, target: 1, host: a }", 'host: unknown option. Did you mean "hostname"?'],
  ["{ name: t, type: http, target: 1, host_header: 'a b' }", "host_header: expected a name such as"],
  [
    "{ name: t, type: http, target: 1, insecure_target: true }",
    "insecure_target: means nothing for this target",
  ],
  [
    "{ name: t, type: http, target: 'unix:run/x' }",
    "target: expected a UNIX socket such as unix:/run/app.sock, with",
  ],
  [
    "{ name: t, type: http, target: 'https://a', insecure_target: true, target_server_name: b }",
    "target_server_name: means nothing for an insecure target",
  ],
  [
    "{ name: t, type: http, target: 'https://a', target_ca: none.pem }",
    "target_ca: expected a file that can be read",
  ],
])("a tunnel that makes no sense is refused: %s", (tunnel, problem) => {
  const problems = problemsOf(`keys:\n${key("a", `    tunnels: [${tunnel}]\n`)}`);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(problem);
});

test("a tunnel's certificates are read when the config is, and nothing but certificates of their file", async () => {
  const { cert, key: privateKey } = await makeCertificate();
  write("ca.pem", `${privateKey}${cert}`);
  const tunnel = "{ name: t, type: http, target: 'https://a', target_ca: ca.pem, target_server_name: B.org }";
  const [loaded] = load(`keys:\n${key("a", `    tunnels: [${tunnel}]\n`)}`).config.keys;
  expect(loaded!.tunnels[0]!.targetTls).toEqual({
    insecure: false,
    ca: expect.stringMatching(/^-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n$/) as string,
    serverName: "b.org",
  });
});

const publicUrl = (text: string) => load(`http: { public_url: '${text}' }`).config.http.publicUrl;

test("the public URL gives the scheme and the port that people see", () => {
  expect(publicUrl("https://example.com")).toEqual({ scheme: "https" });
  expect(publicUrl("https://example.com:443/")).toEqual({ scheme: "https" });
  expect(publicUrl("http://example.com:8443")).toEqual({ scheme: "http", port: 8443 });
});

test("mistakes of every kind are listed together", () => {
  const problems = problemsOf(`http: { prot: 1, listen: x }
keys:
  - name: a
    secret_file: none.key
    hostnames: [x.org, "a b"]
    tunnels: nothing
  - nothing
  - name: a
    secret: ${SECRET}
    tunnels: [{ name: t, type: http, hostname: x.org, target: x }]
`);
  expect(problems.map((line) => /\s{2}(\S+):/.exec(line)![1])).toEqual([
    "http.prot",
    "http.listen",
    "keys[0].secret_file",
    "keys[0].hostnames[1]",
    "keys[0].tunnels",
    "keys[1]",
    "keys[2].name",
    "keys[2].tunnels[0].hostname",
    "keys[2].tunnels[0].target",
  ]);
});

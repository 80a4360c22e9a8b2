import { placeInWords } from "../../../server/routing/place.ts";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "../../../runtime/config-error.ts";
import { limitOptions } from "../../../server/config/limits.ts";
import { loadServerConfig, type ServerOverrides } from "../../../server/config/config.ts";
import { makeCertificate } from "../../support/certificates.ts";

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

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
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
      namesPerKey: 4_096,
      portsPerKey: 2_000,
      streamsPerSession: 16_000,
      unreadBytes: 268_435_456,
      visitorUnreadBytes: 268_435_456,
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
  write("machines.key", `${SECRET}\n`);
  const { config, warnings } = loadServerConfig(file, { HOME_KEY: "h".repeat(22) });
  expect(warnings).toEqual([]);
  const { config: defaults } = loadServerConfig(undefined, { STATE_DIRECTORY: "/state" });
  // The file shows each option with its default.
  expect(config.limits).toEqual(defaults.limits);
  expect(config).toEqual({
    http: { ...defaults.http, domain: "example.com" },
    limits: defaults.limits,
    grpc: { listen: { port: 7000 }, publicAddress: { host: "tunnel.example.com", port: 7000 }, tls: "auto" },
    tcp: defaults.tcp,
    udp: defaults.udp,
    tls: { listen: { port: 8443 }, trustedProxies: [] },
    dataDir: "/var/lib/culvert",
    keys: [
      {
        name: "home",
        secret: "h".repeat(22),
        hostnames: ["app.example.com", "*", "blog.example.com"],
        ports: [
          { from: 2200, to: 2200 },
          { from: 7100, to: 7110 },
        ],
        tunnels: [
          { name: "web", kind: "HTTP", hostname: "app.example.com", target: "127.0.0.1:3000" },
          { name: "blog", kind: "HTTP", hostname: "blog.example.com", target: "localhost:2368" },
          { name: "any", kind: "HTTP", hostname: "*", target: "127.0.0.1:8000" },
        ],
      },
      {
        name: "office",
        secret: SECRET,
        hostnames: ["*.office.example.com", "wiki.example.com", "printer.example.com"],
        tunnels: [
          { name: "wiki", kind: "HTTP", hostname: "wiki.example.com", target: "192.168.1.20:80" },
          {
            name: "branches",
            kind: "HTTP",
            hostname: "*.office.example.com",
            target: "https://192.168.1.30:443",
            targetTls: { insecure: true, ca: "", serverName: "", serverNameOfVisitor: true },
          },
          {
            name: "printer",
            kind: "HTTP",
            hostname: "printer.example.com",
            target: "192.168.1.31:80",
            hostHeader: "target",
            timeoutMs: 600_000,
          },
        ],
      },
      {
        name: "machines",
        secret: SECRET,
        hostnames: ["mail.example.com"],
        tunnels: [
          { name: "ssh", kind: "TCP", port: 2222, ports: 1, target: "127.0.0.1:22" },
          { name: "desktop", kind: "TCP", port: 0, ports: 1, target: "192.168.1.10:3389" },
          { name: "transfers", kind: "TCP", port: 6000, ports: 11, target: "127.0.0.1:6000" },
          {
            name: "database",
            kind: "TCP",
            port: 5432,
            ports: 1,
            target: "unix:/run/postgresql/.s.PGSQL.5432",
            proxyProtocol: 2,
            limits: {
              connections: 100,
              connectionsPerVisitor: 10,
              idleTimeoutMs: 3_600_000,
              bytesPerSecond: 10_000_000,
            },
          },
          { name: "game", kind: "UDP", port: 27_015, ports: 1, target: "127.0.0.1:27015" },
          { name: "mail", kind: "TLS", hostname: "mail.example.com", target: "127.0.0.1:993" },
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
  [
    "tcp: { listen: ':2222' }",
    "1:16  tcp.listen: expected an IP address such as 203.0.113.7 or ::1, without a port",
  ],
  ["udp: { listen: localhost }", "1:16  udp.listen: expected an IP address"],
  ["tcp: { ports: many }", '1:15  tcp.ports: expected ports such as 20000-29999, or none, got "many"'],
  ["tcp: { ports: 0-10 }", "1:15  tcp.ports: expected ports"],
  ["tcp: { ports: 30000-20000 }", "1:15  tcp.ports: expected ports"],
  ["udp: { ports: 60000-65536 }", "1:15  udp.ports: expected ports"],
  ["udp: { ports: [1] }", "1:15  udp.ports: expected ports such as 20000-29999, or none, got a list"],
  ["tcp: { trusted_proxies: [x] }", "1:26  tcp.trusted_proxies[0]: expected an address or range"],
  ["udp: { trusted_proxies: [] }", "1:8  udp.trusted_proxies: unknown option. Known here: listen, ports"],
  ["tls: {}", "1:6  tls.listen: missing: expected an address and port such as :8080"],
  ["tls: { listen: x }", "1:16  tls.listen: expected an address and port such as :8080"],
  ["tls: { listen: ':8080' }", "1:16  tls.listen: port 8080 is taken by http.listen: give each its own"],
  ["tls: { listen: ':7000' }", "1:16  tls.listen: port 7000 is taken by grpc.listen: give each its own"],
  ["http: { hold_ms: -1 }", "1:18  http.hold_ms: "],
  ["http: { timeout_ms: 0 }", "1:21  http.timeout_ms: "],
  ["limits: { body_bytes: many }", "1:23  limits.body_bytes: expected a whole number of bytes, or none"],
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

test("ports of tunnels open where tcp and udp say, and free ones are a range, one port or none", () => {
  const { config } = load(`
tcp: { listen: 203.0.113.7, ports: 25000, trusted_proxies: [10.0.0.0/8] }
udp: { listen: "::1", ports: none }
tls: { listen: "203.0.113.7:443", trusted_proxies: [10.0.0.1] }
`);
  expect(config).toMatchObject({
    tcp: { host: "203.0.113.7", ports: { from: 25_000, to: 25_000 }, trustedProxies: ["10.0.0.0/8"] },
    tls: { listen: { host: "203.0.113.7", port: 443 }, trustedProxies: ["10.0.0.1"] },
  });
  expect(config.udp).toEqual({ host: "::1" });
  const { config: defaults } = loadServerConfig(undefined, { STATE_DIRECTORY: "/state" });
  expect(load('tcp: { listen: "" }\nudp: { listen: "" }').config).toEqual(defaults);
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
  ["two.key", "expected a file with one secret (it has several lines)"],
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

test("a path that cannot be read is shown, from the environment too", () => {
  const [line] = problemsOf("keys: [{ name: a, secret_file: '${DIR}/none.key' }]", {
    DIR: "/run/credentials",
  });
  expect(line).toContain('(no such file or directory), got "/run/credentials/none.key"');
  expect(problemsOf("grpc: { tls: { cert: /none/cert.pem, key: /none/key.pem } }")[1]).toContain(
    'got "/none/key.pem"',
  );
});

test("7,000 keys with a tunnel each are a config", () => {
  const keys = Array.from(
    { length: 7_000 },
    (_, i) =>
      `  - { name: key${i}, secret: "${SECRET}${i}", tunnels: [{ name: web, type: http, subdomain: app${i}, target: 3000 }] }`,
  );
  expect(load(`keys:\n${keys.join("\n")}\n`).config.keys).toHaveLength(7_000);
});

test("each refused number says what was expected, with its unit", () => {
  const names = Object.keys(limitOptions.parse({})).map(snakeCase);
  expect(names).toContain("unread_bytes");
  for (const [option, where] of [
    ...names.map((name) => [`limits.${name}`, `limits: { ${name}: 3s }`] as const),
    ["http.hold_ms", "http: { hold_ms: 3s }"],
    ["http.timeout_ms", "http: { timeout_ms: 3s }"],
  ]) {
    const unit = option.endsWith("_ms") ? " of milliseconds" : option.endsWith("_bytes") ? " of bytes" : "";
    expect(problemsOf(where)[0]).toMatch(
      new RegExp(`${option}: expected a whole number${unit}.*, got "3s"$`),
    );
  }
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
    ["app.example.org", "localhost:3000"],
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
  ["{ name: t, type: ftp, target: 1 }", 'type: expected http, tls, tcp or udp, got "ftp"'],
  ["{ name: t, target: 1 }", "type: missing: expected http, tls, tcp or udp"],
  ["x", "tunnels[0]: expected options, each on its own line"],
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
    "{ name: t, type: http, target: 'https://a', insecure_target: true, target_ca: a }",
    "target_ca: means nothing for an insecure target",
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

const tunnelsOf = (...tunnels: string[]) =>
  `tls: { listen: ":8443" }\nkeys:\n${key("a", `    tunnels:\n${tunnels.map((each) => `      - ${each}\n`).join("")}`)}`;

test.each([
  ["tcp", "22", "", { port: 0, ports: 1, target: "localhost:22" }],
  ["tcp", "'192.168.1.10:3389'", "port: 3389", { port: 3389, ports: 1, target: "192.168.1.10:3389" }],
  ["tcp", "22", "ports: 2222", { port: 2222, ports: 1, target: "localhost:22" }],
  ["tcp", "unix:/run/x.sock", "port: 1", { port: 1, ports: 1, target: "unix:/run/x.sock" }],
  ["tcp", "6000-6010", "ports: 7100-7110", { port: 7100, ports: 11, target: "localhost:6000" }],
  ["tcp", "'nas:6000'", "ports: 7100-7110", { port: 7100, ports: 11, target: "nas:6000" }],
  ["tcp", "'[::1]:6000-6010'", "", { port: 0, ports: 11, target: "[::1]:6000" }],
  ["tcp", "64536", "ports: 1-1000", { port: 1, ports: 1000, target: "localhost:64536" }],
  ["udp", "53", "port: 53", { port: 53, ports: 1, target: "localhost:53" }],
  ["udp", "6000-6010", "", { port: 0, ports: 11, target: "localhost:6000" }],
])(
  "a tunnel of type %s to %s has the ports it is given, or free ones: %s",
  (type, target, options, expected) => {
    const text = tunnelsOf(`{ name: t, type: ${type}, target: ${target}, ${options} }`);
    expect(load(text).config.keys[0]!.tunnels).toEqual([
      { name: "t", kind: type.toUpperCase(), ...expected },
    ]);
  },
);

test("a port may come from the environment", () => {
  const text = tunnelsOf("{ name: t, type: tcp, target: 22, port: '${PORT}' }");
  expect(load(text, { PORT: "2222" }).config.keys[0]!.tunnels).toMatchObject([{ port: 2222 }]);
});

test("a TLS tunnel has a hostname as an HTTP one has, of which both may be the same key's", () => {
  const { config } = load(
    tunnelsOf(
      "{ name: a, type: tls, hostname: X.org, target: 'nas:443', proxy_protocol: v1 }",
      "{ name: b, type: tls, target: unix:/run/b.sock, connections: 5 }",
      "{ name: c, type: http, hostname: x.org, target: 80 }",
    ),
  );
  expect(config.keys[0]).toMatchObject({
    hostnames: ["x.org", "b.localhost"],
    tunnels: [
      { name: "a", kind: "TLS", hostname: "x.org", target: "nas:443", proxyProtocol: 1 },
      {
        name: "b",
        kind: "TLS",
        hostname: "b.localhost",
        target: "unix:/run/b.sock",
        limits: { connections: 5 },
      },
      { name: "c", kind: "HTTP", hostname: "x.org", target: "localhost:80" },
    ],
  });
});

test.each([
  ["type: http, target: 1, port: 1", "port: means nothing for http: it is for tcp and udp"],
  [
    "type: http, target: 1, connections: 1",
    "connections: means nothing for http: it is for tls, tcp and udp",
  ],
  [
    "type: http, target: 1, proxy_protocol: v1",
    "proxy_protocol: means nothing for http: it is for tls and tcp",
  ],
  [
    "type: udp, target: 1, proxy_protocol: v1",
    "proxy_protocol: means nothing for udp: it is for tls and tcp",
  ],
  ["type: tcp, target: 1, hostname: x.org", "hostname: means nothing for tcp: it is for http and tls"],
  ["type: tls, target: 1, target_ca: x.pem", "target_ca: means nothing for tls: it is for http"],
  ["type: tls, target: 1, ports: 1-2", "ports: means nothing for tls: it is for tcp and udp"],
  ["type: tcp, target: 1, prot: 1", 'prot: unknown option. Did you mean "port"?'],
  [
    "type: udp, target: 1, x: 1",
    "x: unknown option. Known here: name, type, port, ports, target, connections, connections_per_visitor, idle_timeout_ms, bytes_per_second",
  ],
  ["type: tcp", "target: missing: expected HOST:PORT such as 127.0.0.1:3000"],
  ["type: tcp, target: 'https://a'", "target: expected HOST:PORT such as 127.0.0.1:3000, without https://"],
  ["type: udp, target: 'http://a:1'", "target: expected HOST:PORT such as 127.0.0.1:3000, without http://"],
  ["type: tls, target: 'https://a:1'", "target: expected HOST:PORT such as 127.0.0.1:3000, without https://"],
  [
    "type: tls, target: 1-2",
    'target: expected HOST:PORT such as 127.0.0.1:3000, with one port since all visitors of a hostname go to the same, got "1-2"',
  ],
  [
    "type: udp, target: unix:/x",
    "target: expected HOST:PORT such as 127.0.0.1:3000, since UDP goes to ports and not to UNIX sockets",
  ],
  ["type: tcp, target: 'a:2-1'", "target: expected a port such as 2222, or several such as 6000-6010"],
  ["type: tcp, target: 'a:1-70000'", "target: expected a port such as 2222, or several such as 6000-6010"],
  ["type: tcp, target: 1, port: 0", "port: expected a port such as 2222, 1 to 65535"],
  [
    "type: tcp, target: 1, port: 6000-6010",
    "port: expected a port such as 2222, 1 to 65535; several stand at ports",
  ],
  [
    "type: tcp, target: 1, ports: [1]",
    "ports: expected a port such as 2222, or several such as 6000-6010, got a list",
  ],
  [
    "type: tcp, target: 1, ports: 1-1001",
    'ports: expected at most 1000 ports: a tunnel has no more, got "1-1001"',
  ],
  [
    "type: tcp, target: 1, ports: { from: 1, to: 900000000000 }",
    "ports: expected a port such as 2222, or several such as 6000-6010",
  ],
  ["type: tcp, target: 1, port: 1, ports: 2-3", "ports: a tunnel has one place: take out port or ports"],
  ["type: udp, target: 1-1001", "target: expected at most 1000 ports: a tunnel has no more"],
  [
    "type: tcp, target: 1-3, ports: 1-11",
    "target: the target has 3 ports, and the tunnel 11: give as many, or only the first of the target",
  ],
  [
    "type: tcp, target: 1-3, port: 1",
    "target: the target has 3 ports, and the tunnel 1: give as many, or only the first of the target",
  ],
  [
    "type: tcp, target: 65530, ports: 1-11",
    "target: the target's ports would end at 65540, and ports end at 65535",
  ],
  [
    "type: tcp, target: unix:/x, ports: 1-11",
    "target: a UNIX socket has no ports: give the tunnel one port only",
  ],
  ["type: tcp, target: 1, proxy_protocol: 1", "proxy_protocol: expected v1 or v2, got 1"],
  ["type: tcp, target: 1, proxy_protocol: v3", 'proxy_protocol: expected v1 or v2, got "v3"'],
  ["type: tcp, target: 1, connections: 0", "connections: expected a whole number from 1 up, got 0"],
  [
    "type: tls, target: 1, connections_per_visitor: 0",
    "connections_per_visitor: expected a whole number from 1 up, got 0",
  ],
  [
    "type: udp, target: 1, idle_timeout_ms: 0",
    "idle_timeout_ms: expected a whole number of milliseconds from 1 to 2073600000, got 0",
  ],
  [
    "type: udp, target: 1, bytes_per_second: 10MB",
    'bytes_per_second: expected a whole number of bytes per second from 1 up, got "10MB"',
  ],
  ["type: tcp, target: 1, port: 7000", "port: port 7000 is taken by grpc.listen: give each its own"],
  ["type: tcp, target: 1, ports: 8070-8090", "ports: port 8080 is taken by http.listen: give each its own"],
  ["type: tcp, target: 1, port: 8443", "port: port 8443 is taken by tls.listen: give each its own"],
])("a tunnel whose options do not go together is refused: %s", (options, problem) => {
  const problems = problemsOf(tunnelsOf(`{ name: t, ${options} }`));
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(/^config\.yaml:\d+:\d+ {2}keys\[0\]\.tunnels\[0\]\./);
  expect(problems[0]).toContain(`tunnels[0].${problem}`);
});

test.each([
  [
    "tcp: { ports: none }",
    "{ name: t, type: tcp, target: 1 }",
    "tunnels[0]: tcp.ports is none: give this tunnel its port",
  ],
  [
    "udp: { ports: none }",
    "{ name: t, type: udp, target: 1 }",
    "tunnels[0]: udp.ports is none: give this tunnel its port",
  ],
  [
    "tcp: { ports: 20000-20004 }",
    "{ name: t, type: tcp, target: 1-6 }",
    "tunnels[0]: tcp.ports has 5, and this tunnel needs 6 in a row: give it its ports",
  ],
  [
    "",
    "{ name: t, type: tls, target: 1 }",
    "tunnels[0].type: there is no tls.listen, where visitors of TLS tunnels arrive: set it",
  ],
])("a tunnel that no visitor could reach is refused: %s %s", (section, tunnel, problem) => {
  const problems = problemsOf(`${section}\nkeys:\n${key("a", `    tunnels: [${tunnel}]\n`)}`);
  expect(problems).toEqual([expect.stringMatching(/^config\.yaml:5:(?:15|32) /)]);
  expect(problems[0]).toContain(problem);
});

test.each([
  ["", "{ name: t, type: udp, target: 1, port: 8080 }"],
  [
    "tcp: { listen: 127.0.0.2 }\nhttp: { listen: '127.0.0.1:8080' }",
    "{ name: t, type: tcp, target: 1, port: 8080 }",
  ],
  ["tcp: { ports: none }", "{ name: t, type: udp, target: 1 }"],
  ["tcp: { ports: 20000-20004 }", "{ name: t, type: tcp, target: 1-5 }"],
])("a tunnel with nobody in its way is taken: %s %s", (section, tunnel) => {
  expect(load(`${section}\nkeys:\n${key("a", `    tunnels: [${tunnel}]\n`)}`).config.keys).toHaveLength(1);
});

test("one problem of tls.listen is told once, however many tunnels need it", () => {
  const text = `tls: { listen: x }\nkeys:\n${key("a", "    tunnels: [{ name: t, type: tls, target: 1 }]\n")}`;
  expect(problemsOf(text)).toEqual([expect.stringContaining("tls.listen: expected an address and port")]);
});

test.each([
  ["[0]", "expected a port such as 2222, or several such as 6000-6010; a port is 1 to 65535, got 0"],
  ["[65536]", "expected a port"],
  ["[5-4]", "expected a port"],
  ["[tcp:1]", 'expected a port such as 2222, or several such as 6000-6010, got "tcp:1"'],
])("ports of a key are numbers and ranges: %s", (ports, problem) => {
  expect(problemsOf(`keys:\n${key("a", `    ports: ${ports}\n`)}`)).toEqual([
    expect.stringContaining(`config.yaml:4:13  keys[0].ports[0]: ${problem}`),
  ]);
});

test("a port is given once of each kind, and one that a key lists is that key's for both", () => {
  expect(
    problemsOf(`keys:
${key(
  "a",
  `    ports: [2222, 6000-6010, 6010]
    tunnels:
      - { name: t, type: tcp, port: 2222, target: 1 }
      - { name: u, type: udp, port: 2222, target: 1 }
      - { name: v, type: tcp, ports: 2220-2224, target: 1 }
      - { name: w, type: tcp, port: 5000, target: 1 }
`,
)}
${key(
  "b",
  `    ports: [6005]
    tunnels:
      - { name: t, type: udp, port: 6000, target: 1 }
      - { name: u, type: udp, port: 5000, target: 1 }
      - { name: v, type: tcp, port: 5000, target: 1 }
      - { name: w, type: tcp, port: 7777, target: 1 }
`,
)}
${key("c", "    ports: [7777]\n")}`),
  ).toEqual([
    "config.yaml:4:30  keys[0].ports[2]: port 6010 is taken by keys[0].ports[1]: a port is given once",
    "config.yaml:8:38  keys[0].tunnels[2].ports: port 2222 is taken by keys[0].tunnels[0]: a port is given once",
    "config.yaml:13:13  keys[1].ports[0]: port 6005 is taken by keys[0].ports[1]: a port is given once",
    "config.yaml:15:37  keys[1].tunnels[0].port: port 6000 is taken by keys[0].ports[1]: a port is given once",
    "config.yaml:17:37  keys[1].tunnels[2].port: port 5000 is taken by keys[0].tunnels[3]: a port is given once",
    "config.yaml:18:37  keys[1].tunnels[3].port: port 7777 is taken by keys[2].ports[0]: a port is given once",
  ]);
});

/** At a hostname that is always the same. */
const web = (name: string, type: string) =>
  `      - { name: ${name}, type: ${type}, hostname: x.org, target: 1 }\n`;

test("a hostname is one key's, for HTTP and TLS alike, and one tunnel's of each kind", () => {
  expect(
    problemsOf(
      `tls: { listen: ":8443" }\nkeys:\n${key("a", `    tunnels:\n${web("a", "http")}${web("b", "tls")}${web("c", "tls")}`)}${key(
        "b",
        `    tunnels:\n${web("a", "tls")}`,
      )}`,
    ),
  ).toEqual([
    "config.yaml:8:41  keys[0].tunnels[2].hostname: this hostname is taken by keys[0].tunnels[1]: a hostname is given once",
    "config.yaml:12:41  keys[1].tunnels[0].hostname: this hostname is taken by keys[0].tunnels[1]: a hostname is given once",
  ]);
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

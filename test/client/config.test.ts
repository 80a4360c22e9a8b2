import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadClientConfig } from "../../client/config.ts";
import { ConfigError } from "../../runtime/config-error.ts";
import { makeCertificate } from "../support/certificates.ts";

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "client-config-"));
  file = path.join(directory, "client.yaml");
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string, mode = 0o600): void {
  writeFileSync(path.join(directory, name), text);
  chmodSync(path.join(directory, name), mode);
}

function load(text: string, env: NodeJS.ProcessEnv = {}) {
  write("client.yaml", text);
  return loadClientConfig(file, env);
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

test("client.example.yaml is read without a problem", () => {
  copyFileSync("client.example.yaml", file);
  write("client.key", "culvert_abc\n");
  const { config, warnings } = loadClientConfig(file, {});
  expect(warnings).toEqual([]);
  expect(config).toEqual({
    key: "culvert_abc",
    plaintext: false,
    allow: ["192.168.1.0/24:80,443", "unix:/run/apps/"],
    tunnels: [
      { kind: "HTTP", target: { host: "127.0.0.1", port: 3000 }, subdomain: "app" },
      {
        name: "shop",
        kind: "HTTP",
        target: { host: "192.168.1.20", port: 8080 },
        hostname: "shop.example.com",
      },
      { name: "wiki", kind: "HTTP", target: { path: "/run/wiki.sock" }, subdomain: "wiki" },
      {
        name: "nas",
        kind: "HTTP",
        target: { host: "192.168.1.30", port: 443, tls: true },
        subdomain: "nas",
        targetTls: { insecure: true, ca: "", serverName: "" },
        hostHeader: "target",
        timeoutMs: 600_000,
      },
      { name: "ssh", kind: "TCP", target: { host: "127.0.0.1", port: 22 }, port: 2222, ports: 1 },
      { name: "cameras", kind: "TCP", target: { host: "192.168.1.40", port: 6000 }, port: 6000, ports: 11 },
      { name: "dns", kind: "UDP", target: { host: "192.168.1.1", port: 53 }, port: 5353, ports: 1 },
      {
        name: "mail",
        kind: "TLS",
        target: { host: "192.168.1.50", port: 993 },
        hostname: "mail.example.com",
        proxyProtocol: 2,
      },
    ],
  });
});

test("an empty file says nothing", () => {
  expect(load("").config).toEqual({ plaintext: false, allow: [], tunnels: [] });
});

test("every option is read, with paths from the file's directory", () => {
  write("ca.pem", "");
  const text = `server: tunnel.example.com:7000
key: \${KEY}
ca: ca.pem
server_name: Tunnel.example.com
allow: [any, "10.0.0.1", "nas.lan:80", "[fd00::]/8:443"]
tunnels: [{ type: http, target: 3000, hostname: München.example }, { type: http, target: 1, hostname: "*" }]
data_dir: state
`;
  expect(load(text, { KEY: "culvert_x" }).config).toEqual({
    server: { host: "tunnel.example.com", port: 7000 },
    key: "culvert_x",
    plaintext: false,
    ca: path.join(directory, "ca.pem"),
    serverName: "tunnel.example.com",
    allow: ["any", "10.0.0.1", "nas.lan:80", "[fd00::]/8:443"],
    tunnels: [
      { kind: "HTTP", target: { host: "localhost", port: 3000 }, hostname: "xn--mnchen-3ya.example" },
      { kind: "HTTP", target: { host: "localhost", port: 1 }, hostname: "*" },
    ],
    dataDir: path.join(directory, "state"),
  });
  expect(load("plaintext: true\n").config.plaintext).toBe(true);
});

test("a tunnel's target is of any kind, with what goes for it", async () => {
  const { cert } = await makeCertificate();
  write("ca.pem", cert);
  const { tunnels } = load(`tunnels:
  - { type: http, target: "https://10.0.0.5", target_ca: ca.pem, target_server_name: App.test }
  - { type: http, target: "https://10.0.0.5:8443", insecure_target: true, host_header: target, timeout_ms: 600000 }
  - { type: http, target: "unix:/run/app.sock", host_header: "München.example:8080" }
  - { type: http, target: "https://10.0.0.6", host_header: "[::1]:80" }
  - { type: http, target: "https://10.0.0.7", insecure_target: true, target_server_name: visitor }
  - { type: http, target: "https://10.0.0.7", insecure_target: true, target_server_name: a.test }
`).config;
  expect(tunnels).toEqual([
    {
      kind: "HTTP",
      target: { host: "10.0.0.5", port: 443, tls: true },
      targetTls: { insecure: false, ca: cert.endsWith("\n") ? cert : `${cert}\n`, serverName: "app.test" },
    },
    {
      kind: "HTTP",
      target: { host: "10.0.0.5", port: 8443, tls: true },
      targetTls: { insecure: true, ca: "", serverName: "" },
      hostHeader: "target",
      timeoutMs: 600_000,
    },
    { kind: "HTTP", target: { path: "/run/app.sock" }, hostHeader: "xn--mnchen-3ya.example:8080" },
    { kind: "HTTP", target: { host: "10.0.0.6", port: 443, tls: true }, hostHeader: "[::1]:80" },
    {
      kind: "HTTP",
      target: { host: "10.0.0.7", port: 443, tls: true },
      targetTls: { insecure: true, ca: "", serverName: "", serverNameOfVisitor: true },
    },
    {
      kind: "HTTP",
      target: { host: "10.0.0.7", port: 443, tls: true },
      targetTls: { insecure: true, ca: "", serverName: "a.test" },
    },
  ]);
});

test("a tunnel of bytes has ports, or a hostname", () => {
  const { tunnels } = load(`tunnels:
  - { type: tcp, target: 22 }
  - { type: tcp, target: "unix:/run/app.sock", port: 2222, proxy_protocol: v1 }
  - { type: tcp, target: nas.lan:6000-6010 }
  - { type: udp, target: 27015, port: 27015-27020 }
  - { type: tls, target: 443 }
  - { type: tls, target: "unix:/run/tls.sock", subdomain: App, proxy_protocol: v1 }
`).config;
  expect(tunnels).toEqual([
    { kind: "TCP", target: { host: "localhost", port: 22 }, ports: 1 },
    { kind: "TCP", target: { path: "/run/app.sock" }, port: 2222, ports: 1, proxyProtocol: 1 },
    { kind: "TCP", target: { host: "nas.lan", port: 6000 }, ports: 11 },
    { kind: "UDP", target: { host: "localhost", port: 27_015 }, port: 27_015, ports: 6 },
    { kind: "TLS", target: { host: "localhost", port: 443 } },
    { kind: "TLS", target: { path: "/run/tls.sock" }, subdomain: "app", proxyProtocol: 1 },
  ]);
});

test.each([
  ["server: tunnel.example.com", "1:9  server: expected HOST:PORT such as tunnel.example.com:7000"],
  ["key: 'culvert a'", "1:6  key: expected an access key as the server printed it, got ******"],
  [
    "key_file: culvert_secret",
    "1:11  key_file: expected a file that can be read (no such file or directory), got ******",
  ],
  ["plaintext: yes", '1:12  plaintext: expected true or false, got "yes"'],
  ["ca: none.pem", "1:5  ca: expected a file that can be read (no such file or directory)"],
  ["server_name: 'a b'", "1:14  server_name: expected a name"],
  [
    "proxy: 'socks5://me:hidden@proxy:1080'",
    "1:8  proxy: expected an HTTP proxy such as http://proxy.example.com:3128, or with a sign-in " +
      "http://USER:PASSWORD@proxy.example.com:3128; socks5:// proxies are not supported; or none, got ******",
  ],
  ["proxy: { url: 'http://hidden@proxy' }", "1:8  proxy: expected an HTTP proxy"],
  ["proxy: ''", "1:8  proxy: expected an HTTP proxy"],
  ["proxy: 3128", "1:8  proxy: expected an HTTP proxy"],
  ["allow: any", "1:8  allow: expected a list, got text"],
  ["allow: [10.0.0.0/33]", "1:9  allow[0]: expected an address range such as 192.168.1.0/24:80,443"],
  ["allow: [all]", '1:9  allow[0]: expected "any" for every address, got "all"'],
  ["allow: ['all:80']", '1:9  allow[0]: expected "any" for every address, got "all:80"'],
  ["allow: ['10.0.0.0/8:x']", "1:9  allow[0]: expected an address range"],
  ["allow: [none, any]", "1:8  allow: none and any contradict each other"],
  ["tunnels: [{ type: http }]", "1:11  tunnels[0].target: missing: expected HOST:PORT"],
  [
    "tunnels: [{ type: http, target: 1, subdomain: a.b }]",
    "1:47  tunnels[0].subdomain: expected a single label",
  ],
  ["tunnels: [{ type: http, target: 1, hostname: 'a:1' }]", "1:46  tunnels[0].hostname: expected a hostname"],
  [
    "tunnels: [{ type: http, target: 1, hostname: a, subdomain: b }]",
    "1:60  tunnels[0].subdomain: a tunnel has one",
  ],
  [
    "tunnels: [{ type: http, target: 'https://a/b' }]",
    "1:33  tunnels[0].target: expected a target without a path",
  ],
  [
    "tunnels: [{ type: http, target: 1, host_header: 'a b' }]",
    '1:49  tunnels[0].host_header: expected a name such as app.example.com, or "target" for',
  ],
  [
    "tunnels: [{ type: http, target: 1, timeout_ms: 0 }]",
    "1:48  tunnels[0].timeout_ms: expected a whole number of milliseconds from 1 to 86400000",
  ],
  [
    "tunnels: [{ type: http, target: 1, insecure_target: true }]",
    "1:53  tunnels[0].insecure_target: means nothing for this target",
  ],
  [
    "tunnels: [{ type: http, target: 'unix:/a', target_server_name: a }]",
    "1:64  tunnels[0].target_server_name: means nothing for this target",
  ],
  [
    "tunnels: [{ type: http, target: 'https://a', target_ca: none.pem }]",
    "1:57  tunnels[0].target_ca: expected a file that can be read (no such file or directory)",
  ],
  [
    "tunnels: [{ type: http, target: 'https://a', target_ca: client.yaml }]",
    "1:57  tunnels[0].target_ca: expected a file of PEM certificates",
  ],
  [
    "tunnels: [{ type: http, target: 'https://a', insecure_target: true, target_ca: client.yaml }]",
    "1:80  tunnels[0].target_ca: means nothing for an insecure target",
  ],
  [
    "tunnels: [{ type: http, target: 'https://a', target_server_name: 'a b' }]",
    '1:66  tunnels[0].target_server_name: expected a name such as app.example.com, or "visitor" for',
  ],
  ["allow: ['unix:run/app.sock']", "1:9  allow[0]: expected an address range"],
  ["tunnels: [{ type: ftp, target: 1 }]", '1:19  tunnels[0].type: expected http, tcp, udp or tls, got "ftp"'],
  ["tunnels: [{ target: 1 }]", "1:11  tunnels[0].type: missing: expected http, tcp, udp or tls"],
  [
    "tunnels: [{ type: tcp, target: 'https://a' }]",
    "1:32  tunnels[0].target: expected HOST:PORT such as 127.0.0.1:3000, without https:// since the bytes pass untouched",
  ],
  [
    "tunnels: [{ type: udp, target: 'unix:/a' }]",
    "1:32  tunnels[0].target: expected HOST:PORT such as 127.0.0.1:3000, since UDP goes to ports and not to UNIX sockets",
  ],
  ["tunnels: [{ type: tls, target: 1-2 }]", "1:32  tunnels[0].target: expected HOST:PORT"],
  [
    "tunnels: [{ type: tcp, target: 1, port: all }]",
    '1:41  tunnels[0].port: expected a port such as 2222, or several such as 6000-6010, got "all"',
  ],
  [
    "tunnels: [{ type: udp, target: 1-2, port: 5-7 }]",
    '1:43  tunnels[0].port: expected 2 ports, as many as the target has, got "5-7"',
  ],
  [
    "tunnels: [{ type: tcp, target: 'unix:/a', port: 5-7 }]",
    "1:49  tunnels[0].port: expected one port, since a UNIX socket is one service",
  ],
  [
    "tunnels: [{ type: tcp, target: 1, proxy_protocol: 2 }]",
    "1:51  tunnels[0].proxy_protocol: expected v1 or v2, got 2",
  ],
  [
    "tunnels: [{ type: tls, target: 1, hostname: a, subdomain: b }]",
    "1:59  tunnels[0].subdomain: a tunnel has one address: take out hostname or subdomain",
  ],
  [
    "tunnels: [{ type: http, target: 1, port: 80 }]",
    "1:36  tunnels[0].port: means nothing for http: it is for tcp and udp",
  ],
  [
    "tunnels: [{ type: tcp, target: 1, host_header: a }]",
    "1:35  tunnels[0].host_header: means nothing for tcp: it is for http",
  ],
  [
    "tunnels: [{ type: udp, target: 1, hostname: a }]",
    "1:35  tunnels[0].hostname: means nothing for udp: it is for http and tls",
  ],
  [
    "tunnels: [{ type: udp, target: 1, proxy_protocol: v1 }]",
    "1:35  tunnels[0].proxy_protocol: means nothing for udp: it is for tcp and tls",
  ],
  [
    "tunnels: [{ type: tls, target: 1, port: 443 }]",
    "1:35  tunnels[0].port: means nothing for tls: it is for tcp and udp",
  ],
  [
    "tunnels: [{ type: tcp, target: 1, ports: 1-2 }]",
    '1:35  tunnels[0].ports: unknown option. Did you mean "port"?',
  ],
  [
    "tunnels: [{ type: udp, target: 1, color: red }]",
    "1:35  tunnels[0].color: unknown option. Known here: type, name, target, port",
  ],
  ["tunnel: []", '1:1  tunnel: unknown option. Did you mean "tunnels"?'],
])("an impossible value is refused: %s", (text, problem) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(`client.yaml:${problem}`);
  expect(problems[0]).not.toContain("hidden");
});

test("a proxy is read, or that there is none; from the environment too", () => {
  expect(load("proxy: http://me:pass@proxy:3128\n").config.proxy).toEqual({
    proxy: { host: "proxy", port: 3128, credentials: "me:pass" },
  });
  expect(load("proxy: ${PROXY}\n", { PROXY: "proxy.example.com:3128" }).config.proxy).toEqual({
    proxy: { host: "proxy.example.com", port: 3128 },
  });
  expect(load("proxy: none\n").config.proxy).toEqual({ proxy: undefined });
});

test("options that exclude one another, and mistakes besides, are listed together", () => {
  write("ca.pem", "");
  write("client.key", "culvert_x");
  expect(
    problemsOf(`key: culvert_x
key_file: client.key
plaintext: true
ca: ca.pem
server_name: x
srever: x
tunnels:
  - { name: a, type: http, target: x }
  - { name: a, type: http, target: 1 }
  - { type: http, target: "https://", target_ca: 1, insecure_target: yes, target_server_name: "a b" }
  - just a word
  - { name: "a b", type: tcp, target: "unix:/a", port: 1-2, host_header: x, insecure_target: true, prot: 1 }
  - { type: udp, target: [1], port: { from: 1 }, hostname: a, subdomain: b }
  - { type: tcp, target: { ports: 1 }, port: 1 }
`).map((line) => /^client.yaml:([0-9:]+ {2}[^:]+): (.{12})/.exec(line)!.slice(1).join("|")),
  ).toEqual([
    "2:11  key_file|a client has",
    "4:5  ca|means nothin",
    "5:14  server_name|means nothin",
    "6:1  srever|unknown opti",
    "8:36  tunnels[0].target|expected HOS",
    "9:13  tunnels[1].name|this name is",
    "10:27  tunnels[2].target|expected a t",
    "10:50  tunnels[2].target_ca|expected a f",
    "10:70  tunnels[2].insecure_target|expected tru",
    "10:95  tunnels[2].target_server_name|expected a n",
    "11:5  tunnels[3]|expected opt",
    "12:13  tunnels[4].name|expected a n",
    "12:56  tunnels[4].port|expected one",
    "12:61  tunnels[4].host_header|means nothin",
    "12:77  tunnels[4].insecure_target|means nothin",
    "12:100  tunnels[4].prot|unknown opti",
    "13:26  tunnels[5].target|expected HOS",
    "13:37  tunnels[5].port|expected a p",
    "13:50  tunnels[5].hostname|means nothin",
    "13:63  tunnels[5].subdomain|means nothin",
    "14:26  tunnels[6].target|expected HOS",
  ]);
});

test("a proxy's password that everybody on the machine can read gives a warning", () => {
  const env = { PROXY: "http://me:pass@proxy:3128" };
  for (const [text, mode, count] of [
    [`proxy: ${env.PROXY}`, 0o644, 1],
    [`proxy: ${env.PROXY}`, 0o600, 0],
    ["proxy: ${PROXY}", 0o644, 0],
    ["proxy: http://proxy:3128", 0o644, 0],
  ] as const) {
    write("client.yaml", text, mode);
    expect(loadClientConfig(file, env).warnings).toHaveLength(count);
  }
  write("client.yaml", `proxy: ${env.PROXY}`, 0o644);
  expect(loadClientConfig(file, {}).warnings).toEqual([
    `proxy: every user of this machine can read the password in ${file}; chmod 600 it`,
  ]);
});

test("a key that everybody on the machine can read gives a warning", () => {
  write("client.key", "culvert_x\n", 0o644);
  expect(load("key_file: client.key").warnings).toEqual([
    "key_file: every user of this machine can read this file; chmod 600 it",
  ]);
  write("client.yaml", "key: culvert_x", 0o644);
  expect(loadClientConfig(file, {}).warnings).toEqual([
    `key: every user of this machine can read ${file}; chmod 600 it`,
  ]);
  write("client.yaml", "key: ${KEY}", 0o644);
  expect(loadClientConfig(file, { KEY: "culvert_x" }).warnings).toEqual([]);
});

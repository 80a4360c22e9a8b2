import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { clientSettings, type ClientFlags } from "../../client/settings.ts";
import type { TypedTarget } from "../../client/typed-tunnel.ts";
import { encodeAccessKey } from "../../link/access-key.ts";
import { parseTcpTarget, type TargetRange } from "../../link/byte-target.ts";
import { parsePortRange, type PortRange } from "../../link/port-range.ts";
import { parseTarget, type Target } from "../../link/target.ts";
import { CommandError } from "../../runtime/command-error.ts";
import { makeCertificate } from "../support/certificates.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const KEY = encodeAccessKey({
  keyId: randomBytes(8),
  secret: randomBytes(16),
  host: "tunnel.example.com",
  port: 7000,
});

/** What a tunnel's command with these options asks for. */
function typed(typed: TypedTarget, flags: Partial<ClientFlags> = {}) {
  const { settings } = clientSettings({ key: KEY, typed, ...flags }, {});
  expect(settings.tunnels).toHaveLength(1);
  return settings.tunnels[0];
}

test.each([`"KEY"`, `'KEY'`, ` KEY\n`])("the access key may stand in quotes: %s", (text) => {
  const token = encodeAccessKey({
    keyId: randomBytes(8),
    secret: randomBytes(16),
    host: "a.test",
    port: 7000,
  });
  const { settings } = clientSettings({ key: text.replace("KEY", token) }, {});
  expect(settings.server.key.host).toBe("a.test");
});

test("tunnels of client.yaml are served beside that of the command line", async () => {
  const config = join(await temporaryDirectory(), "client.yaml");
  await writeFile(config, "tunnels: [{ name: ssh, type: tcp, target: 22 }]\n");
  const key = encodeAccessKey({ keyId: randomBytes(8), secret: randomBytes(16), host: "a.test", port: 7000 });
  const typed: TypedTarget = { kind: "HTTP", target: { host: "localhost", port: 3000 } };
  expect(clientSettings({ key, config, typed }, {}).settings.tunnels).toMatchObject([
    { kind: "TCP", name: "ssh" },
    { kind: "HTTP", target: { port: 3000 } },
  ]);
});

test("a pinned key without TLS is a mistake of the one who says so", async () => {
  const pinned = {
    keyId: randomBytes(8),
    secret: randomBytes(16),
    pin: randomBytes(32),
    host: "a.test",
    port: 7000,
  };
  const key = encodeAccessKey(pinned);
  expect(() => clientSettings({ key, plaintext: true }, {})).toThrow(CommandError);
  expect(() => clientSettings({ key, plaintext: true }, {})).toThrow(
    "--plaintext: the access key carries the pin",
  );
  const config = join(await temporaryDirectory(), "client.yaml");
  await writeFile(config, "plaintext: true\n");
  expect(() => clientSettings({ key, config }, {})).toThrow(
    "plaintext in the config: the access key carries",
  );
});

test("a key in the place of its file's path is not shown", () => {
  expect(() => clientSettings({ keyFile: "culvert_abc" }, {})).toThrow("--key-file ******: expected a file");
  expect(() => clientSettings({ keyFile: "/none/home.key" }, {})).toThrow(
    "--key-file /none/home.key: expected",
  );
});

/** `tunnel-client http TARGET` */
function tunnelOf(target: string, flags: Partial<ClientFlags> = {}) {
  return typed({ kind: "HTTP", target: parseTarget(target) as Target }, flags);
}

/** `tunnel-client tcp TARGET`, or udp */
function portsOf(kind: "TCP" | "UDP", target: string, port?: string, flags: Partial<ClientFlags> = {}) {
  return typed(
    { kind, target: parseTcpTarget(target) as TargetRange },
    { ...(port !== undefined && { port: parsePortRange(port) as PortRange }), ...flags },
  );
}

test("a proxy on the way to the server comes from the command line, client.yaml or the environment", async () => {
  const key = encodeAccessKey({
    keyId: randomBytes(8),
    secret: randomBytes(16),
    host: "tunnel.example.com",
    port: 7000,
  });
  const env = { HTTPS_PROXY: "http://me:pass@office:3128", NO_PROXY: "other.example.com" };
  const config = join(await temporaryDirectory(), "client.yaml");
  await writeFile(config, "proxy: http://written:3128");
  const proxyOf = (flags: ClientFlags) => clientSettings({ key, ...flags }, env).settings.server.proxy;
  expect(proxyOf({})).toEqual({
    host: "office",
    port: 3128,
    credentials: "me:pass",
    setBy: "HTTPS_PROXY",
  });
  expect(proxyOf({ config })).toMatchObject({ host: "written", setBy: "client.yaml" });
  expect(proxyOf({ config, proxy: "typed:3128" })).toMatchObject({ host: "typed", setBy: "--proxy" });
  expect(proxyOf({ config, proxy: "none" })).toBeUndefined();
  // Whatever the key says, it is the server that is dialled that counts.
  expect(proxyOf({ server: { host: "other.example.com", port: 7000 } })).toBeUndefined();
  const { warnings } = clientSettings({ key, server: { host: "::1", port: 7000 }, proxy: "typed" }, env);
  expect(warnings).toEqual(["the proxy from --proxy is not used: [::1]:7000 is on this machine"]);
});

test("a tunnel's target is of any kind, with what goes for it", async () => {
  const { cert } = await makeCertificate();
  const file = join(await temporaryDirectory(), "ca.pem");
  await writeFile(file, cert);
  expect(tunnelOf("3000")).toEqual({ kind: "HTTP", target: { host: "localhost", port: 3000 } });
  expect(
    tunnelOf("https://10.0.0.5", { targetCa: file, targetServerName: "App.test", name: "app" }),
  ).toMatchObject({
    name: "app",
    target: { host: "10.0.0.5", port: 443, tls: true },
    targetTls: { insecure: false, ca: expect.stringContaining("BEGIN CERTIFICATE"), serverName: "app.test" },
  });
  expect(tunnelOf("https://10.0.0.5", { insecureTarget: true, hostHeader: "target" })).toMatchObject({
    targetTls: { insecure: true, ca: "", serverName: "" },
    hostHeader: "target",
  });
  expect(tunnelOf("https://10.0.0.5", { insecureTarget: true, targetServerName: "visitor" })).toMatchObject({
    targetTls: { insecure: true, ca: "", serverName: "", serverNameOfVisitor: true },
  });
  expect(tunnelOf("unix:/run/app.sock", { timeoutMs: "5000", hostHeader: "App.test:81" })).toMatchObject({
    target: { path: "/run/app.sock" },
    timeoutMs: 5_000,
    hostHeader: "app.test:81",
  });
});

test.each<[string, Partial<ClientFlags>, string]>([
  ["3000", { insecureTarget: true }, "--insecure-target: means nothing for this target"],
  ["unix:/run/app.sock", { targetCa: "ca.pem" }, "--target-ca: means nothing for this target"],
  ["https://a", { targetCa: "/none/ca.pem" }, "--target-ca: expected a file that can be read"],
  ["https://a", { targetServerName: "a b" }, "--target-server-name: expected a name"],
  ["https://a", { insecureTarget: true, targetCa: "b" }, "--target-ca: means nothing for an insecure target"],
  ["3000", { hostHeader: "http://a" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "a:b" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "[::1" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "a\r\nX: y" }, "--host-header: expected a name"],
  ["3000", { name: "a b" }, '--name: expected a name such as "web"'],
  ["3000", { name: "n".repeat(64) }, '--name: expected a name such as "web"'],
  ["3000", { timeoutMs: "0" }, "--timeout-ms: expected a whole number of milliseconds from 1 to 86400000"],
  ["3000", { timeoutMs: "1e3" }, "--timeout-ms: expected a whole number of milliseconds"],
  ["3000", { timeoutMs: "86400001" }, "--timeout-ms: expected a whole number of milliseconds"],
  ["3000", { subdomain: "a", hostname: "b.example.com" }, "pass --subdomain or --hostname, not both"],
])("for %s what cannot be is refused: %j", (target, flags, message) => {
  expect(() => tunnelOf(target, flags)).toThrow(CommandError);
  expect(() => tunnelOf(target, flags)).toThrow(message);
});

const here = (port: number): Target => ({ host: "localhost", port });

test.each([
  ["22", undefined, { target: here(22), ports: 1 }],
  ["22", "2222", { target: here(22), port: 2222, ports: 1 }],
  ["192.168.1.10:3389", "3389-3389", { target: { host: "192.168.1.10", port: 3389 }, port: 3389, ports: 1 }],
  ["unix:/run/app.sock", "2222", { target: { path: "/run/app.sock" }, port: 2222, ports: 1 }],
  ["6000", "7000-7010", { target: here(6000), port: 7000, ports: 11 }],
  ["6000-6010", "7000-7010", { target: here(6000), port: 7000, ports: 11 }],
  ["6000-6010", undefined, { target: here(6000), ports: 11 }],
  ["64536", "1-1000", { target: here(64_536), port: 1, ports: 1_000 }],
])("ports for %s at %s are as many in public as at the target", (target, port, wanted) => {
  for (const kind of ["TCP", "UDP"] as const)
    expect(portsOf(kind, target, port)).toEqual({ kind, ...wanted });
});

test.each([
  ["6000-6010", "7000", "--port: expected 11 ports, as many as the target has"],
  ["6000-6010", "7000-7009", "--port: expected 11 ports, as many as the target has"],
  ["22", "1-1001", "--port: expected at most 1000 ports: a tunnel has no more"],
  ["unix:/run/app.sock", "1-2", "--port: expected one port, since a UNIX socket is one service"],
  ["64537", "1-1000", "--port: expected at most 999 ports: the target's end at 65535"],
])("ports for %s at %s do not fit together", (target, port, message) => {
  expect(() => portsOf("TCP", target, port)).toThrow(new CommandError(2, message));
});

test("a tunnel of bytes has the name, hostname and PROXY header that it was given", () => {
  expect(portsOf("TCP", "22", undefined, { name: "ssh", proxyProtocol: "v1" })).toEqual({
    kind: "TCP",
    name: "ssh",
    target: here(22),
    ports: 1,
    proxyProtocol: 1,
  });
  const tls: TypedTarget = { kind: "TLS", target: here(443) };
  expect(typed(tls)).toEqual({ kind: "TLS", target: here(443) });
  expect(typed(tls, { subdomain: "app", proxyProtocol: "v2", name: "web" })).toEqual({
    kind: "TLS",
    name: "web",
    target: here(443),
    subdomain: "app",
    proxyProtocol: 2,
  });
  expect(typed(tls, { hostname: "app.example.com" })).toMatchObject({ hostname: "app.example.com" });
  expect(() => typed(tls, { hostname: "app.example.com", subdomain: "app" })).toThrow(
    "a tunnel has one address: pass --subdomain or --hostname, not both",
  );
});

/** Ports of this machine and of another one that are allowed. */
function allowed(flags: Partial<ClientFlags>): string[] {
  const { consent } = clientSettings({ key: KEY, ...flags }, {}).settings;
  const asked: [string, number][] = [
    ["127.0.0.1", 3000],
    ["127.0.0.1", 22],
    ["10.0.0.1", 80],
  ];
  return asked.filter(([host, port]) => consent.allows(host, port)).map((each) => each.join(":"));
}

async function fileWith(text: string): Promise<string> {
  const file = join(await temporaryDirectory(), "client.yaml");
  await writeFile(file, text);
  return file;
}

describe("what the server may name", () => {
  const typed: TypedTarget = { kind: "HTTP", target: here(3000) };
  const TUNNELS = "tunnels: [{ type: http, target: '3000', subdomain: app }]\n";

  test("with the key alone: loopback, and what --allow adds", () => {
    expect(allowed({})).toEqual(["127.0.0.1:3000", "127.0.0.1:22"]);
    expect(allowed({ allow: ["10.0.0.1"] })).toEqual(["127.0.0.1:3000", "127.0.0.1:22", "10.0.0.1:80"]);
    expect(allowed({ allow: ["none"] })).toEqual([]);
  });

  test("beside a typed tunnel: nothing, or exactly what --allow names", () => {
    expect(allowed({ typed })).toEqual([]);
    expect(allowed({ typed, allow: ["10.0.0.1"] })).toEqual(["10.0.0.1:80"]);
    expect(allowed({ typed, allow: ["127.0.0.1:22"] })).toEqual(["127.0.0.1:22"]);
    expect(allowed({ typed, allow: ["none"] })).toEqual([]);
    expect(allowed({ typed, allow: ["any"] })).toHaveLength(3);
  });

  test("beside tunnels in client.yaml: the same", async () => {
    expect(allowed({ config: await fileWith(TUNNELS) })).toEqual([]);
    const allow = await fileWith(`${TUNNELS}allow: ["10.0.0.1:80"]\n`);
    expect(allowed({ config: allow })).toEqual(["10.0.0.1:80"]);
    expect(allowed({ config: allow, allow: ["127.0.0.1:22"] })).toEqual(["127.0.0.1:22", "10.0.0.1:80"]);
  });

  test("with a client.yaml without tunnels: as with the key alone", async () => {
    const config = await fileWith("allow: ['10.0.0.1']\n");
    expect(allowed({ config })).toEqual(["127.0.0.1:3000", "127.0.0.1:22", "10.0.0.1:80"]);
    expect(allowed({ config, typed })).toEqual(["10.0.0.1:80"]);
  });
});

import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import type { NetworkInterfaceInfo } from "node:os";
import { join } from "node:path";
import { placeInWords } from "../../../server/routing/place.ts";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { type AccessKey, decodeAccessKey, spkiPin } from "../../../link/access-key.ts";
import { configKeyId, configKeySecret } from "../../../server/access/config-key.ts";
import { KeyRing } from "../../../server/access/key-ring.ts";
import { CommandError } from "../../../runtime/command-error.ts";
import {
  keyCreate,
  type KeyCommandContext,
  keyGenerate,
  keyList,
  keyRevoke,
  keyShow,
} from "../../../server/commands/key.ts";
import { loadServerConfig, type ServerConfig } from "../../../server/config/config.ts";
import { loadOrCreateCertificate } from "../../../server/grpc/certificate.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const PUBLIC = { publicAddress: "tunnel.example.com:7000" };
const SECRET = "a_secret_of_22_letters_or_more";
const CONFIGURED: ServerConfig["keys"][number] = {
  name: "office",
  secret: SECRET,
  hostnames: ["app.example.com"],
  tunnels: [{ name: "web", kind: "HTTP", hostname: "app.example.com", target: "127.0.0.1:3000" }],
};

test("generate prints lines that are YAML for the config, with a fresh secret that it takes", async () => {
  const secrets = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const lines: string[] = [];
    await keyGenerate({ name: "home" }, { out: (line) => lines.push(line) });
    const { keys } = parse(lines.join("\n")) as { keys: { name: string; secret: string }[] };
    expect(keys).toEqual([{ name: "home", secret: expect.stringMatching(/^[A-Za-z0-9_]{22,}$/) }]);
    secrets.add(keys[0]!.secret);
  }
  expect(secrets.size).toBe(20);
});

test("create ends with the client's whole line, and the key in it comes in", async () => {
  const world = await startedServer();
  await keyCreate({ name: "home", tunnel: ["web=127.0.0.1:3000@app.example.com"], ...PUBLIC }, world.context);
  const key = keyInLastLine(world.lines);
  expect(key).toMatchObject({ host: "tunnel.example.com", port: 7000, pin: world.pin });
  expect(world.lines.join("\n")).toContain(world.config.dataDir);
  expect(await world.keyOf(key)).toMatchObject({
    name: "home",
    hostnames: ["app.example.com"],
    tunnels: [{ name: "web", kind: "HTTP", hostname: "app.example.com", target: "127.0.0.1:3000" }],
  });
});

test("tunnels can be at a hostname, at a name under the domain, at their own name, or at whatever is left", async () => {
  const world = await startedServer();
  const tunnel = ["a=8080@App.Example.ORG", "b=localhost:81@Shop", "c=[::1]:82", "d=83@*"];
  await keyCreate({ name: "home", tunnel, hostname: ["other.example.org"], ...PUBLIC }, world.context);
  const key = await world.keyOf(keyInLastLine(world.lines));
  expect(key?.tunnels.map((tunnel) => `${placeInWords(tunnel)} ${tunnel.target}`)).toEqual([
    "app.example.org localhost:8080",
    "shop.example.com localhost:81",
    "c.example.com [::1]:82",
    "* localhost:83",
  ]);
  expect(key?.hostnames).toEqual([
    "other.example.org",
    "app.example.org",
    "shop.example.com",
    "c.example.com",
    "*",
  ]);
});

test("a key gets ports to ask for, and tunnels of every kind", async () => {
  const world = await startedServer({ tls: { listen: { port: 8443 }, trustedProxies: [] } });
  const tunnel = ["ssh=tcp:22@2222", "any=udp:53", "mail=tls:993@mail.example.org"];
  await keyCreate({ name: "home", port: ["2200", "6000-6010"], tunnel, ...PUBLIC }, world.context);
  const expected = {
    hostnames: ["mail.example.org"],
    ports: [
      { from: 2200, to: 2200 },
      { from: 6000, to: 6010 },
    ],
    tunnels: [
      { name: "ssh", kind: "TCP", port: 2222, ports: 1, target: "localhost:22" },
      { name: "any", kind: "UDP", port: 0, ports: 1, target: "localhost:53" },
      { name: "mail", kind: "TLS", hostname: "mail.example.org", target: "localhost:993" },
    ],
  };
  expect(await world.keyOf(keyInLastLine(world.lines))).toMatchObject(expected);
  for (const words of [
    "ports           2200, 6000-6010",
    "ssh: tcp port 2222 -> localhost:22",
    "any: udp any free port -> localhost:53",
    "mail: tls mail.example.org -> localhost:993",
  ]) {
    expect(world.lines.join("\n")).toContain(words);
  }
  world.lines.length = 0;
  await keyShow({ name: "home", json: true }, world.context);
  expect(JSON.parse(world.lines[0]!)).toMatchObject({
    ...expected,
    tunnels: expected.tunnels.map(({ kind, ...tunnel }) => ({ ...tunnel, type: kind.toLowerCase() })),
  });
  world.lines.length = 0;
  await keyList({}, world.context);
  expect(world.lines.at(-1)).toMatch(
    / mail\.example\.org +2200, 6000-6010 +ssh \(tcp 2222\), any \(udp\), mail \(tls\) +\d+ s$/,
  );
});

test.each<[string, Partial<ServerConfig>, string]>([
  ["x=tls:443@a.org", {}, "the config has no tls.listen"],
  ["x=tcp:22", { tcp: { trustedProxies: [] } }, "it needs 1 of tcp.ports, which has 0"],
  ["x=udp:1-3", { udp: { ports: { from: 5, to: 6 } } }, "it needs 3 of udp.ports, which has 2"],
])("a tunnel for which the server has no place is refused: %s", async (tunnel, sections, words) => {
  const { context, config } = contextFor({ dataDir: await temporaryDirectory(), tls: "off" });
  Object.assign(config, sections);
  const error = await refusal(keyCreate({ name: "x", tunnel: [tunnel], ...PUBLIC }, context));
  expect(error.exitCode).toBe(2);
  expect(error.message).toContain(`--tunnel x: ${words}`);
  expect(error.message).toContain("--config");
});

test("create as JSON is one line for scripts", async () => {
  const world = await startedServer();
  await keyCreate({ name: "home", tunnel: ["web=3000"], json: true, ...PUBLIC }, world.context);
  expect(world.lines).toHaveLength(1);
  const made = JSON.parse(world.lines[0]!) as { key: string; command: string };
  expect(made).toMatchObject({
    name: "home",
    server: "tunnel.example.com:7000",
    dataDir: world.config.dataDir,
  });
  expect(made.command).toBe(`tunnel-client --key ${made.key}`);
  expect(await world.keyOf(decodeAccessKey(made.key))).toBeDefined();
});

test("create refuses where no server has ever started, and leaves nothing there", async () => {
  const dataDir = join(await temporaryDirectory(), "data");
  const { context } = contextFor({ dataDir });
  const error = await refusal(keyCreate({ name: "home", ...PUBLIC }, context));
  expect(error.message).toContain("Start tunnel-server first");
  expect(error.message).toContain("--data-dir");
  expect(error.message).toContain(dataDir);
  expect(error.exitCode).toBe(1);
  await expect(readdir(dataDir)).rejects.toThrow("ENOENT");
});

test("without TLS the line says --plaintext and the key has no pin; no server need have started", async () => {
  const { context, lines } = contextFor({ dataDir: join(await temporaryDirectory(), "data"), tls: "off" });
  await keyCreate({ name: "home", ...PUBLIC }, context);
  expect(lines.at(-1)).toMatch(/^tunnel-client --key culvert_\w+ --plaintext$/);
  expect(decodeAccessKey(lines.at(-1)!.split(" ")[2]!).pin).toBeUndefined();
});

test("with a certificate of the config the key has no pin", async () => {
  const tls = { cert: "/etc/cert.pem", key: "/etc/key.pem" };
  const { context, lines } = contextFor({ dataDir: await temporaryDirectory(), tls });
  await keyCreate({ name: "home", ...PUBLIC }, context);
  expect(keyInLastLine(lines).pin).toBeUndefined();
});

test.each<[string, Parameters<typeof contextFor>[0], string]>([
  ["the config's", { publicAddress: { host: "tunnel.example.net", port: 443 } }, "tunnel.example.net:443"],
  ["the machine's one global address", { addresses: ["192.168.1.2", "8.8.8.8", "fe80::1"] }, "8.8.8.8:7000"],
  ["an IPv6 address if that is all", { addresses: ["192.168.1.2", "2a01:4f8::1"] }, "2a01:4f8::1:7000"],
  [
    "the one that the port listens on",
    { addresses: [], listen: { host: "9.9.9.9", port: 7001 } },
    "9.9.9.9:7001",
  ],
  [
    "IPv4 if only that is listened on",
    { addresses: ["8.8.8.8"], listen: { host: "0.0.0.0", port: 1 } },
    "8.8.8.8:1",
  ],
])("without --public-address the key names %s", async (_what, options, expected) => {
  const { context, lines } = contextFor({ ...options, dataDir: await temporaryDirectory(), tls: "off" });
  await keyCreate({ name: "home" }, context);
  const { host, port } = decodeAccessKey(lines.at(-1)!.split(" ")[2]!);
  expect(`${host}:${port}`).toBe(expected);
});

test.each<[string, Parameters<typeof contextFor>[0], string]>([
  [
    "no global address",
    { addresses: ["192.168.1.2", "100.64.1.1", "127.0.0.1", "fe80::1"] },
    "no public address",
  ],
  ["several", { addresses: ["8.8.8.8", "9.9.9.9"] }, "8.8.8.8, 9.9.9.9"],
  [
    "a port on loopback only",
    { addresses: ["8.8.8.8"], listen: { host: "127.0.0.1", port: 7000 } },
    "127.0.0.1",
  ],
  [
    "IPv6 alone behind an IPv4 port",
    { addresses: ["2a01::1"], listen: { host: "0.0.0.0", port: 7000 } },
    "no public",
  ],
  ["a free port", { addresses: ["8.8.8.8"], listen: { port: 0 } }, "free port"],
])("%s: the address is asked for, and no key is made", async (_what, options, words) => {
  const dataDir = await temporaryDirectory();
  const { context } = contextFor({ ...options, dataDir, tls: "off" });
  const error = await refusal(keyCreate({ name: "home" }, context));
  expect(error.exitCode).toBe(2);
  expect(error.message).toContain(words);
  expect(error.message).toContain("--public-address HOST:PORT");
  expect(await readdir(dataDir)).toEqual([]);
});

test("a private address typed by hand is taken, IPv6 in brackets", async () => {
  for (const [typed, host] of [
    ["127.0.0.1:7000", "127.0.0.1"],
    ["[fd00::1]:7000", "fd00::1"],
  ] as const) {
    const { context, lines } = contextFor({ dataDir: await temporaryDirectory(), tls: "off" });
    await keyCreate({ name: "home", publicAddress: typed }, context);
    expect(lines.join("\n")).toContain(`${typed} (without TLS)`);
    expect(decodeAccessKey(lines.at(-1)!.split(" ")[2]!)).toMatchObject({ host, port: 7000 });
  }
});

test.each<[string, Parameters<typeof keyCreate>[0], string]>([
  ["name", { name: "a b" }, "--name"],
  ["name with a line break", { name: "a\nb" }, "--name"],
  ["hostname", { name: "x", hostname: ["http://app"] }, "--hostname"],
  ["port", { name: "x", port: ["ssh"] }, "--port: expected a port such as 2222"],
  ["range of ports", { name: "x", port: ["10-1"] }, "--port: expected a port such as 2222"],
  ["tunnel without target", { name: "x", tunnel: ["web"] }, "NAME=TARGET"],
  ["tunnel target", { name: "x", tunnel: ["web=nonsense"] }, "HOST:PORT"],
  ["tunnel name", { name: "x", tunnel: ["a b=3000"] }, "name of letters"],
  ["tunnel hostname", { name: "x", tunnel: ["web=3000@a b"] }, "@"],
  ["tunnel name as subdomain", { name: "x", tunnel: ["a.b_c=3000"] }, "add @HOSTNAME"],
  ["second tunnel of a name", { name: "x", tunnel: ["web=1@a", "web=2@b"] }, "given twice"],
  ["second tunnel at a hostname", { name: "x", tunnel: ["a=1@app", "b=2@app"] }, "given twice"],
  ["public address", { name: "x", publicAddress: ":7000" }, "--public-address"],
])("a bad %s is refused with what was expected", async (_what, options, words) => {
  const { context } = contextFor({ dataDir: await temporaryDirectory(), tls: "off" });
  const error = await refusal(keyCreate({ ...PUBLIC, ...options }, context));
  expect(error.exitCode).toBe(2);
  expect(error.message).toContain(words);
});

test("a name is given once, also against the config", async () => {
  const world = await startedServer({ keys: [CONFIGURED] });
  await keyCreate({ name: "home", ...PUBLIC }, world.context);
  for (const name of ["home", "office"]) {
    await expect(keyCreate({ name, ...PUBLIC }, world.context)).rejects.toThrow(`called "${name}" already`);
  }
});

test("list shows the keys of both places, and no secret", async () => {
  const world = await startedServer({ keys: [CONFIGURED] });
  await keyCreate({ name: "home", tunnel: ["web=3000"], ...PUBLIC }, world.context);
  const token = world.lines.at(-1)!.split(" ")[2]!;
  world.lines.length = 0;
  await keyList({}, world.context);
  await keyList({ json: true }, world.context);
  expect(world.lines[0]).toContain(world.config.dataDir);
  expect(world.lines[1]).toMatch(/^NAME +ID +IN +HOSTNAMES +PORTS +TUNNELS +AGE$/);
  expect(world.lines[2]).toMatch(/^office +[0-9a-f]{16} +config +app\.example\.com +- +web +-$/);
  expect(world.lines[3]).toMatch(/^home +[0-9a-f]{16} +keys\.json +web\.example\.com +- +web +\d+ s$/);
  const listed = JSON.parse(world.lines.at(-1)!) as { keys: { name: string; source: string }[] };
  expect(listed.keys.map(({ name, source }) => `${name} ${source}`)).toEqual([
    "office config",
    "home keys.json",
  ]);
  const stored = JSON.parse(await readFile(join(world.config.dataDir, "keys.json"), "utf8")) as StoredHashes;
  for (const secret of [SECRET, token, stored.keys[0]!.secret_sha256]) {
    expect(world.lines.join("\n")).not.toContain(secret);
  }
});

test("list says how to make a first key", async () => {
  const { context, lines } = contextFor({ dataDir: await temporaryDirectory() });
  await keyList({}, context);
  expect(lines.join("\n")).toContain("tunnel-server key create");
});

test("show prints a config key's whole line again, the same each time", async () => {
  const world = await startedServer({ keys: [CONFIGURED] });
  await keyShow({ name: "office", ...PUBLIC }, world.context);
  const line = world.lines.at(-1);
  const key = keyInLastLine(world.lines);
  expect(key).toEqual({
    keyId: configKeyId("office"),
    secret: configKeySecret(SECRET),
    pin: world.pin,
    host: "tunnel.example.com",
    port: 7000,
  });
  expect(await world.keyOf(key)).toMatchObject({ name: "office", source: "config" });
  await keyShow({ name: "office", json: true, ...PUBLIC }, world.context);
  expect(JSON.parse(world.lines.at(-1)!)).toMatchObject({ source: "config", command: line });
  expect(world.lines.join("\n")).not.toContain(SECRET);
});

test("show says of a stored key that its secret was shown once, and how to get one with the same rights", async () => {
  const world = await startedServer();
  await keyCreate({ name: "home", hostname: ["*"], tunnel: ["web=3000@app"], ...PUBLIC }, world.context);
  world.lines.length = 0;
  await keyShow({ name: "home" }, world.context);
  const text = world.lines.join("\n");
  for (const words of ["shown once", "app.example.com -> localhost:3000"]) expect(text).toContain(words);
  const place = `--config ${world.context.configFile} --data-dir ${world.config.dataDir}`;
  expect(world.lines.at(-1)).toBe(
    `tunnel-server key revoke home ${place} && tunnel-server key create --name home ` +
      `--hostname '*' --tunnel web=localhost:3000@app.example.com ${place}`,
  );
  expect(text).toContain(world.config.dataDir);
  expect(text).not.toContain("culvert_");
});

test("the line that renews a key makes one with the same rights", async () => {
  const world = await startedServer({ tls: { listen: { port: 8443 }, trustedProxies: [] } });
  await keyCreate(
    {
      name: "home",
      hostname: ["*", "own.example.org"],
      port: ["2200", "6000-6010"],
      tunnel: [
        "web=3000@app",
        "odd=http:udp:80@odd",
        "sock=unix:/run/it's a@b.sock@sock",
        "secure=https://10.0.0.5",
        "mail=tls:993@app",
        "ssh=tcp:[::1]:22@2222",
        "any=tcp:22",
        "at=tcp:unix:/run/a@b@0",
        "range=tcp:6000-6010@7100-7110",
        "row=udp:6000-6010",
        "dns=udp:53@53",
      ],
      ...PUBLIC,
    },
    world.context,
  );
  const file = join(world.config.dataDir, "keys.json");
  const rights = async () => {
    const { keys } = JSON.parse(await readFile(file, "utf8")) as { keys: Record<string, unknown>[] };
    expect(keys).toHaveLength(1);
    const { id: _id, created: _created, secret_sha256: _hash, hostnames, ...rest } = keys[0]!;
    return { ...rest, hostnames: (hostnames as string[]).toSorted() };
  };
  const before = await rights();

  world.lines.length = 0;
  await keyShow({ name: "home" }, world.context);
  const words = shellWords(world.lines.at(-1)!.replaceAll("tunnel-server key", "printf '%s\\0'"));
  const create = words.slice(words.indexOf("create") + 1);
  const valuesOf = (option: string) => create.filter((_word, i) => create[i - 1] === option);
  await keyRevoke({ name: "home" }, world.context);
  await keyCreate(
    {
      name: valuesOf("--name")[0]!,
      hostname: valuesOf("--hostname"),
      port: valuesOf("--port"),
      tunnel: valuesOf("--tunnel"),
      ...PUBLIC,
    },
    world.context,
  );
  expect(await rights()).toEqual(before);
});

test("revoke takes a stored key out, and only that", async () => {
  const world = await startedServer();
  for (const name of ["home", "work"]) await keyCreate({ name, ...PUBLIC }, world.context);
  const work = keyInLastLine(world.lines);
  world.lines.length = 0;
  await keyRevoke({ name: "home" }, world.context);
  expect(world.lines.join("\n")).toContain(world.config.dataDir);
  expect((await refusal(keyShow({ name: "home" }, world.context))).exitCode).toBe(1);
  expect(await world.keyOf(work)).toMatchObject({ name: "work" });
});

test("revoke of a config key says to remove it from the config", async () => {
  const world = await startedServer({ keys: [CONFIGURED] });
  const error = await refusal(keyRevoke({ name: "office" }, world.context));
  expect(error.exitCode).toBe(2);
  expect(error.message).toContain("/etc/culvert/config.yaml");
});

test("a key that does not exist is named, and no file is made", async () => {
  const dataDir = await temporaryDirectory();
  const { context } = contextFor({ dataDir });
  for (const command of [keyRevoke, keyShow]) {
    expect((await refusal(command({ name: "nobody" }, context))).message).toContain('no key called "nobody"');
  }
  expect(await readdir(dataDir)).toEqual([]);
});

/** What a shell makes of a command that prints its words. */
function shellWords(command: string): string[] {
  return execFileSync("sh", ["-c", command], { encoding: "utf8" }).split("\0");
}

interface StoredHashes {
  keys: { secret_sha256: string }[];
}

function contextFor(options: {
  dataDir?: string;
  tls?: ServerConfig["grpc"]["tls"];
  publicAddress?: ServerConfig["grpc"]["publicAddress"];
  listen?: ServerConfig["grpc"]["listen"];
  addresses?: string[];
  keys?: ServerConfig["keys"];
}) {
  const {
    dataDir = "/nowhere",
    tls = "auto",
    publicAddress,
    listen = { port: 7000 },
    addresses = [],
    keys = [],
  } = options;
  const lines: string[] = [];
  const { config: defaults } = loadServerConfig(undefined, {}, { dataDir });
  const config: ServerConfig = {
    ...defaults,
    http: { ...defaults.http, domain: "example.com" },
    grpc: { listen, tls, ...(publicAddress && { publicAddress }) },
    keys,
  };
  const context: KeyCommandContext = {
    config,
    configFile: "/etc/culvert/config.yaml",
    out: (line) => lines.push(line),
    interfaces: { eth0: addresses.map(info) },
  };
  return { context, lines, config };
}

/** The data directory of a server that has started once. */
async function startedServer(options: { keys?: ServerConfig["keys"]; tls?: ServerConfig["tls"] } = {}) {
  const dataDir = await temporaryDirectory();
  const { log } = recordingLog();
  const { cert } = await loadOrCreateCertificate(dataDir, log);
  const keyOf = async (key: AccessKey) => {
    using ring = new KeyRing({ dataDir, configKeys: options.keys ?? [], log });
    await ring.refresh();
    return ring.authenticate(key.keyId, key.secret);
  };
  const { keys, tls } = options;
  const made = contextFor({ dataDir, ...(keys && { keys }) });
  if (tls) made.config.tls = tls;
  return { ...made, pin: spkiPin(cert), keyOf };
}

function keyInLastLine(lines: string[]): AccessKey {
  const match = /^tunnel-client --key (culvert_\w+)$/.exec(lines.at(-1) ?? "");
  if (!match) throw new Error(`not a client's line: ${lines.at(-1)}`);
  return decodeAccessKey(match[1]!);
}

async function refusal(command: Promise<void>): Promise<CommandError> {
  const outcome = await command.catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(CommandError);
  return outcome as CommandError;
}

function info(address: string): NetworkInterfaceInfo {
  const rest = { address, internal: false, netmask: "", mac: "", cidr: null };
  return address.includes(":") ? { ...rest, family: "IPv6", scopeid: 0 } : { ...rest, family: "IPv4" };
}

test.each([
  ["ssh=tcp:22@7000", "--tunnel ssh: port 7000 is the server's own (grpc.listen): choose another."],
  ["web=tcp:80@8080", "--tunnel web: port 8080 is the server's own (http.listen): choose another."],
  [
    "range=tcp:6000-6010@8440-8450",
    "--tunnel range: port 8443 is the server's own (tls.listen): choose another.",
  ],
])("a tunnel cannot have a port that the server itself listens on: %s", async (tunnel, said) => {
  const world = await startedServer({ tls: { listen: { port: 8443 }, trustedProxies: [] } });
  const made = keyCreate({ name: "home", tunnel: [tunnel], ...PUBLIC }, world.context);
  await expect(made).rejects.toThrow(said);
});

test("over UDP a tunnel may have the number of a port that the server listens on over TCP", async () => {
  const world = await startedServer();
  await keyCreate({ name: "home", tunnel: ["dns=udp:53@7000"], ...PUBLIC }, world.context);
  expect(world.lines.at(-1)).toMatch(/^tunnel-client --key culvert_/);
});

import { randomBytes } from "node:crypto";
import { rename, rm, stat, writeFile } from "node:fs/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { decodeAccessKey } from "../../../link/access-key.ts";
import { configKeyId, configKeySecret } from "../../../server/access/config-key.ts";
import { createKey, NameTaken } from "../../../server/access/create-key.ts";
import { type ConfigKey, KeyRing } from "../../../server/access/key-ring.ts";
import { keyFileIn, type MappedTunnel, readKeyFile, updateKeyFile } from "../../../server/store/key-file.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { turnsUntil } from "../../support/turns.ts";

const SECRET_TEXT = "a_secret_of_22_letters_or_more";
const WEB: MappedTunnel = {
  name: "web",
  kind: "HTTP",
  hostname: "app.example.com",
  target: "127.0.0.1:3000",
};
const CONFIGURED: ConfigKey = {
  name: "home",
  secret: SECRET_TEXT,
  hostnames: ["app.example.com"],
  tunnels: [WEB],
};

test("a key of the config comes in with its derived id and secret, and with nothing else", async () => {
  const { ring } = await startRing({ configKeys: [CONFIGURED] });
  const [id, secret] = [configKeyId("home"), configKeySecret(SECRET_TEXT)];
  const expected = {
    id: id.toString("hex"),
    name: "home",
    hostnames: ["app.example.com"],
    tunnels: [WEB],
    source: "config",
  };
  expect(ring.authenticate(id, secret)).toEqual(expected);
  expect(ring.byId(id.toString("hex"))).toEqual(expected);
  expect(ring.authenticate(id, configKeySecret(`${SECRET_TEXT}x`))).toBeUndefined();
  expect(ring.authenticate(configKeyId("work"), secret)).toBeUndefined();
});

test("the derived id and secret stay what they are, since clients hold them", () => {
  // printf 'culvert key id:home' | sha256sum; printf a_secret_of_22_letters_or_more | sha256sum
  expect(configKeyId("home").toString("hex")).toBe("e5588a4ce59ea86e");
  expect(configKeySecret(SECRET_TEXT).toString("hex")).toBe("10e8169d5b51069e2db19b2d8ed34599");
});

test("a key that was created comes in after the next refresh", async () => {
  const { ring, dataDir } = await startRing();
  const { keyId, secret, key } = await create(dataDir, "home", { tunnels: [WEB], hostnames: ["*"] });
  expect(ring.authenticate(keyId, secret)).toBeUndefined();
  await ring.refresh();
  expect(ring.authenticate(keyId, secret)).toEqual({
    id: key.id,
    name: "home",
    hostnames: ["*", "app.example.com"],
    tunnels: [WEB],
    source: "store",
  });
});

test("ids and secrets of any length and content are refused, not failed on", async () => {
  const { ring, dataDir } = await startRing();
  const { keyId, secret } = await create(dataDir, "home");
  await ring.refresh();
  for (const wrong of [
    Buffer.alloc(0),
    Buffer.alloc(16),
    randomBytes(16),
    randomBytes(10_000),
    secret.subarray(0, 15),
  ]) {
    expect(ring.authenticate(keyId, wrong)).toBeUndefined();
    expect(ring.authenticate(wrong, secret)).toBeUndefined();
  }
});

test("only a hash of the secret is stored", async () => {
  const dataDir = await temporaryDirectory();
  const { secret, token } = await create(dataDir, "home");
  const text = JSON.stringify(await readKeyFile(keyFileIn(dataDir)));
  for (const form of [secret.toString("hex"), secret.toString("base64"), token])
    expect(text).not.toContain(form);
});

test("a revoked key is refused, and its id is told, once", async () => {
  const { ring, dataDir } = await startRing();
  const [gone, stays] = [await create(dataDir, "gone"), await create(dataDir, "stays")];
  await ring.refresh();
  const revoked = vi.fn<(ids: ReadonlySet<string>) => void>();
  ring.onRevoked(revoked);
  await revoke(dataDir, "gone");
  await ring.refresh();
  await ring.refresh();
  expect(revoked.mock.calls).toEqual([[new Set([gone.key.id])]]);
  expect(ring.authenticate(gone.keyId, gone.secret)).toBeUndefined();
  expect(ring.authenticate(stays.keyId, stays.secret)).toBeDefined();
});

test("a key whose secret is replaced counts as revoked", async () => {
  const { ring, dataDir } = await startRing();
  const { key } = await create(dataDir, "home");
  await ring.refresh();
  const revoked = vi.fn<(ids: ReadonlySet<string>) => void>();
  ring.onRevoked(revoked);
  await updateKeyFile(keyFileIn(dataDir), (keys) =>
    keys.map((key) => ({ ...key, secretSha256: "00".repeat(32) })),
  );
  await ring.refresh();
  expect(revoked.mock.calls).toEqual([[new Set([key.id])]]);
});

test("a ring that watches notices a revoked key by itself, within a second", async () => {
  const { ring, dataDir } = await startRing();
  const { key } = await create(dataDir, "home");
  await ring.refresh();
  ring.watch();
  const revoked = new Promise<ReadonlySet<string>>((resolve) => ring.onRevoked(resolve));
  const started = performance.now();
  await revoke(dataDir, "home");
  expect(await revoked).toEqual(new Set([key.id]));
  expect(performance.now() - started).toBeLessThan(1000);
});

test("a listener that has unsubscribed hears nothing", async () => {
  const { ring, dataDir } = await startRing();
  await create(dataDir, "home");
  await ring.refresh();
  const revoked = vi.fn<() => void>();
  ring.onRevoked(revoked)();
  await revoke(dataDir, "home");
  await ring.refresh();
  expect(revoked).not.toHaveBeenCalled();
});

test.each([
  ["half written", '{ "version": 1, "keys": [ {'],
  ["empty", ""],
  ["of another form", '{ "version": 1 }'],
])("while keys.json is %s the last good keys stay, and one error names the file", async (_how, text) => {
  const { ring, dataDir, lines } = await startRing();
  const { keyId, secret } = await create(dataDir, "home");
  await ring.refresh();
  const revoked = vi.fn<() => void>();
  ring.onRevoked(revoked);
  await writeFile(keyFileIn(dataDir), text);
  for (let i = 0; i < 3; i++) await ring.refresh();
  expect(ring.authenticate(keyId, secret)).toBeDefined();
  expect(revoked).not.toHaveBeenCalled();
  const errors = lines.filter(({ level }) => level === "error");
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatchObject({ file: keyFileIn(dataDir) });

  await writeFile(keyFileIn(dataDir), '{ "version": 1, "keys": [] }');
  await ring.refresh();
  expect(ring.authenticate(keyId, secret)).toBeUndefined();
  expect(revoked).toHaveBeenCalledTimes(1);
});

test("a file that is gone for a moment, as some editors do it, revokes nothing", async () => {
  const { ring, dataDir } = await startRing();
  const { keyId, secret } = await create(dataDir, "home");
  await ring.refresh();
  const file = keyFileIn(dataDir);
  await rename(file, `${file}~`);
  const refreshed = ring.refresh();
  // The ring's own look was asked for before the last of these.
  for (let i = 0; i < 3; i++) await expect(stat(file)).rejects.toThrow("ENOENT");
  await rename(`${file}~`, file);
  await refreshed;
  expect(ring.authenticate(keyId, secret)).toBeDefined();
});

test("no timer is left of a ring that closes while it waits for a file that is gone for a moment", async () => {
  const { ring, dataDir } = await startRing();
  await create(dataDir, "home");
  await ring.refresh();
  await rm(keyFileIn(dataDir));
  const before = timers();
  const refreshed = ring.refresh();
  await turnsUntil(() => timers() > before);
  ring.close();
  expect(timers()).toBeLessThanOrEqual(before);
  await refreshed;
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
}

test("a file that is gone for good revokes its keys, and not those of the config", async () => {
  const { ring, dataDir } = await startRing({ configKeys: [CONFIGURED] });
  const { key } = await create(dataDir, "other");
  await ring.refresh();
  const revoked = vi.fn<(ids: ReadonlySet<string>) => void>();
  ring.onRevoked(revoked);
  await rm(keyFileIn(dataDir));
  await ring.refresh();
  expect(revoked.mock.calls).toEqual([[new Set([key.id])]]);
  expect(ring.authenticate(configKeyId("home"), configKeySecret(SECRET_TEXT))).toBeDefined();
});

test("a name is given once: at creation refused, at load reported, and the config's key counts", async () => {
  const { ring, dataDir, lines } = await startRing({ configKeys: [CONFIGURED] });
  await expect(create(dataDir, "home", { namesInConfig: ["home"] })).rejects.toThrow(NameTaken);
  const { keyId, secret } = await create(dataDir, "home");
  await expect(create(dataDir, "home")).rejects.toThrow(NameTaken);
  await ring.refresh();
  expect(ring.authenticate(keyId, secret)).toBeUndefined();
  expect(ring.authenticate(configKeyId("home"), configKeySecret(SECRET_TEXT))).toMatchObject({
    source: "config",
  });
  expect(lines).toMatchObject([{ level: "warn", key: "home", file: keyFileIn(dataDir) }]);
});

test("a refresh sees what was written before it was asked for, also while another is under way", async () => {
  const { ring, dataDir } = await startRing();
  const earlier = ring.refresh();
  const { keyId, secret } = await create(dataDir, "home");
  await Promise.all([earlier, ring.refresh(), ring.refresh()]);
  expect(ring.authenticate(keyId, secret)).toBeDefined();
});

test("a hostname's owners are the keys that it is written to, those of the config first", async () => {
  const { ring, dataDir } = await startRing({ configKeys: [CONFIGURED] });
  await create(dataDir, "other", { hostnames: ["other.example.com", "app.example.com"] });
  await ring.refresh();
  expect(ring.ownersOf("app.example.com").map(({ key }) => key.name)).toEqual(["home", "other"]);
  expect(ring.ownersOf("other.example.com").map(({ key }) => key.name)).toEqual(["other"]);
  expect(ring.ownersOf("nobody.example.com")).toEqual([]);
});

test("a port's owners are the keys that may ask for it, over TCP and UDP, and those with a tunnel at it", async () => {
  const ssh: MappedTunnel = { name: "ssh", kind: "TCP", port: 2222, ports: 2, target: "127.0.0.1:22" };
  const game: MappedTunnel = { name: "game", kind: "UDP", port: 6000, ports: 1, target: "127.0.0.1:1" };
  const { ring, dataDir } = await startRing({
    configKeys: [
      {
        ...CONFIGURED,
        tunnels: [game],
        ports: [
          { from: 6000, to: 6010 },
          { from: 2223, to: 2223 },
        ],
      },
    ],
  });
  await create(dataDir, "other", { tunnels: [ssh], ports: [{ from: 6010, to: 6010 }] });
  await ring.refresh();
  const ownersOf = (kind: "TCP" | "UDP", port: number) =>
    ring.portOwners(kind, { from: port, to: port }).map(({ key }) => key.name);
  expect(ownersOf("TCP", 6000)).toEqual(["home"]);
  // The tunnel at it, and the right to ask for it.
  expect(ownersOf("UDP", 6000)).toEqual(["home", "home"]);
  expect(ownersOf("UDP", 6010)).toEqual(["home", "other"]);
  expect(ownersOf("TCP", 2222)).toEqual(["other"]);
  expect(ownersOf("TCP", 2223)).toEqual(["other", "home"]);
  expect(ownersOf("UDP", 2222)).toEqual([]);
  expect(ownersOf("TCP", 6011)).toEqual([]);
  expect(ring.portOwners("TCP", { from: 2223, to: 6005 }).map(({ from, to }) => [from, to])).toEqual([
    [2222, 2223],
    [2223, 2223],
    [6000, 6010],
  ]);
  await revoke(dataDir, "other");
  await ring.refresh();
  expect(ownersOf("UDP", 6010)).toEqual(["home"]);
});

test("no secret stands in the log", async () => {
  const { ring, dataDir, lines } = await startRing({ configKeys: [CONFIGURED] });
  const { secret, token } = await create(dataDir, "gone");
  await ring.refresh();
  await revoke(dataDir, "gone");
  await ring.refresh();
  expect(lines.length).toBeGreaterThan(0);
  for (const form of [SECRET_TEXT, token, secret.toString("hex")])
    expect(JSON.stringify(lines)).not.toContain(form);
});

async function startRing({ configKeys = [] }: { configKeys?: ConfigKey[] } = {}) {
  const dataDir = await temporaryDirectory();
  const { log, lines } = recordingLog();
  const ring = new KeyRing({ dataDir, configKeys, log });
  onTestFinished(() => ring.close());
  await ring.refresh();
  return { ring, dataDir, lines };
}

async function create(dataDir: string, name: string, more: Partial<Parameters<typeof createKey>[0]> = {}) {
  const { key, token } = await createKey({ dataDir, name, host: "203.0.113.9", port: 7000, ...more });
  const { keyId, secret } = decodeAccessKey(token);
  return { key, token, keyId, secret };
}

async function revoke(dataDir: string, name: string): Promise<void> {
  await updateKeyFile(keyFileIn(dataDir), (keys) => keys.filter((key) => key.name !== name));
}

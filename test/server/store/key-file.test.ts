import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  KeyFileError,
  keyFileIn,
  readKeyFile,
  type StoredKey,
  updateKeyFile,
} from "../../../server/store/key-file.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const HOME: StoredKey = {
  id: "0123456789abcdef",
  name: "home",
  secretSha256: "ab".repeat(32),
  hostnames: ["app.example.com", "*"],
  tunnels: [{ name: "web", kind: "HTTP", hostname: "app.example.com", target: "127.0.0.1:3000" }],
  created: "2025-01-02T03:04:05.678Z",
};

test("keys come back as they were stored, from a file for its owner alone", async () => {
  const directory = await temporaryDirectory();
  const file = keyFileIn(directory);
  await updateKeyFile(file, (keys) => [...keys, HOME]);
  expect(await readKeyFile(file)).toEqual([HOME]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(directory)).toEqual(["keys.json"]);
});

test("tunnels of every kind, and ports, come back as they were stored", async () => {
  const file = keyFileIn(await temporaryDirectory());
  const key: StoredKey = {
    ...HOME,
    ports: [
      { from: 2200, to: 2200 },
      { from: 6000, to: 6010 },
    ],
    tunnels: [
      { name: "web", kind: "HTTP", hostname: "app.example.com", target: "https://10.0.0.5:443" },
      { name: "mail", kind: "TLS", hostname: "app.example.com", target: "unix:/run/mail.sock" },
      { name: "ssh", kind: "TCP", port: 65_535, ports: 1, target: "127.0.0.1:22" },
      { name: "any", kind: "TCP", port: 0, ports: 1, target: "unix:/run/any.sock" },
      { name: "games", kind: "UDP", port: 1, ports: 1000, target: "[::1]:64536" },
    ],
  };
  await updateKeyFile(file, () => [key]);
  expect(await readKeyFile(file)).toEqual([key]);
});

test("without a file there are no keys", async () => {
  expect(await readKeyFile(keyFileIn(await temporaryDirectory()))).toEqual([]);
});

test("changes made at once are all kept", async () => {
  const file = keyFileIn(await temporaryDirectory());
  await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      updateKeyFile(file, (keys) => [
        ...keys,
        { ...HOME, id: i.toString(16).padStart(16, "0"), name: `key${i}` },
      ]),
    ),
  );
  expect((await readKeyFile(file)).map(({ name }) => name).toSorted()).toEqual(
    Array.from({ length: 12 }, (_, i) => `key${i}`).toSorted(),
  );
});

test("a change that fails changes nothing, and its error is passed on", async () => {
  const directory = await temporaryDirectory();
  const file = keyFileIn(directory);
  await updateKeyFile(file, () => [HOME]);
  const before = await readFile(file, "utf8");
  const error = new Error("name taken");
  await expect(
    updateKeyFile(file, () => {
      throw error;
    }),
  ).rejects.toBe(error);
  await expect(updateKeyFile(file, (keys) => [...keys, HOME])).rejects.toThrow(KeyFileError);
  expect(await readFile(file, "utf8")).toBe(before);
  expect(await readdir(directory)).toEqual(["keys.json"]);
});

test.each([
  ["no JSON", "{", "not valid JSON"],
  ["an empty file", "", "not valid JSON"],
  ["JSON of another form", "[]", "expected form"],
  ["a newer version", JSON.stringify({ version: 2, keys: [] }), "newer version"],
  ["a field that nobody knows", fileWith({ expires: "2030-01-01" }), "expires"],
  ["a missing field", fileWith({ hostnames: undefined }), "keys.0.hostnames"],
  ["a hash cut short", fileWith({ secret_sha256: "ab" }), "keys.0.secret_sha256"],
  ["a hostname in capitals", fileWith({ hostnames: ["App.example.com"] }), "lower case"],
  ["an id that is none", fileWith({ id: "__proto__" }), "keys.0.id"],
  [
    "a range of ports the wrong way round",
    fileWith({ ports: [{ from: 2, to: 1 }] }),
    "keys.0.ports.0: expected the lowest",
  ],
  ["a port that is none", fileWith({ ports: [{ from: 0, to: 1 }] }), "keys.0.ports.0.from"],
  [
    "ports beyond the last",
    tunnelInFile({ port: 65_535, ports: 2 }),
    "keys.0.tunnels.0: expected ports up to 65535",
  ],
  ["targets beyond the last", tunnelInFile({ ports: 2, target: "a:65535" }), "expected ports up to 65535"],
  ["too many ports", tunnelInFile({ ports: 1001 }), "keys.0.tunnels.0.ports"],
  ["several ports to a UNIX socket", tunnelInFile({ ports: 2, target: "unix:/x" }), "a target for each"],
  ["datagrams to a UNIX socket", tunnelInFile({ type: "udp", target: "unix:/x" }), "a target of this type"],
  ["a port with a URL as target", tunnelInFile({ target: "https://a" }), "a target of this type"],
  ["a target that says how many", tunnelInFile({ ports: 2, target: "1-2" }), "a target of this type"],
  ["a port with a hostname", tunnelInFile({ hostname: "a.org" }), "hostname"],
  ["a kind that nobody knows", tunnelInFile({ type: "sctp" }), "keys.0.tunnels.0.type"],
  ["two keys of one name", fileWith({}, { id: "1111111111111111" }), '"home" stands there twice'],
  ["two keys of one id", fileWith({}, { name: "other" }), '"0123456789abcdef" stands there twice'],
])("%s is refused with the file's name, and never overwritten", async (_what, text, message) => {
  const file = keyFileIn(await temporaryDirectory());
  await writeFile(file, text);
  for (const attempt of [() => readKeyFile(file), () => updateKeyFile(file, () => [])]) {
    const error = await attempt().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(KeyFileError);
    expect((error as Error).message).toContain(file);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).not.toContain("abab");
  }
  expect(await readFile(file, "utf8")).toBe(text);
});

test("a directory that cannot be written is named", async () => {
  const file = join(await temporaryDirectory(), "missing", "keys.json");
  const failed = updateKeyFile(file, () => []);
  await expect(failed).rejects.toThrow(KeyFileError);
  await expect(failed).rejects.toThrow(`cannot change ${file}: no such file or directory`);
});

/** keys.json with a key like HOME for each change to it. */
function fileWith(...changes: object[]): string {
  const { secretSha256, ...rest } = HOME;
  const tunnels = [{ name: "web", type: "http", hostname: "app.example.com", target: "127.0.0.1:3000" }];
  const key = { ...rest, secret_sha256: secretSha256, tunnels };
  const all =
    changes.length === 1 ? [{ ...key, ...changes[0] }] : changes.map((change) => ({ ...key, ...change }));
  return JSON.stringify({ version: 1, keys: all });
}

/** keys.json with a key like HOME that has one tunnel with ports, with a change to that. */
function tunnelInFile(change: object): string {
  return fileWith({
    tunnels: [{ name: "ssh", type: "tcp", port: 1, ports: 1, target: "127.0.0.1:22", ...change }],
  });
}

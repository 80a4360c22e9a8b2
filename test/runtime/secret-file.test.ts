import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { looksLikeSecret, readSecretFile } from "../../runtime/secret-file.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const SECRET = "not_a_real_secret_but_long";

async function read(content: string | Uint8Array) {
  const file = path.join(await temporaryDirectory(), "secret");
  await writeFile(file, content, { mode: 0o600 });
  return readSecretFile(file);
}

test.each<[string, string | Uint8Array]>([
  ["alone", SECRET],
  ["with line feeds of Windows", `\r\n${SECRET}\r\n\r\n`],
  ["in double quotes", `"${SECRET}"\n`],
  ["in single quotes", `'${SECRET}'`],
  ["in the quotes of a word processor", `“${SECRET}”`],
  ["below comments", `# for the machine at home\n\n  # made in May\n${SECRET}\n`],
  ["with a byte order mark", `\ufeff${SECRET}\n`],
  ["in UTF-16, as PowerShell writes it", Buffer.from(`\ufeff${SECRET}\r\n`, "utf16le")],
  ["in UTF-16 of the other order", Buffer.from(`\ufeff${SECRET}\r\n`, "utf16le").swap16()],
])("a secret is found in its file: %s", async (_how, content) => {
  expect(await read(content)).toEqual({ secret: SECRET, worldReadable: false });
});

test.each<[string, string | Uint8Array, string]>([
  ["nothing", "", "it is empty"],
  ["comments only", "# later\n", "it is empty"],
  ["two secrets", `${SECRET}\n${SECRET}\n`, "it has several lines"],
  ["no text", Uint8Array.of(0x61, 0xff, 0xfe), "it is not text in UTF-8"],
])("a file with %s is refused, and not shown", async (_what, content, why) => {
  const refused = await read(content);
  expect(refused).toContain(why);
  expect(refused).not.toContain(SECRET);
});

test("a secret in the place of its file's path is told from a path", () => {
  expect([SECRET, "culvert_abc", "-----BEGIN PRIVATE KEY-----"].map(looksLikeSecret)).toEqual([
    true,
    true,
    true,
  ]);
  expect(
    ["home.key", "/run/credentials/key", "keys/a_very_long_name_of_a_file"].map(looksLikeSecret),
  ).toEqual([false, false, false]);
});

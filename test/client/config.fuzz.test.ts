import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { loadClientConfig } from "../../client/config.ts";
import { expectHidden, readOrRefused } from "../support/config-problems.ts";
import { fuzz } from "../support/fuzz.ts";
import { mutatedYaml, yamlText } from "../support/mutated-yaml.ts";

// Its options that are commented out are options too.
const EXAMPLE = readFileSync("client.example.yaml", "utf8").replaceAll(/^# (?=\w+: )/gm, "");
const INLINE_SECRET = randomBytes(50).toString("hex");
const FILE_SECRET = randomBytes(50).toString("hex");

const directory = mkdtempSync(path.join(tmpdir(), "culvert-config-"));
const file = path.join(directory, "client.yaml");
writeFileSync(path.join(directory, "client.key"), FILE_SECRET);
afterAll(() => rmSync(directory, { recursive: true }));

function load(text: string) {
  writeFileSync(file, text);
  return loadClientConfig(file, {});
}

fuzz(
  "any text is a config, or refused with what is wrong where",
  [fc.oneof(yamlText, fc.string({ unit: "binary" }))],
  (text) => {
    readOrRefused(() => load(text), text);
  },
  { cost: 2 },
);

fuzz(
  "a config with mistakes is read, or refused with what is wrong where",
  [mutatedYaml(EXAMPLE)],
  (text) => {
    const read = readOrRefused(() => load(text), text);
    expectHidden(FILE_SECRET, read);
  },
  { cost: 4 },
);

fuzz(
  "no refusal shows the key that stands in the config",
  [mutatedYaml(EXAMPLE.replace("key_file: client.key", `key: culvert_${INLINE_SECRET}`))],
  (text) => {
    const read = readOrRefused(() => load(text), text);
    expectHidden(INLINE_SECRET, read);
  },
  { cost: 4 },
);

test("a key that stands where an option's name belongs is not shown", () => {
  expect(() => load(`culvert_${INLINE_SECRET}: 1\n`)).toThrow(/client\.yaml:1:1 {2}…: unknown option/);
});

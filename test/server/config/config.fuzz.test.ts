import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll } from "vitest";
import { loadServerConfig } from "../../../server/config/config.ts";
import { expectHidden, readOrRefused } from "../../support/config-problems.ts";
import { fuzz } from "../../support/fuzz.ts";
import { mutatedYaml, optionWith, yamlText } from "../../support/mutated-yaml.ts";

const EXAMPLE = readFileSync("config.example.yaml", "utf8");
const INLINE_SECRET = madeSecret();
const WITH_SECRET = EXAMPLE.replace("${HOME_KEY}", INLINE_SECRET);
const ENVIRONMENT_SECRET = madeSecret();
const FILE_SECRET = madeSecret();

const directory = mkdtempSync(path.join(tmpdir(), "culvert-config-"));
const file = path.join(directory, "config.yaml");
for (const name of ["office.key", "machines.key"]) writeFileSync(path.join(directory, name), FILE_SECRET);
afterAll(() => rmSync(directory, { recursive: true }));

function load(text: string) {
  writeFileSync(file, text);
  return loadServerConfig(file, { HOME_KEY: ENVIRONMENT_SECRET, STATE_DIRECTORY: "/state" });
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
    expectHidden(ENVIRONMENT_SECRET, read);
    expectHidden(FILE_SECRET, read);
  },
  { cost: 4 },
);

fuzz(
  "no refusal shows the secret that stands in the config",
  [fc.oneof(mutatedYaml(WITH_SECRET), mutatedYaml(optionWith(INLINE_SECRET, WITH_SECRET)))],
  (text) => {
    const read = readOrRefused(() => load(text), text);
    expectHidden(INLINE_SECRET, read);
  },
  { cost: 4 },
);

function madeSecret(): string {
  return randomBytes(50).toString("hex");
}

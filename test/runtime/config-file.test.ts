import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { ConfigError } from "../../runtime/config-error.ts";
import { readConfigFile } from "../../runtime/config-file.ts";
import { addressOption, option } from "../../runtime/config-option.ts";
import { parseTargetAddress } from "../../runtime/net-address.ts";

const schema = z.strictObject({
  http: z
    .strictObject({ port: z.number().default(8080), host: z.string().default("localhost") })
    .prefault({}),
  target: addressOption(parseTargetAddress).optional(),
  even: option("expected an even number", (text) =>
    Number(text) % 2 === 0 ? Number(text) : undefined,
  ).optional(),
  secret: z
    .string()
    .regex(/^[a-z]{8,}$/, { error: "expected 8 letters" })
    .optional(),
  enabled: z.boolean().optional(),
  names: z.array(z.string()).default([]),
  mode: z
    .union([z.enum(["auto", "off"]), z.strictObject({ cert: z.string(), key: z.string() })], {
      error: () => "expected auto, off or { cert: FILE, key: FILE }",
    })
    .optional(),
});

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "config-"));
  file = path.join(directory, "config.yaml");
});
afterEach(() => rmSync(directory, { recursive: true }));

function read(text: string | Uint8Array, env: NodeJS.ProcessEnv = {}) {
  writeFileSync(file, text);
  return readConfigFile(file, schema, { env, secrets: ["secret"] }).value;
}

/** The lines of the error, without the file's directory. */
function problemsOf(text: string | Uint8Array, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    read(text, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.replaceAll(`${directory}/`, "").split("\n");
  }
  throw new Error("the file was read without a problem");
}

test("a file is read with its defaults", () => {
  expect(read("http: { port: 1 }\ntarget: 3000\nnames: [a, b]\n")).toEqual({
    http: { port: 1, host: "localhost" },
    target: { host: "localhost", port: 3000 },
    names: ["a", "b"],
  });
});

test.each(["", "\n# nothing\n", "---\n", "http:\nnames:\ntarget: ~\n", "\uFEFFhttp:\n  port:\n"])(
  "empty files and options without a value are defaults: %j",
  (text) => {
    expect(read(text)).toEqual({ http: { port: 8080, host: "localhost" }, names: [] });
  },
);

test("an unknown option is shown at its name, with a guess", () => {
  expect(problemsOf("names: []\nhttp:\n    prot: 80\n")).toEqual([
    'config.yaml:3:5  http.prot: unknown option. Did you mean "port"?',
  ]);
});

test("without a likely guess the known options are named", () => {
  expect(problemsOf("http: { zebra: 1, \u009bx: 2 }")).toEqual([
    "config.yaml:1:9  http.zebra: unknown option. Known here: port, host",
    "config.yaml:1:19  http.\\u009bx: unknown option. Known here: port, host",
  ]);
});

test("options named as parts of JavaScript objects are unknown like any other", () => {
  expect(
    problemsOf("__proto__: { a: 1 }\nconstructor: 1\ntoString: 2\n").map((line) => line.split(".")[1]),
  ).toEqual([
    "yaml:1:1  __proto__: unknown option",
    "yaml:2:1  constructor: unknown option",
    "yaml:3:1  toString: unknown option",
  ]);
});

test("all problems of a file come together, in its order", () => {
  expect(
    problemsOf(`http:
  port: eighty
  port: 81
  prot: 80
target: nowhere
even: 7
enabled: yes
names: [a, 2]
secret: short
secret2: x
mode: { cert: a, kye: b }
`),
  ).toEqual([
    "config.yaml:3:3  this option is given twice",
    'config.yaml:4:3  http.prot: unknown option. Did you mean "port"?',
    'config.yaml:5:9  target: expected HOST:PORT such as 127.0.0.1:3000, got "nowhere"',
    "config.yaml:6:7  even: expected an even number, got 7",
    'config.yaml:7:10  enabled: expected true or false, got "yes"',
    "config.yaml:8:12  names[1]: expected text, got 2: put it in quotes",
    "config.yaml:9:9  secret: expected 8 letters, got ******",
    'config.yaml:10:1  secret2: unknown option. Did you mean "secret"?',
    "config.yaml:11:7  mode.key: missing: expected text",
    'config.yaml:11:18  mode.kye: unknown option. Did you mean "key"?',
  ]);
});

test("of alternatives that all differ, what was expected is said as a whole", () => {
  expect(problemsOf("mode: on")).toEqual([
    'config.yaml:1:7  mode: expected auto, off or { cert: FILE, key: FILE }, got "on"',
  ]);
});

test("the problems are there as data too", () => {
  writeFileSync(file, "http:\n  prot: 1\n");
  expect(() => readConfigFile(file, schema, { env: {} })).toThrow(
    expect.objectContaining({
      file,
      problems: [{ line: 2, column: 3, path: "http.prot", message: 'unknown option. Did you mean "port"?' }],
    }),
  );
});

test.each([
  ["target: a\n---\ntarget: b\n", "config.yaml:2:1  only one document"],
  ["http:\n\tport: 1\n", "config.yaml:2:1  a tab"],
  ["names: [a, b\ntarget: x\n", "config.yaml:2:"],
  ["target: 'a\n", "config.yaml:2:1  something is missing"],
  ["target: a: b\n", 'config.yaml:1:9  a second ":"'],
  ["http:\n  port: 1\n host: x\n", "config.yaml:3:"],
  ["target: @x\n", "config.yaml:1:9  a text that starts"],
  ["target: *nothing\n", "config.yaml:1:9  target: an alias"],
  ["target: !secret x\n", "config.yaml:1:9  a tag"],
  ['target: "\\q"\n', "config.yaml:1:10  unknown escape"],
  [
    "mode: { cert: ${X}, key: b }\n",
    'config.yaml:1:16  inside { } and [ ] a variable stands in quotes: "${NAME}"',
  ],
  ["just text\n", "config.yaml:1:1  expected options, each on its own line as NAME: VALUE, got text"],
  ["- a\n", "config.yaml:1:1  expected options, each on its own line as NAME: VALUE, got a list"],
])("what is no YAML, or not ours, is one problem at its place: %j", (text, problem) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]!.slice(0, problem.length)).toBe(problem);
});

test.each([
  ['secret: "hunter2secret\n', "hunter2"],
  ["secret: hunter2: secret\n", "hunter2"],
  ['secret: "\\hunter2"\n', "hunter2"],
  ["secret: *hunter2\n", "hunter2"],
  ["secret: !hunter2 x\n", "hunter2"],
  ["secret: hunter2\n", "hunter2"],
  ["secret: 12345678901234567890\n", "12345"],
  ["secret: [hunter2]\n", "hunter2"],
  ["secret: { hunter: hunter2 }\n", "hunter2"],
  ["http: hunter2\n", "hunter2"],
  ["names: hunter2\n", "hunter2"],
  ["hunter2\n", "hunter2"],
  ["target: ${PASSWORD}\n", "hunter2"],
  ["target: x${PASSWORD}x\n", "hunter2"],
  ["enabled: ${PASSWORD}\n", "hunter2"],
  ["mode: ${PASSWORD}\n", "hunter2"],
])("no problem shows a secret: %j", (text, secret) => {
  const problems = problemsOf(text, { PASSWORD: "hunter2" }).join("\n");
  expect(problems).not.toContain(secret);
});

test("environment variables stand in texts, and $${ is a plain ${", () => {
  const env = { HOST: "10.0.0.1", PORT: "80", EMPTY: "" };
  expect(
    read('target: ${HOST}:${PORT}\nnames: ["${EMPTY}", "$${HOST}", "$HOST", "a${PORT}b"]\n', env),
  ).toMatchObject({
    target: { host: "10.0.0.1", port: 80 },
    names: ["", "${HOST}", "$HOST", "a80b"],
  });
});

test("what a variable holds is not read again", () => {
  expect(read("names: ['${A}']", { A: "${B}", B: "x" }).names).toEqual(["${B}"]);
});

test("a missing variable is named at its place, once", () => {
  expect(problemsOf("names: []\ntarget: ${NOWHERE}\nsecret: ${GONE}\nhttp: { host: '${a-b}' }\n")).toEqual([
    "config.yaml:2:9  target: the environment variable NOWHERE is not set",
    "config.yaml:3:9  secret: the environment variable GONE is not set",
    "config.yaml:4:15  http.host: expected the name of an environment variable in ${…}; write $${ for a plain ${",
  ]);
});

test("it can be told which values came from the environment", () => {
  writeFileSync(file, "names: [a, '${B}']");
  const { fromEnvironment } = readConfigFile(file, schema, { env: { B: "b" } });
  expect([0, 1, 2].map((i) => fromEnvironment(["names", i]))).toEqual([false, true, false]);
});

test("aliases are followed, and their values' problems stand where the values are", () => {
  expect(read("names: [&a x, *a]").names).toEqual(["x", "x"]);
  expect(problemsOf("target: &t nowhere\neven: *t\n")[1]).toMatch(/^config\.yaml:1:12 {2}even: /);
});

test("aliases of aliases do not explode", () => {
  let text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (let i = 1; i < 12; i++)
    text += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(", ")}]\n`;
  expect(problemsOf(text)).toEqual([expect.stringContaining("too much: aliases within aliases")]);
});

test("an alias within itself ends", () => {
  expect(problemsOf("names: &a [*a]\n")).toEqual([expect.stringContaining("too much")]);
});

test("deep nesting is a problem and no stack overflow", () => {
  expect(problemsOf(`names: ${"[".repeat(200)}${"]".repeat(200)}`)).toEqual([
    expect.stringContaining("too much"),
  ]);
  expect(problemsOf(`names: ${"[".repeat(20_000)}${"]".repeat(20_000)}`)).toHaveLength(1);
});

test("a hostile value is cut, and cannot steer a terminal", () => {
  const [problem] = problemsOf(`target: "\\e[2J\\u202e${"x".repeat(10_000)}"`);
  expect(problem).toMatch(/got "\\u001b\[2J\\u202ex{54,56}… \(\d+ more\)"$/);
});

test("a file that is not there, or is no text, is said with what to do", () => {
  expect(() => readConfigFile(path.join(directory, "none.yaml"), schema, { env: {} })).toThrow(
    `${directory}/none.yaml: cannot be read: no such file or directory. Name an existing file with --config.`,
  );
  expect(() => readConfigFile(directory, schema, { env: {} })).toThrow(/cannot be read: it is a directory/);
  expect(problemsOf(Uint8Array.of(0x61, 0xff, 0xfe))).toEqual(["config.yaml: is not text in UTF-8"]);
  expect(problemsOf("#".repeat(9 << 20))).toEqual([
    "config.yaml: is larger than 8 MiB, which no config file is",
  ]);
});

test("a file in UTF-16, as PowerShell writes it, is read, and so is one with a byte order mark", () => {
  const text = "names: [käse]\n";
  const utf16 = Buffer.from(`\ufeff${text}`, "utf16le");
  expect(read(utf16).names).toEqual(["käse"]);
  expect(read(Buffer.from(utf16).swap16()).names).toEqual(["käse"]);
  expect(read(`\ufeff${text}`).names).toEqual(["käse"]);
});

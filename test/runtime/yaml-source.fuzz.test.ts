import { randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { readYaml, type YamlSource } from "../../runtime/yaml-source.ts";
import { fuzz } from "../support/fuzz.ts";
import { mutatedYaml, yamlText } from "../support/mutated-yaml.ts";

const SECRET = randomBytes(16).toString("hex");
const SAMPLE = `a: &x { b: [1, "two", ~], c: "\${HOME_KEY}" }
d: *x
e:
  - f: 'it''s'
    g: |
      text
  - \${HOME_KEY}x
`;

const text = fc.oneof(yamlText, mutatedYaml(SAMPLE), fc.string({ unit: "binary" }));

fuzz("any text is read, or has problems at places within it", [text], (text) => {
  const source = readYaml(text, { HOME_KEY: SECRET });
  if (!source.readable) expect(source.problems.length).toBeGreaterThan(0);
  const lines = text.split("\n");
  for (const { line, column, message } of [...source.problems, ...placesOf(source)]) {
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines.length);
    expect(column).toBeGreaterThanOrEqual(1);
    expect(column).toBeLessThanOrEqual(lines[line - 1]!.length + 1);
    expect(message).not.toContain(SECRET);
  }
});

fuzz("what is read is plain data, without the means to reach a prototype", [text], (text) => {
  const { value, readable } = readYaml(text, { HOME_KEY: SECRET });
  if (!readable) return;
  expectPlain(value);
  expect(Object.getPrototypeOf({})).toBe(Object.prototype);
});

fuzz("what came from the environment is known to", [text], (text) => {
  const source = readYaml(text, { HOME_KEY: SECRET });
  if (!source.readable) return;
  for (const [path, value] of scalarsOf(source.value, "")) {
    if (typeof value === "string" && value.includes(SECRET))
      expect(source.values.get(path)?.fromEnvironment).toBe(true);
  }
});

test("an option's name cannot steer a terminal", () => {
  const { problems } = readYaml('"\\u202e\\e[2J": ${NOWHERE}\n', {});
  expect(problems.map(({ path }) => path)).toEqual(["\\u202e\\u001b[2J"]);
});

test.each(["!!binary aGk=", "!!timestamp 2001-01-01", "!!omap [a: 1]", "!!pairs [a: 1]", "!!set { a }"])(
  "%s is no plain value, and has a problem",
  (text) => {
    expect(readYaml(`a: ${text}\n`, {}).problems).toHaveLength(1);
  },
);

function placesOf({ values, names }: YamlSource): { line: number; column: number; message: string }[] {
  return [...values.values(), ...names.values()].map(({ line, column }) => ({ line, column, message: "" }));
}

function expectPlain(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) return value.forEach(expectPlain);
  expect(Object.getPrototypeOf(value)).toBe(null);
  Object.values(value).forEach(expectPlain);
}

/** Every value of any depth with its path; names with a dot in them have none that is theirs alone. */
function scalarsOf(value: unknown, path: string): [string, unknown][] {
  if (Array.isArray(value)) return value.flatMap((item, i) => scalarsOf(item, `${path}[${i}]`));
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([name, item]) =>
    /[.[]/.test(name) || name === "" ? [] : scalarsOf(item, path === "" ? name : `${path}.${name}`),
  );
}

import { readFileSync } from "node:fs";
import type { z } from "zod";
import { ConfigError, type ConfigProblem } from "./config-error.ts";
import { fileErrorInWords } from "./file-error.ts";
import { nearest } from "./nearest.ts";
import { quoted } from "./printable.ts";
import { isWorldReadable, looksLikeSecret } from "./secret-file.ts";
import { decodeText } from "./text-file.ts";
import { pathText, readYaml, shownPath, type Place, type YamlSource } from "./yaml-source.ts";

export interface ReadConfigOptions {
  /** Where `${NAME}` looks. */
  env: NodeJS.ProcessEnv;
  /** Names of options whose values are never shown. */
  secrets?: readonly string[];
  /** Names of options that hold the paths of files with secrets: shown, unless one holds the secret itself by mistake. */
  secretFiles?: readonly string[];
}

type Masked = Pick<ReadConfigOptions, "secrets" | "secretFiles">;

export interface ConfigFile<T> {
  value: T;
  /** Whether users other than the owner and its group may read the file. */
  worldReadable: boolean;
  /** Whether a value, named as in `["keys", 0, "secret"]`, came from an environment variable. */
  fromEnvironment: (path: readonly PropertyKey[]) => boolean;
}

type Issue = z.core.$ZodIssue;

/** 7,000 keys with a tunnel each take 1.5 MiB. */
const MAX_BYTES = 8 * 1024 * 1024;

const TYPES_IN_WORDS: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "options, each on its own line as NAME: VALUE",
  string: "text",
};

const STRUCTURES = new Set(
  [TYPES_IN_WORDS["array"], TYPES_IN_WORDS["object"]].map((type) => `expected ${type}`),
);

/**
 * Reads a YAML file into what `schema` makes of it. An empty file, and an option without a value, count as left out.
 *
 * Messages in the schema begin with `expected …`, and what was there instead is added to them; any other message
 * stands as it is.
 *
 * @throws ConfigError with every problem of the file
 */
export function readConfigFile<S extends z.ZodType>(
  path: string,
  schema: S,
  { env, ...masked }: ReadConfigOptions,
): ConfigFile<z.output<S>> {
  const source = readYaml(readText(path), env);
  if (!source.readable) throw new ConfigError(path, inOrder(source.problems));

  const result = schema.safeParse(source.value ?? {}, { error: inOurWords });
  const issues = (result.error?.issues ?? []).flatMap((issue) => flatten(issue, []));
  const problems = [...source.problems, ...issues.flatMap((issue) => toProblems(issue, source, masked))];
  if (!result.success || problems.length > 0) throw new ConfigError(path, inOrder(problems));
  return {
    value: result.data,
    worldReadable: isWorldReadable(path),
    fromEnvironment: (option) => source.values.get(pathText(option))?.fromEnvironment ?? false,
  };
}

/** What a schema says of an option that it does not know. */
export function unknownOption(name: string, known: readonly string[]): string {
  const guess = nearest(name, known);
  if (guess !== undefined) return `unknown option. Did you mean "${guess}"?`;
  return `unknown option. Known here: ${known.join(", ")}`;
}

function readText(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const message = `cannot be read: ${fileErrorInWords(error)}. ${remedyFor(error)}`;
    throw new ConfigError(path, [{ line: 0, column: 0, path: "", message }], { cause: error });
  }
  if (bytes.length > MAX_BYTES)
    throw fileProblem(path, `is larger than ${MAX_BYTES / 1024 / 1024} MiB, which no config file is`);
  const text = decodeText(bytes);
  if (text === undefined) throw fileProblem(path, "is not text in UTF-8");
  return text;
}

function remedyFor(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EACCES":
    case "EPERM":
      return "Let the user that runs this program read it, or run as one who may.";
    case "ENOENT":
    case "ENOTDIR":
    case "EISDIR":
      return "Name an existing file with --config.";
    default:
      return "Check the file, or name another with --config.";
  }
}

function fileProblem(file: string, message: string): ConfigError {
  return new ConfigError(file, [{ line: 0, column: 0, path: "", message }]);
}

/** Messages for what a schema finds without saying it in words of its own. */
function inOurWords(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${TYPES_IN_WORDS[issue.expected] ?? issue.expected}`;
    case "invalid_value":
      return `expected ${issue.values.map((value) => String(value)).join(" or ")}`;
    case "too_small":
      return `expected at least ${issue.minimum}`;
    case "too_big":
      return `expected at most ${issue.maximum}`;
    case "unrecognized_keys":
      // One line for each of `issue.keys`: only here is it known which options there are.
      return issue.keys.map((key) => unknownOption(key, optionsOf(issue.inst))).join("\n");
    default:
      return issue.message ?? "expected another value";
  }
}

function optionsOf(schema: unknown): string[] {
  return Object.keys((schema as { shape?: object } | undefined)?.shape ?? {});
}

/** Of alternatives, the one that the value looks like is what the person meant: its issues are the ones to show. */
function flatten(issue: Issue, above: PropertyKey[]): Issue[] {
  const path = [...above, ...issue.path];
  if (issue.code === "invalid_union") {
    const meant = issue.errors.find((branch) =>
      branch.every((each) => each.path.length > 0 || isAboutNames(each)),
    );
    if (meant) return meant.flatMap((each) => flatten(each, path));
  }
  return [{ ...issue, path }];
}

function isAboutNames(issue: Issue): boolean {
  return issue.code === "unrecognized_keys";
}

function toProblems(issue: Issue, source: YamlSource, masked: Masked): ConfigProblem[] {
  if (issue.code === "unrecognized_keys") {
    const messages = issue.message.split("\n");
    return issue.keys.map((name, i) => {
      const path = pathText([...issue.path, name]);
      return { ...position(source.names.get(path)), path: shownPath(path), message: messages[i]! };
    });
  }
  const path = pathText(issue.path);
  if (source.broken.has(path)) return [];
  const { message } = issue;
  return [
    {
      ...position(nearestPlace(issue.path, source)),
      path: shownPath(path),
      message: message.startsWith("expected ") ? withValue(message, issue.path, source, masked) : message,
    },
  ];
}

function withValue(
  expected: string,
  path: readonly PropertyKey[],
  source: YamlSource,
  masked: Masked,
): string {
  const value = path.reduce<unknown>(
    (at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part],
    source.value,
  );
  if (value === undefined || value === null) return `missing: ${expected}`;
  const hidden = isHidden(value, path, source, masked);
  const hint = expected === "expected text" && typeof value !== "object" ? ": put it in quotes" : "";
  // A text where a list or options should be may be a secret in the wrong place.
  if (typeof value === "string" && STRUCTURES.has(expected)) return `${expected}, got text`;
  return `${expected}, got ${show(value, hidden)}${hint}`;
}

function isHidden(
  value: unknown,
  path: readonly PropertyKey[],
  source: YamlSource,
  { secrets = [], secretFiles = [] }: Masked,
): boolean {
  if (path.some((part) => secrets.includes(String(part)))) return true;
  if (secretFiles.includes(String(path.at(-1)))) return typeof value !== "string" || looksLikeSecret(value);
  return source.values.get(pathText(path))?.fromEnvironment ?? false;
}

function show(value: unknown, hidden: boolean): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "options";
  if (hidden) return "******";
  return typeof value === "string" ? quoted(value) : `${value as number | boolean}`;
}

/** Of the value, or of what it is missing from. */
function nearestPlace(path: readonly PropertyKey[], source: YamlSource): Place | undefined {
  for (let length = path.length; length >= 0; length--) {
    const text = pathText(path.slice(0, length));
    const place = source.values.get(text);
    if (place) return place;
  }
  return undefined;
}

function position(place: Place | undefined): { line: number; column: number } {
  return { line: place?.line ?? 1, column: place?.column ?? 1 };
}

function inOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}

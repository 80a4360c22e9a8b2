import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Node,
  type Document,
  type YAMLError,
} from "yaml";
import type { ConfigProblem } from "./config-error.ts";
import { printable } from "./printable.ts";

/** Where an option stands. */
export interface Place {
  line: number;
  column: number;
  /** The value came, wholly or in part, from an environment variable, and must not be shown. */
  fromEnvironment: boolean;
}

export interface YamlSource {
  /** Plain objects, arrays and scalars; an option without a value is `undefined`. */
  value: unknown;
  problems: ConfigProblem[];
  /** Whether the text is YAML at all: if not, `value` means nothing. */
  readable: boolean;
  /** Of each value, by its path as `pathText` writes it. */
  values: ReadonlyMap<string, Place>;
  /** Of each option's name. */
  names: ReadonlyMap<string, Place>;
  /** Paths whose value has been complained of already. */
  broken: ReadonlySet<string>;
}

// Bounds against files made to explode, by aliases of aliases or by nesting; far above any real one.
const MAX_VALUES = 100_000;
const MAX_DEPTH = 50;

/** `${NAME}`, and `$${`, which stands for `${`. */
const VARIABLE = /\$(\$?)\{([^}]*)\}/g;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const NO_ANCHOR = "an alias (*name) needs its anchor (&name) before it";

/** The parser's own messages quote the file, which may hold secrets; these do not. */
const SYNTAX_PROBLEMS: Partial<Record<YAMLError["code"], string>> = {
  BAD_ALIAS: NO_ANCHOR,
  BAD_DQ_ESCAPE:
    "unknown escape in a text in double quotes; write \\\\ for a backslash, or use single quotes",
  BAD_INDENT: "wrong indentation: options of one level start in the same column",
  BAD_SCALAR_START: "a text that starts with this character must stand in quotes",
  BLOCK_AS_IMPLICIT_KEY: 'a second ":" on one line: put the text in quotes, or start a new line',
  BLOCK_IN_FLOW: "inside [ ] and { } lists and options are written with commas, not with lines",
  DUPLICATE_KEY: "this option is given twice",
  KEY_OVER_1024_CHARS: "the name of an option is too long",
  MISSING_CHAR: 'something is missing here: a closing quote or bracket, a comma, or a space behind ":"',
  MULTILINE_IMPLICIT_KEY: 'the name of an option and its ":" must stand on one line',
  MULTIPLE_DOCS: 'only one document in a file is read: take out the "---"',
  RESOURCE_EXHAUSTION: "nested too deeply",
  TAB_AS_INDENT: "a tab in the indentation: YAML takes spaces only",
  TAG_RESOLVE_FAILED: "a tag (!name) has no meaning here",
  UNEXPECTED_TOKEN: "this does not fit here: a quote, bracket or indentation around it is wrong",
};

/** What leaves the rest of the file readable; behind any other fault, every line looks wrong. */
const CONTAINED: ReadonlySet<YAMLError["code"]> = new Set([
  "BAD_DQ_ESCAPE",
  "DUPLICATE_KEY",
  "TAG_RESOLVE_FAILED",
]);

/** Reads YAML with the place of everything in it, and puts environment variables in. */
export function readYaml(text: string, env: NodeJS.ProcessEnv): YamlSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, resolveKnownTags: false });
  const faults = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0]);
  const firstBreak = faults.find(({ code }) => !CONTAINED.has(code));
  const readable = faults.every(({ code }) => code === "DUPLICATE_KEY");
  const problems = faults
    .filter((fault) => fault === firstBreak || CONTAINED.has(fault.code))
    .map((fault) => syntaxProblem(fault, text, lines));
  const reader = new Reader(document, lines, env, problems);
  return {
    value: readable ? reader.read(document.contents, "", 0) : undefined,
    problems,
    readable: readable && !reader.exploded,
    values: reader.values,
    names: reader.names,
    broken: reader.broken,
  };
}

/** `keys[0].tunnels[1].target` */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path) text = typeof part === "number" ? `${text}[${part}]` : child(text, String(part));
  return text;
}

/** A path as a person is shown it. No option has a name this long: it may be a secret in the wrong place. */
export function shownPath(path: string): string {
  return printable(path.replaceAll(/[^.[\]]{41,}/g, "…"));
}

function child(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function syntaxProblem({ code, pos }: YAMLError, text: string, lines: LineCounter): ConfigProblem {
  const { line, col } = lines.linePos(pos[0]);
  const upToHere = text.slice(lines.lineStarts[line - 1], pos[0] + 1);
  // YAML takes the brace of an unquoted ${NAME} for the end of the braces around it.
  const message =
    !CONTAINED.has(code) && /[{[,].*\$\{/.test(upToHere)
      ? 'inside { } and [ ] a variable stands in quotes: "${NAME}"'
      : (SYNTAX_PROBLEMS[code] ?? "this is not YAML");
  return { line, column: col, path: "", message };
}

/** Turns the document into plain values, and remembers places on the way. */
class Reader {
  readonly values = new Map<string, Place>();
  readonly names = new Map<string, Place>();
  readonly broken = new Set<string>();
  exploded = false;
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #env: NodeJS.ProcessEnv;
  readonly #problems: ConfigProblem[];

  constructor(document: Document, lines: LineCounter, env: NodeJS.ProcessEnv, problems: ConfigProblem[]) {
    this.#document = document;
    this.#lines = lines;
    this.#env = env;
    this.#problems = problems;
  }

  read(node: Node | null, path: string, depth: number): unknown {
    if (this.exploded || node === null) return undefined;
    const place = this.#placeOf(node);
    this.values.set(path, place);
    if (this.values.size > MAX_VALUES || depth > MAX_DEPTH) {
      this.exploded = true;
      this.#complain(place, path, "too much: aliases within aliases, or options nested too deeply");
      return undefined;
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (!target) {
        this.broken.add(path);
        this.#complain(place, path, NO_ANCHOR);
      }
      return this.read(target ?? null, path, depth + 1);
    }
    if (isSeq(node)) {
      return node.items.map((item, i) => this.read(item as Node | null, `${path}[${i}]`, depth + 1) ?? null);
    }
    if (isMap(node)) {
      // Without a prototype, so that an option called __proto__ is one like any other.
      const options: Record<string, unknown> = Object.create(null);
      for (const { key, value } of node.items) {
        const name = isScalar(key) ? String(key.value) : "?";
        if (key) this.names.set(child(path, name), this.#placeOf(key as Node));
        options[name] = this.read(value as Node | null, child(path, name), depth + 1);
      }
      return options;
    }
    if (!isScalar(node)) return undefined;
    if (typeof node.value === "string") return this.#interpolate(node.value, path, place);
    return node.value ?? undefined;
  }

  #interpolate(text: string, path: string, place: Place): string {
    if (!text.includes("${")) return text;
    return text.replace(VARIABLE, (whole, escaped: string, name: string) => {
      if (escaped) return whole.slice(1);
      place.fromEnvironment = true;
      const value = this.#env[name];
      if (value !== undefined) return value;
      this.broken.add(path);
      this.#complain(
        place,
        path,
        VARIABLE_NAME.test(name)
          ? `the environment variable ${name} is not set`
          : "expected the name of an environment variable in ${…}; write $${ for a plain ${",
      );
      return whole;
    });
  }

  #placeOf(node: Node): Place {
    const { line, col } = this.#lines.linePos(node.range?.[0] ?? 0);
    return { line, column: col, fromEnvironment: false };
  }

  #complain({ line, column }: Place, path: string, message: string): void {
    this.#problems.push({ line, column, path: shownPath(path), message });
  }
}

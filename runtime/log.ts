import { isatty } from "node:tty";
import { warnOnStandardError } from "./line-outlet.ts";
import { LineWriter } from "./line-writer.ts";
import { boundFields, MAX_TEXT, type LogFields } from "./log-fields.ts";
import { prettyLine } from "./pretty-line.ts";
import { cut, printable } from "./printable.ts";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export type LogLevel = (typeof LEVELS)[number];

/**
 * Says what happens. An error goes in the field `error`, and shows its code, message and causes; where it was
 * thrown only at level debug. Nobody waits for a line to be written, and no line breaks the program.
 */
export interface Log {
  debug: LogMethod;
  info: LogMethod;
  warn: LogMethod;
  error: LogMethod;
  /** A log whose every line has these fields too. */
  child(fields: LogFields): Log;
}

export interface LogMethod {
  (fields: LogFields, message: string): void;
  (message: string): void;
}

export interface LogOptions {
  /** Left out: pretty when the destination is a terminal, JSON otherwise. */
  format?: "json" | "pretty" | undefined;
  level?: LogLevel | undefined;
  /** A file descriptor, standard output if left out; or whatever takes whole lines, each with its line feed. */
  destination?: number | { write(line: string): unknown } | undefined;
  env?: NodeJS.ProcessEnv;
}

/**
 * One line for each event: JSON (`time` in ISO 8601, `level` as a word, the fields, `message`) or text for people. Lines for a
 * file descriptor leave in batches, the last of them when the process exits.
 */
export function createLog({
  format,
  level = "info",
  destination = 1,
  env = process.env,
}: LogOptions = {}): Log {
  const terminal = isTerminal(destination);
  const colours = terminal && !env["NO_COLOR"] && env["TERM"] !== "dumb";
  const pretty = logFormat({ format, destination }) === "pretty";

  const textOf = (line: LogFields): string => {
    const json = JSON.stringify(line);
    // What JSON leaves as it is (C1, direction marks) can stand only inside strings here, where \u stays JSON.
    return pretty ? prettyLine(json, colours) : `${printable(json)}\n`;
  };
  const missing = (dropped: number): string =>
    textOf({
      level: "warn",
      time: timeNow(),
      dropped,
      message: "the log could not keep up: lines are missing here",
    });
  const lines = typeof destination === "number" ? openWriter(destination, missing) : destination;
  return levelsFrom(level, (line) => lines.write(textOf(line)));
}

/** How a log with these options is written. */
export function logFormat({
  format,
  destination = 1,
}: Pick<LogOptions, "format" | "destination">): "json" | "pretty" {
  return format ?? (isTerminal(destination) ? "pretty" : "json");
}

function isTerminal(destination: LogOptions["destination"]): boolean {
  return typeof destination === "number" && isatty(destination);
}

/** A log that passes on the lines of this level and above. */
function levelsFrom(least: LogLevel, write: (line: LogFields) => void, always: LogFields = {}): Log {
  const stacks = least === "debug";
  const method = (level: LogLevel): LogMethod => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return () => {};
    return (...said: [LogFields, string] | [string]) => {
      const [fields, message] = said.length === 1 ? [{}, said[0]] : said;
      const time = timeNow();
      write({ level, time, ...always, ...boundFields(fields, stacks), message: cut(message, MAX_TEXT) });
    };
  };
  return {
    debug: method("debug"),
    info: method("info"),
    warn: method("warn"),
    error: method("error"),
    child: (fields) => levelsFrom(least, write, { ...always, ...boundFields(fields, stacks) }),
  };
}

let lastMs = 0;
let lastTime = "";

/** In ISO 8601. Many a line falls in the same millisecond. */
function timeNow(): string {
  const now = Date.now();
  if (now !== lastMs) lastTime = new Date((lastMs = now)).toISOString();
  return lastTime;
}

function openWriter(fd: number, missing: (dropped: number) => string): LineWriter {
  const writer = new LineWriter(fd, {
    missing,
    onFailure: ({ code, message }) =>
      warnOnStandardError(`the log cannot be written (${code ?? message}); the program goes on`),
    onLost: (dropped) => warnOnStandardError(`${dropped} lines of the log are lost: it could not be written`),
  });
  process.on("exit", () => writer.flushSync());
  return writer;
}

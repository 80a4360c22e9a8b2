import { prettyLine } from "../runtime/pretty-line.ts";
import { printable } from "../runtime/printable.ts";

export type LogRecord = Record<string, unknown>;

/** A line of a program's JSON log as an object; undefined for whatever else it may print. */
export function parseLogLine(line: string): LogRecord | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const record = JSON.parse(line) as LogRecord;
    return typeof record["message"] === "string" ? record : undefined;
  } catch {
    return undefined;
  }
}

/** A line of output for people, safe for a terminal; an error's stack takes more than one. */
export function readableLines(line: string, colours: boolean): string[] {
  if (!parseLogLine(line)) return [printable(line)];
  return prettyLine(line, colours).trimEnd().split("\n");
}

import { cut } from "./printable.ts";

/** What a log line says besides its message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Longest text in a line, in characters: a hostile request target must not fill the disk. */
export const MAX_TEXT = 2048;
const MAX_ENTRIES = 50;
const MAX_DEPTH = 4;
const MAX_CAUSES = 5;
const MAX_STACK_FRAMES = 20;

/**
 * Fields as a log line takes them: long texts cut, deep and long structures bounded, errors as code, message and
 * causes. Returns its argument where there is nothing to do.
 *
 * @param stacks whether errors show where they were thrown
 */
export function boundFields(fields: LogFields, stacks: boolean): LogFields {
  for (const key in fields) {
    if (!isPlain(fields[key])) return boundEntries(fields, stacks, 0);
  }
  return fields;
}

function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      return value.length <= MAX_TEXT;
    case "number":
    case "boolean":
    case "undefined":
      return true;
    default:
      return value === null;
  }
}

function boundEntries(object: object, stacks: boolean, depth: number): Record<string, unknown> {
  const entries = Object.entries(object).slice(0, MAX_ENTRIES);
  return Object.fromEntries(entries.map(([key, value]) => [key, boundValue(value, stacks, depth)]));
}

function boundValue(value: unknown, stacks: boolean, depth: number): unknown {
  if (isPlain(value)) return value;
  if (typeof value === "string") return cut(value, MAX_TEXT);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return undefined;
  if (value instanceof Error) return describeError(value, stacks, MAX_CAUSES);
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (value instanceof URL) return cut(value.href, MAX_TEXT);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (depth >= MAX_DEPTH) return Array.isArray(value) ? "[…]" : "{…}";
  if (!Array.isArray(value)) return boundEntries(value, stacks, depth + 1);
  return value.slice(0, MAX_ENTRIES).map((entry: unknown) => boundValue(entry, stacks, depth + 1) ?? null);
}

function describeError(error: Error, stacks: boolean, causesLeft: number): Record<string, unknown> {
  const described: Record<string, unknown> = {};
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string" || typeof code === "number") described["code"] = code;
  else if (error.name !== "Error") described["code"] = error.name;
  described["message"] = cut(errorMessage(error), MAX_TEXT);
  if (error.cause !== undefined && causesLeft > 0) {
    described["cause"] =
      error.cause instanceof Error
        ? describeError(error.cause, stacks, causesLeft - 1)
        : boundValue(error.cause, stacks, MAX_DEPTH - 1);
  }
  if (stacks) described["stack"] = stackFrames(error);
  return described;
}

/** Node's error for a name with several addresses has an empty message and one error for each address. */
function errorMessage(error: Error): string {
  if (error.message !== "" || !(error instanceof AggregateError)) return error.message;
  return error.errors
    .map((each: unknown) => (each instanceof Error ? each.message : String(each)))
    .join("; ");
}

function stackFrames(error: Error): string[] {
  const lines = (error.stack ?? "").split("\n").map((line) => line.trim());
  return lines.filter((line) => line.startsWith("at ")).slice(0, MAX_STACK_FRAMES);
}

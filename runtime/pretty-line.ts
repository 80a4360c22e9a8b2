import { printable } from "./printable.ts";

const PLAIN_VALUE = /^[^\s"=\\]+$/;
const LEVEL_COLOURS: Readonly<Record<string, number>> = { debug: 90, info: 32, warn: 33, error: 31 };

/**
 * A JSON log line for people: `10:31:48 info  message  key=value …`, in local time. Whatever the line carries,
 * one line comes out, and the stacks of errors indented below it.
 */
export function prettyLine(json: string, colours: boolean): string {
  const { time, level, message, ...rest } = JSON.parse(json) as LogLine;
  const { line: request, fields } = requestOf(rest);
  const colour = (code: number | undefined, text: string): string =>
    colours && code !== undefined ? `\u001b[${code}m${text}\u001b[0m` : text;

  const word = printable(level);
  let line = `${clock(time)} ${colour(LEVEL_COLOURS[word], word.padEnd(5))} ${printable(message)}${request}`;
  let stacks = "";
  for (const [key, value] of Object.entries(fields)) {
    line += `${line.endsWith(" ") ? "" : "  "}${colour(90, `${printable(key)}=`)}${showValue(value)}`;
    stacks += stackOf(value);
  }
  return `${line.trimEnd()}\n${stacks}`;
}

interface LogLine extends Record<string, unknown> {
  time: string;
  level: string;
  message: string;
}

/** What people look for first in a line about a request, without the names: `  GET app.example.com/path 200 12ms`. */
function requestOf(all: Record<string, unknown>): { line: string; fields: Record<string, unknown> } {
  if (typeof all["method"] !== "string" || typeof all["target"] !== "string")
    return { line: "", fields: all };
  const { method, host = "", target, status, durationMs, ...fields } = all;
  const parts = [showValue(method), `${printable(String(host))}${showValue(target)}`];
  if (status !== undefined) parts.push(showValue(status));
  if (durationMs !== undefined) parts.push(`${showValue(durationMs)}ms`);
  return { line: `  ${parts.join(" ")}`, fields };
}

function clock(time: string): string {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function showValue(value: unknown): string {
  if (typeof value === "string") return printable(PLAIN_VALUE.test(value) ? value : JSON.stringify(value));
  if (isErrorShape(value)) return printable(JSON.stringify(errorChain(value)));
  return printable(JSON.stringify(value));
}

interface ErrorShape {
  code?: string | number;
  message: string;
  cause?: unknown;
  stack?: string[];
}

function isErrorShape(value: unknown): value is ErrorShape {
  return (
    typeof value === "object" && value !== null && "message" in value && typeof value.message === "string"
  );
}

function errorChain(error: ErrorShape): string {
  const own = error.code === undefined ? error.message : `${error.code}: ${error.message}`;
  if (error.cause === undefined) return own;
  return `${own}; caused by ${isErrorShape(error.cause) ? errorChain(error.cause) : JSON.stringify(error.cause)}`;
}

function stackOf(value: unknown): string {
  if (!isErrorShape(value) || !Array.isArray(value.stack)) return "";
  return value.stack.map((frame) => `    ${printable(frame)}\n`).join("");
}

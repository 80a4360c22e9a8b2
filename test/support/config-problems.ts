import { expect } from "vitest";
import { ConfigError } from "../../runtime/config-error.ts";

/** Reads a config and gives what it says; of one that is refused, checks that the refusal is fit to be printed. */
export function readOrRefused<T>(read: () => T, text: string): T | ConfigError {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expectPrintable(error, text);
    return error;
  }
}

/** Neither a refusal nor a warning shows a secret, or most of it. */
export function expectHidden(secret: string, read: ConfigError | { warnings: string[] }): void {
  const said = read instanceof ConfigError ? read.message : read.warnings.join("\n");
  for (let at = 0; at + SECRET_LENGTH <= secret.length; at++)
    expect(said).not.toContain(secret.slice(at, at + SECRET_LENGTH));
}

/** What is shorter may stand where a name belongs, and be shown as one. */
const SECRET_LENGTH = 24;

/** Every problem has its place in the file, or none, and is one line that cannot steer a terminal. */
function expectPrintable(error: ConfigError, text: string): void {
  const lines = text.split("\n");
  expect(error.problems.length).toBeGreaterThan(0);
  for (const { line, column, path, message } of error.problems) {
    expect(message).not.toBe("");
    expect(path + message).not.toMatch(/[\p{Cc}\u2028-\u202e\u2066-\u2069\ufeff]/u);
    if (line === 0) expect({ column, path }).toEqual({ column: 0, path: "" });
    else {
      expect(line).toBeLessThanOrEqual(lines.length);
      expect(column).toBeGreaterThanOrEqual(1);
      expect(column).toBeLessThanOrEqual(lines[line - 1]!.length + 1);
    }
  }
  const places = error.problems.map(({ line, column }) => line * 1e6 + column);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(error.message.split("\n")).toHaveLength(error.problems.length);
}

import { readFileSync, statSync } from "node:fs";
import { fileErrorInWords } from "./file-error.ts";
import { decodeText } from "./text-file.ts";

export interface SecretFile {
  secret: string;
  /** Users other than the owner and its group may read the file: worth a warning. */
  worldReadable: boolean;
}

const MAX_BYTES = 4096;

/**
 * Reads a file that holds one secret; gives a string that says what is wrong with it, and never shows its content. Blank lines,
 * lines that begin with "#", and quotes around the secret are left out.
 */
export function readSecretFile(path: string): SecretFile | string {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    return `expected a file that can be read (${fileErrorInWords(error)})`;
  }
  if (content.length > MAX_BYTES) return "expected a file with a secret and nothing else (it is too long)";
  const text = decodeText(content);
  if (text === undefined) return "expected a file with a secret as text (it is not text in UTF-8)";
  const lines = text
    .split(/\r\n|[\r\n]/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const [line] = lines;
  if (line === undefined) return "expected a file with a secret (it is empty)";
  if (lines.length > 1) return "expected a file with one secret (it has several lines)";
  return { secret: withoutQuotes(line), worldReadable: isWorldReadable(path) };
}

/** A secret as people copy it, with the quotes that stood around it: `"…"`, `'…'`, or the curly ones of word processors. */
export function withoutQuotes(text: string): string {
  return (
    /^(?:"(.*)"|'(.*)'|“(.*)”|‘(.*)’)$/
      .exec(text)
      ?.slice(1)
      .find((inner) => inner !== undefined) ?? text
  );
}

/** Whether a text that should be the path of a secret's file looks as if it were the secret itself, which is not to be shown. */
export function looksLikeSecret(text: string): boolean {
  // Access keys, PEM, and secrets of the config (server/config/config-check.ts): hardly any path is so long without a separator.
  return text.includes("culvert_") || text.startsWith("-----") || /^\w{22,}$/.test(text);
}

/** Whether users other than its owner and group may read a file; `false` where that cannot be told. */
export function isWorldReadable(path: string): boolean {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
  return process.platform !== "win32" && (mode & 0o004) !== 0;
}

import { readFileSync } from "node:fs";
import { isWorldReadable } from "./config-file.ts";
import { fileErrorInWords } from "./file-error.ts";

export interface SecretFile {
  secret: string;
  /** Users other than the owner and its group may read the file: worth a warning. */
  worldReadable: boolean;
}

const MAX_BYTES = 4096;

/** Reads a file that holds one secret; gives a string that says what is wrong with it, and never shows its content. */
export function readSecretFile(path: string): SecretFile | string {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    return `expected a file that can be read (${fileErrorInWords(error)})`;
  }
  if (content.length > MAX_BYTES) return "expected a file with a secret and nothing else (it is too long)";
  const secret = content.toString("utf8").trimEnd();
  if (secret === "") return "expected a file with a secret (it is empty)";
  return { secret, worldReadable: isWorldReadable(path) };
}

import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

const MIB = 1024 * 1024;

/** Writes a file of random bytes; returns its checksum. */
export async function writeRandomFile(path: string, mebibytes: number): Promise<string> {
  const hash = createHash("sha256");
  // Eight of them in turn, each time from another start: ever new bytes would take longer than the copy.
  const source = randomBytes(8 * MIB);
  await using file = await open(path, "w");
  for (let i = 0; i < mebibytes; i++) {
    const start = (i * 7_654_321) % (source.length - MIB);
    const piece = source.subarray(start, start + MIB);
    hash.update(piece);
    await file.write(piece);
  }
  return hash.digest("hex");
}

/** SHA-256 in hex. */
export async function checksumOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: MIB }), hash);
  return hash.digest("hex");
}

import { randomBytes } from "node:crypto";
import { link, open, readFile, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { fileErrorInWords } from "./file-error.ts";
import { StateDirectoryError } from "./state-directory.ts";

/**
 * The text of a small file that is made once and then kept: read if it is there, else made. The file appears
 * whole or not at all, readable for its directory's owner alone; of several processes that find it missing at the
 * same time one makes it, and all return the same text. The directory must exist.
 *
 * @throws StateDirectoryError; and what `make` throws
 */
export async function createOnce(file: string, make: () => string | Promise<string>): Promise<string> {
  const existing = await readIfThere(file);
  if (existing !== undefined) return existing;
  const text = await make();
  try {
    return await create(file, text);
  } catch (error) {
    throw new StateDirectoryError(
      `cannot write ${file}: ${fileErrorInWords(error)}. ` +
        `The user that runs this program needs write access to ${path.dirname(file)} and space on its disk.`,
      error,
    );
  }
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw new StateDirectoryError(
      `cannot read ${file}: ${fileErrorInWords(error)}. It belongs to the user that made it; run as that user.`,
      error,
    );
  }
}

async function create(file: string, text: string): Promise<string> {
  const draft = path.join(
    path.dirname(file),
    `.${path.basename(file)}.${randomBytes(6).toString("hex")}.tmp`,
  );
  try {
    await writeNew(draft, text);
    // Unlike a rename, a hard link never replaces what is there.
    await link(draft, file);
    return text;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return await readFile(file, "utf8");
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
    return await createWithoutLinks(file, text);
  } finally {
    await unlink(draft).catch(() => {});
  }
}

/** For file systems without hard links (exFAT, some mounts of containers): not whole at once, but still made once. */
async function createWithoutLinks(file: string, text: string): Promise<string> {
  try {
    await writeNew(file, text);
    return text;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return await readFile(file, "utf8");
    throw error;
  }
}

async function writeNew(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    // Made by root in another user's directory, it must stay readable for that user.
    if (process.getuid?.() === 0) {
      const { uid, gid } = await stat(path.dirname(file));
      await handle.chown(uid, gid);
    }
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { fileErrorInWords } from "./file-error.ts";

/** The state directory, or a file in it, cannot be used; the message says why and what to do. */
export class StateDirectoryError extends Error {
  override readonly name = "StateDirectoryError";
  /** The system's code, such as EACCES. */
  readonly code: string;

  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  }
}

/**
 * Where the program keeps what it must remember, as an absolute path: `override` if given; else `$STATE_DIRECTORY`, the
 * first where systemd names several; else /var/lib/culvert for root and ~/.local/state/culvert for others
 * (https://specifications.freedesktop.org/basedir-spec/latest/).
 */
export function stateDirectory(
  override?: string,
  env: NodeJS.ProcessEnv = process.env,
  uid: number | undefined = process.getuid?.(),
): string {
  if (override) return path.resolve(override);
  const fromSystemd = env["STATE_DIRECTORY"]?.split(":").find((directory) => directory !== "");
  if (fromSystemd) return path.resolve(fromSystemd);
  if (uid === 0) return "/var/lib/culvert";
  const xdg = env["XDG_STATE_HOME"];
  const states = xdg && path.isAbsolute(xdg) ? xdg : path.join(env["HOME"] || homedir(), ".local", "state");
  return path.join(states, "culvert");
}

/**
 * Makes a directory, and those above it, for its owner alone; one that exists stays as it is. What root makes belongs to the
 * owner of the directory that it is made in.
 *
 * @throws StateDirectoryError
 */
export async function ensureDirectory(directory: string): Promise<void> {
  try {
    const first = await makeDirectories(path.resolve(directory));
    if (first !== undefined) await inheritOwner(first, path.resolve(directory));
  } catch (error) {
    throw new StateDirectoryError(
      `cannot make the directory ${directory}: ${fileErrorInWords(error)}. ` +
        "Make it for the user that runs this program, or name another with --data-dir.",
      error,
    );
  }
}

/** Pieces are made and written one by one, in turns of the event loop. */
export type FileContent = string | Uint8Array | Iterable<string>;

/**
 * Replaces a file, so that a reader sees the old content or the new, and a crash leaves one of them. The file
 * belongs to its directory's owner, also when root writes it.
 *
 * @throws StateDirectoryError, with the old file untouched
 */
export async function writeFileAtomically(file: string, data: FileContent, mode = 0o600): Promise<void> {
  const directory = path.dirname(file);
  const temporary = path.join(directory, `.${path.basename(file)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await writeAndSync(temporary, data, mode);
    await rename(temporary, file);
    await syncDirectory(directory);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new StateDirectoryError(
      `cannot write ${file}: ${fileErrorInWords(error)}. ` +
        `The user that runs this program needs write access to ${directory} and space on its disk.`,
      error,
    );
  }
}

async function writeAndSync(file: string, data: FileContent, mode: number): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    if (process.getuid?.() === 0) {
      const { uid, gid } = await stat(path.dirname(file));
      await handle.chown(uid, gid);
    }
    await handle.chmod(mode);
    await writeFile(handle, data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the rename itself last; some file systems refuse that, and lose nothing but the last moment. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r").catch(() => undefined);
  if (!handle) return;
  await handle.sync().catch(() => {});
  await handle.close();
}

/**
 * Not `mkdir` with `recursive`, which tries for ever where a directory is there and refuses new ones as missing: /proc does.
 *
 * @returns the uppermost that was made; undefined where all were there
 */
async function makeDirectories(directory: string): Promise<string | undefined> {
  let above: string | undefined;
  try {
    await mkdir(directory, 0o700);
    return directory;
  } catch (error) {
    if (await isDirectory(directory)) return undefined;
    const parent = path.dirname(directory);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === directory) throw error;
    above = await makeDirectories(parent);
  }
  await mkdir(directory, 0o700).catch(async (error: unknown) => {
    // Another process may make the same one.
    if (!(await isDirectory(directory))) throw error;
  });
  return above ?? directory;
}

async function isDirectory(file: string): Promise<boolean> {
  return await stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/**
 * By handle, and only of directories: whoever owns the one above may have put a link in place of what was just made, and root
 * would give away what that leads to.
 */
async function inheritOwner(first: string, last: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(path.dirname(first));
  for (let directory = last; directory.startsWith(first); directory = path.dirname(directory)) {
    const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await handle.chown(uid, gid);
    } finally {
      await handle.close();
    }
  }
}

import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { link, open, readFile, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";

/** Who holds a lock; `pid` means something on the same `host` only. */
interface Holder {
  pid: number;
  host: string;
  /** Different for every hold. */
  token: string;
}

/** A lock that does not change for so long belongs to nobody: holders need milliseconds. */
const STALE_MS = 10_000;
const RETRY_MS = 20;

/**
 * Does `work` while no other process holds the lock file `path`. What a killed process left is taken away: at
 * once if it ran here, else after `staleMs`. `work` gets a check to make right before its changes take effect;
 * it throws if the lock was taken away meanwhile, since this process stood still for too long.
 */
export async function withLock<T>(
  path: string,
  work: (checkStillHeld: () => Promise<void>) => Promise<T>,
  staleMs = STALE_MS,
): Promise<T> {
  const mine = JSON.stringify({
    pid: process.pid,
    host: HOST,
    token: randomBytes(8).toString("hex"),
  } satisfies Holder);
  let seen: string | undefined;
  let seenSince = performance.now();
  while (!(await create(path, mine))) {
    const theirs = await readIfThere(path);
    if (theirs !== seen) {
      seen = theirs;
      // Not the file's time: clocks jump, and those of file servers differ.
      seenSince = performance.now();
    }
    if (theirs === undefined) continue;
    if (isOfADeadProcess(theirs) || performance.now() - seenSince > staleMs) await takeAway(path, theirs);
    else await delay(RETRY_MS * (0.5 + Math.random()));
  }
  try {
    return await work(async () => {
      if ((await readIfThere(path)) !== mine) throw new Error("another process took the lock over");
    });
  } finally {
    if ((await readIfThere(path)) === mine) await rm(path, { force: true });
  }
}

/** With the namespace of process ids, so that two containers of one name are not taken for one another. */
const HOST = `${hostname()} ${processNamespace()}`;

function processNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

async function create(path: string, content: string): Promise<boolean> {
  let file;
  try {
    // Readable for all: it holds no secret, and whoever comes next must tell whether it is stale.
    file = await open(path, "wx", 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  try {
    await file.writeFile(content);
  } catch (error) {
    // The disk is full: an empty lock would keep others out until it counts as stale.
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return true;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function isOfADeadProcess(content: string): boolean {
  try {
    const { pid, host } = JSON.parse(content) as Partial<Holder>;
    if (host !== HOST || !Number.isInteger(pid)) return false;
    process.kill(pid!, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** Removes the lock if it still is the one that was judged stale; a newer one that got in between is put back. */
async function takeAway(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    if ((await readIfThere(aside)) !== stale) await link(aside, path).catch(() => {});
  } finally {
    await rm(aside, { force: true });
  }
}

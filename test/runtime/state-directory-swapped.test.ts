import type * as fs from "node:fs/promises";
import { chown, mkdtemp, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ensureDirectory, StateDirectoryError } from "../../runtime/state-directory.ts";

/** What somebody else does as soon as a directory has been made. */
const swap = vi.hoisted(() => ({ made: async (_made: string): Promise<void> => {} }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  return {
    ...real,
    async mkdir(...args: Parameters<typeof real.mkdir>) {
      const first = await real.mkdir(...args);
      await swap.made(String(args[0]));
      return first;
    },
  };
});

const isRoot = process.getuid?.() === 0;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "state-"));
});
afterEach(() => {
  swap.made = async () => {};
  return rm(directory, { recursive: true });
});

test.runIf(isRoot).each(["directory", "file"])(
  "root gives away no %s that a link was put to in place of what it has made",
  async (kind) => {
    const service = path.join(directory, "of-the-service");
    const secret = path.join(directory, "of-root");
    await ensureDirectory(service);
    if (kind === "file") await writeFile(secret, "");
    else await ensureDirectory(secret);
    await chown(service, 1234, 2345);
    swap.made = async (made) => {
      await rename(made, path.join(service, "aside"));
      await symlink(secret, made);
    };
    await expect(ensureDirectory(path.join(service, "state"))).rejects.toThrow(StateDirectoryError);
    expect(await stat(secret)).toMatchObject({ uid: 0, gid: 0 });
  },
);

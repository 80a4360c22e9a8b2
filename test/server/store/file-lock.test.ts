import { execFileSync } from "node:child_process";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withLock } from "../../../server/store/file-lock.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

test("works one after the other, and leaves nothing behind", async () => {
  const directory = await temporaryDirectory();
  let inside = 0;
  let done = 0;
  await Promise.all(
    Array.from({ length: 10 }, () =>
      withLock(join(directory, "lock"), async (checkStillHeld) => {
        expect(++inside).toBe(1);
        await checkStillHeld();
        inside--;
        done++;
      }),
    ),
  );
  expect(done).toBe(10);
  expect(await readdir(directory)).toEqual([]);
});

test("work that fails gives the lock back", async () => {
  const path = join(await temporaryDirectory(), "lock");
  await expect(withLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await withLock(path, async () => "yes")).toBe("yes");
});

test("a lock that a killed process of this machine left is taken away at once", async () => {
  const path = join(await temporaryDirectory(), "lock");
  let content = "";
  await withLock(path, async () => (content = await readFile(path, "utf8")));
  const deadPid = Number(execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }));
  await writeFile(path, JSON.stringify({ ...(JSON.parse(content) as object), pid: deadPid }));
  // With so much patience only the dead process explains success.
  expect(await withLock(path, async () => "done", 3_600_000)).toBe("done");
});

test.each([
  ["another machine", JSON.stringify({ pid: 1, host: "elsewhere", token: "x" })],
  ["nobody knows whom", ""],
])("a lock of %s is taken away once it has stood still for long enough", async (_whose, content) => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "lock"), content);
  expect(await withLock(join(directory, "lock"), async () => "done", 50)).toBe("done");
  expect(await readdir(directory)).toEqual([]);
});

test("who stood still for too long learns that the lock is another's, and does not remove it", async () => {
  const path = join(await temporaryDirectory(), "lock");
  const late = withLock(path, async (checkStillHeld) => {
    await rm(path);
    await writeFile(path, "another's");
    await checkStillHeld();
  });
  await expect(late).rejects.toThrow("took the lock over");
  expect(await readFile(path, "utf8")).toBe("another's");
});

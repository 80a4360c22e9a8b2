import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { createOnce } from "../../runtime/create-once.ts";
import { StateDirectoryError } from "../../runtime/state-directory.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("the file is made whole, for its owner alone, and nothing else stays", async () => {
  const directory = await temporaryDirectory();
  const file = join(directory, "once");
  expect(await createOnce(file, () => "text")).toBe("text");
  expect(await readFile(file, "utf8")).toBe("text");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(directory)).toEqual(["once"]);
});

test("what is there is kept, and nothing is made", async () => {
  const file = join(await temporaryDirectory(), "once");
  await writeFile(file, "before");
  const make = vi.fn(() => "text");
  expect(await createOnce(file, make)).toBe("before");
  expect(make).not.toHaveBeenCalled();
});

test("of many who start at once, all get the same text", async () => {
  const file = join(await temporaryDirectory(), "once");
  const texts = await Promise.all(
    Array.from({ length: 20 }, (_, i) => createOnce(file, async () => `text ${i}`)),
  );
  expect(new Set(texts).size).toBe(1);
  expect(await readFile(file, "utf8")).toBe(texts[0]);
});

test("what cannot be read or written is an error that names the file", async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, "folder"));
  for (const file of [join(directory, "folder"), join(directory, "missing", "once")]) {
    const failed = createOnce(file, () => "text");
    await expect(failed).rejects.toThrow(StateDirectoryError);
    await expect(failed).rejects.toThrow(file);
  }
});

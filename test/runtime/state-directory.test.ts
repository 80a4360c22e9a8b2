import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  ensureDirectory,
  stateDirectory,
  StateDirectoryError,
  writeFileAtomically,
} from "../../runtime/state-directory.ts";

const isRoot = process.getuid?.() === 0;

describe("where the state is", () => {
  const env = { HOME: "/home/ada", STATE_DIRECTORY: "/var/lib/tunnel", XDG_STATE_HOME: "/home/ada/state" };

  test("what was asked for comes first, made absolute", () => {
    expect(stateDirectory("/srv/x", env, 0)).toBe("/srv/x");
    expect(stateDirectory("x", env, 0)).toBe(path.resolve("x"));
  });

  test("then what systemd gives, the first of several", () => {
    expect(stateDirectory(undefined, env, 0)).toBe("/var/lib/tunnel");
    expect(stateDirectory(undefined, { ...env, STATE_DIRECTORY: "/var/lib/a:/var/lib/b" }, 1000)).toBe(
      "/var/lib/a",
    );
    expect(stateDirectory(undefined, { ...env, STATE_DIRECTORY: "" }, 0)).toBe("/var/lib/culvert");
  });

  test("then the system's place for root, and the home directory for others", () => {
    const { STATE_DIRECTORY: _, ...plain } = env;
    expect(stateDirectory(undefined, plain, 0)).toBe("/var/lib/culvert");
    expect(stateDirectory(undefined, plain, 1000)).toBe("/home/ada/state/culvert");
    expect(stateDirectory(undefined, { HOME: "/home/ada", XDG_STATE_HOME: "relative" }, 1000)).toBe(
      "/home/ada/.local/state/culvert",
    );
  });
});

describe("files in it", () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "state-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("a directory is made with those above it, for its owner alone", async () => {
    await ensureDirectory(path.join(directory, "a", "b"));
    expect((await stat(path.join(directory, "a"))).mode & 0o777).toBe(0o700);
    expect((await stat(path.join(directory, "a", "b"))).mode & 0o777).toBe(0o700);
  });

  test("a directory that nothing can be made in is refused at once", async () => {
    await expect(ensureDirectory("/proc/culvert/state")).rejects.toThrow(
      "cannot make the directory /proc/culvert/state: no such file or directory. Make it for the user",
    );
  });

  test("several that make the same directory all find it made", async () => {
    const made = path.join(directory, "a", "b", "c");
    await Promise.all(Array.from({ length: 8 }, () => ensureDirectory(made)));
    expect((await stat(made)).isDirectory()).toBe(true);
  });

  test("a directory that exists stays as it is", async () => {
    await chmod(directory, 0o750);
    await ensureDirectory(directory);
    expect((await stat(directory)).mode & 0o777).toBe(0o750);
  });

  test("a directory that cannot be made is said with what to do", async () => {
    await writeFile(path.join(directory, "file"), "");
    const error = await ensureDirectory(path.join(directory, "file", "x")).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(StateDirectoryError);
    expect(error).toMatchObject({ code: "ENOTDIR" });
    expect((error as Error).message).toMatch(/cannot make the directory .*file\/x: .* --data-dir\.$/);
  });

  test("a file is written for its owner alone, and replaced whole", async () => {
    const file = path.join(directory, "keys.json");
    await writeFileAtomically(file, "one");
    await writeFileAtomically(file, Buffer.from("two"));
    expect(await readFile(file, "utf8")).toBe("two");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(["keys.json"]);
  });

  test("a mode is taken as it is, whatever the umask", async () => {
    const file = path.join(directory, "public.pem");
    await writeFileAtomically(file, "x", 0o666);
    expect((await stat(file)).mode & 0o777).toBe(0o666);
  });

  test("of many writers at once one wins, with a whole file", async () => {
    const file = path.join(directory, "keys.json");
    const contents = Array.from({ length: 20 }, (_, i) => String(i).repeat(10_000));
    await Promise.all(contents.map((content) => writeFileAtomically(file, content)));
    expect(contents).toContain(await readFile(file, "utf8"));
    expect(await readdir(directory)).toEqual(["keys.json"]);
  });

  test("a file that cannot be written leaves nothing behind", async () => {
    await mkdir(path.join(directory, "taken"));
    const error = await writeFileAtomically(path.join(directory, "taken"), "x").catch(
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(StateDirectoryError);
    expect(await readdir(directory)).toEqual(["taken"]);
    await expect(writeFileAtomically(path.join(directory, "none", "x"), "x")).rejects.toThrow(
      /cannot write .*none\/x: no such file or directory\. .* needs write access/,
    );
  });

  test.runIf(isRoot)("what root makes belongs to the directory's owner", async () => {
    await chown(directory, 1234, 2345);
    await ensureDirectory(path.join(directory, "a", "b"));
    await writeFileAtomically(path.join(directory, "a", "b", "file"), "x");
    for (const made of ["a", "a/b", "a/b/file"]) {
      expect(await stat(path.join(directory, made))).toMatchObject({ uid: 1234, gid: 2345 });
    }
  });
});

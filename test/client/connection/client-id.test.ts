import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { clientId } from "../../../client/connection/client-id.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

test("a client keeps its id in a file of its own", async () => {
  const { log, lines } = recordingLog();
  const directory = join(await temporaryDirectory(), "state");
  const id = await clientId(directory, log);
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(await clientId(directory, log)).toBe(id);
  expect((await stat(join(directory, "client-id"))).mode & 0o777).toBe(0o600);
  expect(lines).toEqual([]);
});

test("two clients with directories of their own differ", async () => {
  const { log } = recordingLog();
  expect(await clientId(await temporaryDirectory(), log)).not.toBe(
    await clientId(await temporaryDirectory(), log),
  );
});

test("clients that start at once with one directory have one id", async () => {
  const { log } = recordingLog();
  const directory = await temporaryDirectory();
  const ids = await Promise.all(Array.from({ length: 10 }, () => clientId(directory, log)));
  expect(new Set(ids).size).toBe(1);
});

test("where nothing can be kept, a client gets an id for this run and says so", async () => {
  const { log, lines } = recordingLog();
  const file = join(await temporaryDirectory(), "file");
  await writeFile(file, "");
  const id = await clientId(join(file, "state"), log);
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(await clientId(join(file, "state"), log)).not.toBe(id);
  expect(lines.map(({ level }) => level)).toEqual(["warn", "warn"]);
});

test("a damaged id is replaced", async () => {
  const { log, lines } = recordingLog();
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "client-id"), "\0\0");
  const id = await clientId(directory, log);
  expect((await readFile(join(directory, "client-id"), "utf8")).trim()).toBe(id);
  expect(await clientId(directory, log)).toBe(id);
  expect(lines).toHaveLength(1);
});

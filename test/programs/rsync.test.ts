import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { outputOf } from "./outside-program.ts";
import { checksumOf, writeRandomFile } from "./random-file.ts";
import { startSshd } from "./sshd.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

const FILES = 200;

const skipped = skippedWithout("rsync", "ssh", "ssh-keygen", "sshd");

describe.skipIf(skipped !== "")(`rsync over ssh through a TCP tunnel${skipped}`, () => {
  test("brings a tree of files there, then what has changed alone, then all of it back", async () => {
    await using sshd = await startSshd();
    await using tunnel = await tcpTunnel(sshd);
    const directory = await temporaryDirectory();
    const [here, there, back] = ["here", "there", "back"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await mkdir(join(here, "small"), { recursive: true });
    for (let i = 0; i < FILES; i++) await writeFile(join(here, "small", String(i)), `file ${i}\n`);
    const checksum = await writeRandomFile(join(here, "large"), 16);

    const shell = ["ssh", ...sshd.clientOptions, "-p", String(tunnel.port)].join(" ");
    const rsync = ["rsync", "--archive", "--checksum", "--delete", "--itemize-changes", "--rsh", shell];
    const remote = `${sshd.user}@${tunnel.host}:${there}/`;
    await outputOf([...rsync, `${here}/`, remote]);
    expect(await checksumOf(join(there, "large"))).toBe(checksum);
    expect(await readFile(join(there, "small", "199"), "utf8")).toBe("file 199\n");

    await writeFile(join(here, "small", "7"), "changed\n");
    await rm(join(here, "small", "8"));
    const changes = await outputOf([...rsync, `${here}/`, remote]);
    expect(
      changes
        .trim()
        .split("\n")
        .filter((line) => /small\/./.test(line)),
    ).toEqual([expect.stringMatching(/^\*deleting +small\/8$/), expect.stringMatching(/^<f\S+ small\/7$/)]);

    await outputOf([...rsync, remote, `${back}/`]);
    expect(await checksumOf(join(back, "large"))).toBe(checksum);
    expect(await outputOf(["diff", "-r", here, back])).toBe("");
  });
});

import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasProgram } from "../support/programs.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const UNITS = ["tunnel-server.service", "tunnel-client.service"];

const hasSystemd = hasProgram("systemd-analyze");
const skipped = hasSystemd ? "" : " (skipped: needs systemd-analyze)";

// Only programs that read files: nothing here starts a unit, or the service manager.
describe.skipIf(!hasSystemd)(`the systemd units of an installed package${skipped}`, () => {
  let directory: string;
  let units: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "culvert-units-"));
    // Without scripts: the build would rewrite dist/ under the tests that run from it.
    const { stdout } = await run(
      "npm",
      ["pack", "--ignore-scripts", "--json", "--pack-destination", directory],
      {
        cwd: ROOT,
      },
    );
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    const prefix = join(directory, "installed");
    const quietly = ["--omit=dev", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"];
    await run("npm", ["install", "--global", "--prefix", prefix, ...quietly, join(directory, filename)]);
    units = join(directory, "units");
    await cp(join(prefix, "lib/node_modules/culvert-tunnel/deploy/systemd"), units, { recursive: true });
    for (const unit of UNITS) {
      const text = await readFile(join(units, unit), "utf8");
      await writeFile(join(units, unit), text.replace(/^ExecStart=/m, `ExecStart=${join(prefix, "bin")}/`));
    }
  }, 120_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  test.each(UNITS)("systemd-analyze has nothing to say about %s", async (unit) => {
    expect(await verify(join(units, unit))).toBe("");
  });

  test("it does complain about a command that is not there, and about a setting that it does not know", async () => {
    const text = await readFile(join(units, "tunnel-client.service"), "utf8");
    const broken = join(units, "broken.service");
    await writeFile(
      broken,
      text.replace("/bin/tunnel-client", "/bin/tunnel-nobody").replace("UMask=", "UMusk="),
    );
    const said = await verify(broken);
    expect(said).toContain("tunnel-nobody is not executable");
    expect(said).toContain("UMusk");
  });

  test("the server's user is one that systemd-sysusers makes", async () => {
    const unit = await readFile(join(units, "tunnel-server.service"), "utf8");
    const user = /^User=(\S+)$/m.exec(unit)![1]!;
    const root = join(directory, "root");
    const arguments_ = ["--dry-run", `--root=${root}`, join(units, "culvert.sysusers.conf")];
    await cp(units, join(root, "etc"), { recursive: true });
    const { stdout, stderr } = await run("systemd-sysusers", arguments_);
    expect(stdout + stderr).toContain(`Creating user '${user}'`);
  });
});

describe("the systemd units", () => {
  test.each(UNITS)(
    "%s comes back after every end, but not from what only a person can mend",
    async (unit) => {
      const settings = await settingsOf(unit);
      expect(settings.get("Restart")).toBe("always");
      expect(settings.get("StartLimitIntervalSec")).toBe("0");
      expect(settings.get("RestartPreventExitStatus")).toBe(unit === "tunnel-client.service" ? "2 5" : "2");
      expect(Number(settings.get("RestartSec"))).toBeGreaterThanOrEqual(1);
    },
  );

  test.each(UNITS)("%s gives the program more time to stop than its grace of 30 s", async (unit) => {
    const settings = await settingsOf(unit);
    expect(Number(settings.get("TimeoutStopSec"))).toBeGreaterThan(30);
    expect(settings.get("KillMode")).toBe("mixed");
  });

  test("the client's key comes as a credential, and is on no command line", async () => {
    const settings = await settingsOf("tunnel-client.service");
    expect(settings.get("LoadCredential")).toBe("key:/etc/culvert/client.key");
    expect(settings.get("ExecStart")).toBe("tunnel-client --key-file ${CREDENTIALS_DIRECTORY}/key");
  });
});

/** What systemd-analyze says, warnings included; empty if it is content. */
async function verify(unit: string): Promise<string> {
  try {
    const { stdout, stderr } = await run("systemd-analyze", ["verify", "--man=no", unit]);
    return stdout + stderr;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return stdout + stderr;
  }
}

async function settingsOf(unit: string): Promise<Map<string, string>> {
  const lines = (await readFile(join(ROOT, "deploy/systemd", unit), "utf8")).split("\n");
  const settings = lines.filter((line) => /^\w+=/.test(line)).map((line) => line.split(/=(.*)/, 2));
  return new Map(settings as [string, string][]);
}

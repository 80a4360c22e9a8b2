import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { InstalledTarball, type Shell } from "../support/installed-tarball.ts";
import { namespaceObstacle } from "../support/namespaces.ts";
import { PrivateMachine } from "../support/private-machine.ts";
import { hasProgram } from "../support/programs.ts";

const obstacle =
  namespaceObstacle() ?? (hasProgram("unshare") && hasProgram("curl") ? undefined : "no unshare or curl");
const why = obstacle === undefined ? "" : ` (cannot be tried here: ${obstacle})`;

let installed: InstalledTarball;
let readme: string;
/** Where `sudo` is found: the tests are root themselves, and become nobody without it. */
let sudo: string;

beforeAll(async () => {
  if (obstacle !== undefined) return;
  installed = await InstalledTarball.install();
  readme = await readFile(
    createRequire(import.meta.url)
      .resolve("#package.json")
      .replace("package.json", "README.md"),
    "utf8",
  );
  sudo = await mkdtemp(join(tmpdir(), "culvert-sudo-"));
  await chmod(sudo, 0o755);
  await writeFile(join(sudo, "sudo"), '#!/bin/sh\nHOME=/root exec "$@"\n', { mode: 0o755 });
}, 60_000);
afterAll(async () => {
  await installed?.[Symbol.asyncDispose]();
  if (sudo) await rm(sudo, { recursive: true });
});

/** The shell's lines in the README that hold these words. */
function lines(words: string): string {
  const blocks = [...readme.matchAll(/```sh\n([^]*?)```/g)].map(([, block]) => block!);
  const found = blocks.filter((block) => block.includes(words));
  expect(found).toHaveLength(1);
  return found[0]!;
}

function withoutSudo(text: string): string {
  return text.replaceAll("sudo ", "");
}

async function ended(shell: Shell): Promise<{ code: number | null; output: string }> {
  return { code: await shell.exited, output: shell.output };
}

test.skipIf(obstacle !== undefined)(
  `what the README says for two machines brings a local app to a visitor${why}`,
  async () => {
    await using machine = await PrivateMachine.start(["tunnel.example.com", "app.tunnel.example.com"]);
    const home = await installed.makeHome();
    const there = { enter: machine.enter, home, path: [sudo] };
    const app = await installed.shell(
      `node -e 'http.createServer((q, s) => s.end("the app")).listen(3000, "127.0.0.1", () => console.log("up"))'`,
      there,
    );
    await app.prints(/up/);

    await using server = await installed.shell(lines("cat > config.yaml"), { ...there, asRoot: true });
    await server.prints(/"message":"listening"/);
    const create = await installed.shell(lines("--tunnel web=127.0.0.1:3000@app\n"), {
      ...there,
      asRoot: true,
    });
    const { code, output } = await ended(create);
    expect({ code, output }).toMatchObject({ code: 0 });

    // As an ordinary user, whose own machine it is.
    const line = output.trimEnd().split("\n").at(-1)!;
    expect(line).toMatch(/^tunnel-client --key culvert_\w+$/);
    await using client = await installed.shell(line, there);
    await client.prints(/"message":"online"/);
    const visit = await installed.shell("curl -sS -m 10 http://app.tunnel.example.com/", there);
    expect(await ended(visit)).toEqual({ code: 0, output: "the app" });
  },
);

test.skipIf(obstacle !== undefined)(
  `who forgets sudo is told so at each step, and makes no key that cannot work${why}`,
  async () => {
    await using machine = await PrivateMachine.start(["tunnel.example.com"]);
    const home = await installed.makeHome();
    const there = { enter: machine.enter, home, path: [sudo] };
    const failed = await ended(await installed.shell(withoutSudo(lines("cat > config.yaml")), there));
    expect(failed.code).toBe(1);
    expect(failed.output).toContain("port 80 may not be used by this user");
    // Nothing is left behind that could be taken for the server's.
    expect(await readdir(home)).toEqual(["empty"]);

    const create = withoutSudo(lines("--tunnel web=127.0.0.1:3000@app\n"));
    const tooEarly = await ended(await installed.shell(create, there));
    expect(tooEarly.code).toBe(1);
    expect(tooEarly.output).toContain("No server has ever started with the data directory");

    await using server = await installed.shell("sudo tunnel-server --config config.yaml", {
      ...there,
      asRoot: true,
    });
    await server.prints(/"message":"listening"/);
    const refused = await ended(await installed.shell(create, there));
    expect(refused.code).toBe(1);
    expect(refused.output).toContain(
      `The tunnel-server that answers at :7000 uses /var/lib/culvert, and this command ${home}/.local/state/culvert`,
    );
    expect(await readdir(home)).toEqual(["empty"]);
    expect((await ended(await installed.shell(`sudo ${create}`, { ...there, asRoot: true }))).code).toBe(0);
  },
);

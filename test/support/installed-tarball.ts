import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const ROOT = join(import.meta.dirname, "../..");
const run = promisify(execFile);
/**
 * Who runs the commands when the tests run as root: what they do without being root is what most people see. Where
 * only root can reach node (in its own home, say), root does.
 */
const NOBODY = process.getuid?.() === 0 && canRunNode(65_534) ? { uid: 65_534, gid: 65_534 } : undefined;

/** The commands as `npm install -g` puts them, in a prefix of their own. */
export class InstalledTarball implements AsyncDisposable {
  /** What the tarball holds, as paths in the package. */
  readonly files: readonly string[];
  readonly #directory: string;
  readonly #started: Shell[] = [];

  private constructor(directory: string, files: readonly string[]) {
    this.#directory = directory;
    this.files = files;
  }

  /** Packs what is built in dist/, and installs it. */
  static async install(): Promise<InstalledTarball> {
    const directory = await mkdtemp(join(tmpdir(), "culvert-install-"));
    await chmod(directory, 0o755);
    const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", directory];
    const { stdout } = await run("npm", pack, { cwd: ROOT });
    const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
    const tarball = join(directory, packed.filename);
    const options = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel", "error"];
    await run("npm", ["install", "-g", "--prefix", directory, ...options, tarball], { cwd: directory });
    return new InstalledTarball(
      directory,
      packed.files.map(({ path }) => path),
    );
  }

  /** Runs a line as a person at a shell would, in an empty directory with a home of its own. */
  async shell(line: string, options: { namespace?: string } = {}): Promise<Shell> {
    const home = await mkdtemp(join(this.#directory, "home-"));
    const cwd = join(home, "empty");
    await mkdir(cwd);
    if (NOBODY) for (const path of [home, cwd]) await chown(path, NOBODY.uid, NOBODY.gid);
    const environment = { HOME: home, PATH: `${join(this.#directory, "bin")}:${process.env["PATH"]}` };
    const started = new Shell(line, cwd, environment, options.namespace);
    this.#started.push(started);
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#started.map((shell) => shell[Symbol.asyncDispose]()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** A shell that runs one line. */
export class Shell implements AsyncDisposable {
  /** Everything written to standard output and error. */
  output = "";
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  #waiting: (() => void)[] = [];

  constructor(line: string, cwd: string, env: NodeJS.ProcessEnv, namespace?: string) {
    const asNobody = NOBODY ? ["--reuid", `${NOBODY.uid}`, "--regid", `${NOBODY.gid}`, "--clear-groups"] : [];
    const enter = namespace ? ["ip", "netns", "exec", namespace, "setpriv", ...asNobody] : [];
    const [command, ...args] = [...enter, "sh", "-c", line];
    this.#child = spawn(command, args, {
      cwd,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that what the shell started ends with it.
      detached: true,
      ...(!namespace && NOBODY),
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        for (const wake of this.#waiting.splice(0)) wake();
      });
    }
    this.exited = new Promise((resolve) => {
      this.#child.once("close", (code) => {
        resolve(code);
        for (const wake of this.#waiting.splice(0)) wake();
      });
    });
  }

  /** Resolves with the first match in the output; rejects if the program ends without it. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.output);
      if (match) return match;
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`it ended before it printed ${String(pattern)}:\n${this.output}`);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null)
      process.kill(-this.#child.pid!, "SIGKILL");
    await this.exited;
  }
}

function canRunNode(uid: number): boolean {
  return spawnSync(process.execPath, ["--version"], { uid, gid: uid, cwd: "/" }).status === 0;
}

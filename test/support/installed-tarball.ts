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
  /** Where the package is. */
  readonly root: string;
  readonly #directory: string;
  readonly #started: Shell[] = [];

  private constructor(directory: string, files: readonly string[]) {
    this.#directory = directory;
    this.files = files;
    this.root = join(directory, "lib/node_modules/culvert-tunnel");
  }

  /** Packs what is built in dist/, and installs it on a machine that has no registry, and nothing of one. */
  static async install(): Promise<InstalledTarball> {
    const directory = await mkdtemp(join(tmpdir(), "culvert-install-"));
    await chmod(directory, 0o755);
    const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", directory];
    const { stdout } = await run("npm", pack, { cwd: ROOT });
    const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
    const tarball = join(directory, packed.filename);
    const cache = join(directory, "cache");
    const options = ["--offline", "--cache", cache, "--no-audit", "--no-fund", "--loglevel", "error"];
    await run("npm", ["install", "-g", "--prefix", directory, ...options, tarball], { cwd: directory });
    await rm(cache, { recursive: true });
    return new InstalledTarball(
      directory,
      packed.files.map(({ path }) => path),
    );
  }

  /** Runs a line as a person at a shell would, in a home of its own unless `home` says which. */
  async shell(line: string, options: ShellOptions = {}): Promise<Shell> {
    const { home = await this.makeHome(), path = [] } = options;
    const environment = {
      HOME: home,
      PATH: [...path, join(this.#directory, "bin"), process.env["PATH"]].join(":"),
    };
    const started = new Shell(line, join(home, "empty"), environment, options);
    this.#started.push(started);
    return started;
  }

  /** A home with an empty directory in it, where lines run. */
  async makeHome(): Promise<string> {
    const home = await mkdtemp(join(this.#directory, "home-"));
    const cwd = join(home, "empty");
    await mkdir(cwd);
    if (NOBODY) for (const path of [home, cwd]) await chown(path, NOBODY.uid, NOBODY.gid);
    return home;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#started.map((shell) => shell[Symbol.asyncDispose]()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

export interface ShellOptions {
  namespace?: string;
  /** Words ahead of the command that take it elsewhere, in place of a namespace. */
  enter?: readonly string[];
  /** Else nobody runs it, where the tests run as root. */
  asRoot?: boolean;
  home?: string;
  /** Directories ahead of PATH. */
  path?: readonly string[];
}

/** A shell that runs one line. */
export class Shell implements AsyncDisposable {
  /** Everything written to standard output and error. */
  output = "";
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  #waiting: (() => void)[] = [];

  constructor(line: string, cwd: string, env: NodeJS.ProcessEnv, { namespace, enter, asRoot }: ShellOptions) {
    const place = enter ?? (namespace === undefined ? [] : ["ip", "netns", "exec", namespace]);
    const user = asRoot ? undefined : NOBODY;
    const become = user
      ? ["setpriv", "--reuid", `${user.uid}`, "--regid", `${user.gid}`, "--clear-groups"]
      : [];
    const [command, ...args] = [...place, ...(place.length > 0 ? become : []), "sh", "-c", line];
    this.#child = spawn(command, args, {
      cwd,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that what the shell started ends with it.
      detached: true,
      ...(place.length === 0 && user),
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

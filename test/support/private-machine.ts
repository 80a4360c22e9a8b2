import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A network and an /var/lib of its own on this machine: all ports are free there, and root's data directory too. Needs root and
 * what `namespaceObstacle` looks for.
 */
export class PrivateMachine implements AsyncDisposable {
  readonly #holder: ChildProcess;
  readonly #directory: string;

  private constructor(holder: ChildProcess, directory: string) {
    this.#holder = holder;
    this.#directory = directory;
  }

  /**
   * @param names that lead to this machine's loopback address there
   * @param options.nameserver who is asked for all other names
   */
  static async start(
    names: readonly string[],
    { nameserver }: { nameserver?: string } = {},
  ): Promise<PrivateMachine> {
    const directory = await mkdtemp(join(tmpdir(), "culvert-machine-"));
    const hosts = join(directory, "hosts");
    await writeFile(hosts, `127.0.0.1 localhost ${names.join(" ")}\n`);
    const resolver = join(directory, "resolv.conf");
    if (nameserver !== undefined) await writeFile(resolver, `nameserver ${nameserver}\n`);
    const setUp = [
      "ip link set lo up",
      "mount -t tmpfs none /var/lib",
      `mount --bind ${hosts} /etc/hosts`,
      ...(nameserver === undefined ? [] : [`mount --bind ${resolver} /etc/resolv.conf`]),
    ].join(" && ");
    // It stays as long as its standard input is open.
    const holder = spawn("unshare", ["--mount", "--net", "sh", "-c", `${setUp} && echo up && exec cat`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once("data", () => resolve());
      holder.once("exit", (code) => reject(new Error(`no machine of its own: unshare ended with ${code}`)));
    });
    return new PrivateMachine(holder, directory);
  }

  /** The words ahead of a command that is to run there. */
  get enter(): string[] {
    return ["nsenter", "--target", String(this.#holder.pid), "--mount", "--net"];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#holder.once("exit", resolve));
    this.#holder.stdin!.end();
    await ended;
    await rm(this.#directory, { recursive: true, force: true });
  }
}

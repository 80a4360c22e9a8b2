import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import { hasProgram } from "./programs.ts";

const run = promisify(execFile);

/**
 * Why this machine cannot make network namespaces; undefined if it can. Found out by making one.
 * @throws where `CI` is set and it cannot, so that a build never passes by skipping
 */
export function namespaceObstacle(): string | undefined {
  const obstacle = findObstacle();
  if (obstacle !== undefined && process.env["CI"]) throw new Error(`no network namespaces here: ${obstacle}`);
  return obstacle;
}

function findObstacle(): string | undefined {
  if (process.platform !== "linux") return "network namespaces are of Linux";
  if (process.getuid?.() !== 0) return "only root makes network namespaces";
  if (!hasProgram("ip") || !hasProgram("setpriv")) return "no ip or setpriv";
  const probe = `cv${process.pid}probe`;
  try {
    execFileSync("ip", ["netns", "add", probe], { stdio: "pipe" });
    try {
      execFileSync("ip", ["-n", probe, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"], {
        stdio: "pipe",
      });
    } finally {
      execFileSync("ip", ["netns", "del", probe], { stdio: "pipe" });
    }
    return undefined;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    return stderr?.toString().trim() || message;
  }
}

/** Machines with a network of their own each, joined by wires; they see nothing of this machine's network. */
export class Namespaces implements AsyncDisposable {
  readonly #names: string[] = [];
  #wires = 0;

  async add(name: string): Promise<string> {
    const full = `cv${process.pid}${name}`;
    await ip("netns", "add", full);
    this.#names.push(full);
    await ip("-n", full, "link", "set", "lo", "up");
    return full;
  }

  /** Joins two of them by a wire, with these addresses at its ends. */
  async join(left: [name: string, address: string], right: [name: string, address: string]): Promise<void> {
    const wire = this.#wires++;
    const ends = [`l${wire}`, `r${wire}`] as const;
    await ip(
      "-n",
      left[0],
      "link",
      "add",
      ends[0],
      "type",
      "veth",
      "peer",
      "name",
      ends[1],
      "netns",
      right[0],
    );
    for (const [i, [name, address]] of [left, right].entries()) {
      await ip("-n", name, "address", "add", `${address}/24`, "dev", ends[i]!);
      await ip("-n", name, "link", "set", ends[i]!, "up");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#names.splice(0)) await ip("netns", "del", name);
  }
}

async function ip(...args: string[]): Promise<void> {
  await run("ip", args);
}

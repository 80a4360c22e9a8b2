import { execFileSync } from "node:child_process";
import { hasProgram } from "./programs.ts";

/**
 * Why this machine cannot give a program mounts of its own; undefined if it can. Found out by doing it.
 * @throws where `CI` is set and it cannot, so that a build never passes by skipping
 */
export function mountObstacle(): string | undefined {
  const obstacle = findObstacle();
  if (obstacle !== undefined && process.env["CI"]) throw new Error(`no private mounts here: ${obstacle}`);
  return obstacle;
}

function findObstacle(): string | undefined {
  if (process.platform !== "linux") return "mount namespaces are of Linux";
  if (process.getuid?.() !== 0) return "only root mounts";
  if (!hasProgram("unshare") || !hasProgram("mount")) return "no unshare or mount";
  const [command, ...args] = withMounts("mount -t tmpfs tmpfs /mnt");
  try {
    execFileSync(command, [...args, "true"], { stdio: "pipe" });
    return undefined;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    return stderr?.toString().trim() || message;
  }
}

/**
 * What to put before a command so that it runs behind this piece of shell, in a mount namespace of its own: nobody else
 * sees its mounts, and they are gone when it is.
 */
export function withMounts(prepare: string, output = ""): [command: string, ...args: string[]] {
  return ["unshare", "--mount", "sh", "-ec", `${prepare}\nexec "$@" ${output}`, "sh"];
}

/** The path by which others reach what a process sees under this one. */
export function asSeenBy(pid: number, path: string): string {
  return `/proc/${pid}/root${path}`;
}

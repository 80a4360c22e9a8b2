import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { PROGRAMS } from "../test/support/programs.ts";
import { runTool } from "./tool.ts";

export type NeededProgram = keyof typeof PROGRAMS;

/** What every run needs. */
const ALWAYS: readonly NeededProgram[] = ["curl", "nginx", "wrk"];

/** Where a program is; daemons are often not on an ordinary user's PATH. */
export function findProgram(name: string): string | undefined {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

/** @throws with what to do, if a program is missing and cannot be installed */
export async function installNeeded(
  more: readonly NeededProgram[],
  print: (line: string) => void,
): Promise<void> {
  const needed = [...ALWAYS, ...more];
  const missing = missingPackages(needed);
  if (missing.length === 0) return;
  if (process.getuid?.() === 0 && findProgram("apt-get")) {
    print(`installing ${missing.join(" ")}`);
    await installPackages(missing);
  }
  const still = missingPackages(needed);
  if (still.length > 0) throw new Error(`install these programs first: apt-get install ${still.join(" ")}`);
}

export async function installPackages(packages: readonly string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await runTool(["apt-get", "update", "-qq"], { env });
  await runTool(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...packages], { env });
}

function missingPackages(needed: readonly NeededProgram[]): string[] {
  const missing = needed.filter((program) => findProgram(program) === undefined);
  return [...new Set(missing.map((program) => PROGRAMS[program]))];
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

import { accessSync, constants } from "node:fs";
import { findProgram } from "../needed-programs.ts";

/** A peer that takes part where its programs are: named by an environment variable (`FRPS=/opt/frps`), or on PATH. */
export function peerProgram(name: string): string | undefined {
  const named = process.env[name.toUpperCase()];
  if (!named) return findProgram(name);
  try {
    accessSync(named, constants.X_OK);
    return named;
  } catch {
    return undefined;
  }
}

/** Says what to do if one of them is not here. */
export async function peerObstacle(...names: string[]): Promise<string | undefined> {
  const missing = names.filter((name) => peerProgram(name) === undefined);
  if (missing.length === 0) return undefined;
  return `no ${missing.join(", ")} on PATH or named by ${missing.map((name) => name.toUpperCase()).join(", ")}`;
}

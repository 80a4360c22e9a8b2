import { findProgram } from "../needed-programs.ts";

/**
 * A peer that takes part where its programs are: named by an environment variable (`FRPS=/opt/frps`), or on PATH. Whether one that is
 * named can be run shows when it is to start: a wrong path is told in the tables, and not passed over as a peer that nobody has.
 */
export function peerProgram(name: string): string | undefined {
  return process.env[name.toUpperCase()] || findProgram(name);
}

/** Says what to do if one of them is not here. */
export async function peerObstacle(...names: string[]): Promise<string | undefined> {
  const missing = names.filter((name) => peerProgram(name) === undefined);
  if (missing.length === 0) return undefined;
  return `no ${missing.join(", ")} on PATH or named by ${missing.map((name) => name.toUpperCase()).join(", ")}`;
}

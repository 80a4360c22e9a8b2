import { readFileSync } from "node:fs";

/** How many files and connections this process may have open; Infinity where the system does not say. */
export function descriptorLimit(): number {
  try {
    // Node has raised the soft limit to the hard one by now.
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    return soft === undefined ? Infinity : Number(soft);
  } catch {
    return Infinity;
  }
}

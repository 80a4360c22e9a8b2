import fs from "node:fs";

/**
 * How a file descriptor takes what is written to it. `"ready pipe"`: at once, or with EAGAIN not at all. `"slow pipe"`: a
 * write waits until there is room, so it needs a thread to wait in. `"other"`: files, terminals and sockets.
 */
export interface LineOutlet {
  readonly fd: number;
  readonly kind: "ready pipe" | "slow pipe" | "other";
}

/**
 * Opens a pipe once more, so that writing never waits, and for this program alone: others that have inherited the same pipe need
 * not know of EAGAIN. A thread that waits in a write would hold up the end of the program too, as long as nobody reads, since
 * node joins its threads. Takes Linux's /proc, and a pipe of the same user.
 */
export function openOutlet(fd: number): LineOutlet {
  if (!fs.fstatSync(fd).isFIFO()) return { fd, kind: "other" };
  try {
    const { O_WRONLY, O_NONBLOCK } = fs.constants;
    return { fd: fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK), kind: "ready pipe" };
  } catch {
    return { fd, kind: "slow pipe" };
  }
}

/** Writes a warning to standard error, unless that is gone, or a pipe that nobody reads. */
export function warnOnStandardError(text: string): void {
  try {
    const { fd, kind } = openOutlet(2);
    try {
      fs.writeSync(fd, `warning: ${text}\n`);
    } finally {
      if (kind === "ready pipe") fs.closeSync(fd);
    }
  } catch {
    // Nobody is left to tell.
  }
}

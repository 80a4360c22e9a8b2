import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs beside Node that tests use, and the Debian packages that hold them; install-programs.ts brings them. */
export const PROGRAMS = {
  chromium: "chromium",
  curl: "curl",
  faketime: "faketime",
  ip: "iproute2",
  mount: "mount",
  nginx: "nginx-light",
  openssl: "openssl",
  prlimit: "util-linux",
  setpriv: "util-linux",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  sshd: "openssh-server",
  slowhttptest: "slowhttptest",
  "systemd-analyze": "systemd",
  unshare: "util-linux",
  wrk: "wrk",
} as const;

/**
 * Whether a program is here.
 *
 * @throws where `CI` is set and it is not, so that a build never passes by skipping
 */
export function hasProgram(program: keyof typeof PROGRAMS): boolean {
  if (isOnPath(program)) return true;
  if (!process.env["CI"]) return false;
  throw new Error(`no ${program} here: install Debian's package ${PROGRAMS[program]}`);
}

export function isOnPath(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

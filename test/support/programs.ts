import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs beside Node that tests use, and the Debian packages that hold them and what they need; install-programs.ts brings them. */
export const PROGRAMS = {
  apache2: "apache2-bin libapache2-mod-auth-gssapi gss-ntlmssp",
  chromium: "chromium",
  curl: "curl",
  dig: "bind9-dnsutils",
  dnsmasq: "dnsmasq-base",
  faketime: "faketime",
  ip: "iproute2",
  iperf3: "iperf3",
  mount: "mount",
  "nc.openbsd": "netcat-openbsd",
  nginx: "nginx-light",
  openssl: "openssl",
  prlimit: "util-linux",
  python3: "python3",
  "redis-benchmark": "redis-tools",
  "redis-cli": "redis-tools",
  "redis-server": "redis-server",
  rsync: "rsync",
  scp: "openssh-client",
  setpriv: "util-linux",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  sshd: "openssh-server",
  slowhttptest: "slowhttptest",
  "systemd-analyze": "systemd",
  tinyproxy: "tinyproxy",
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

/**
 * For the title of tests that need programs: why they are skipped, or nothing if all are here.
 *
 * @throws as `hasProgram`
 */
export function skippedWithout(...programs: (keyof typeof PROGRAMS)[]): string {
  const missing = programs.filter((program) => !hasProgram(program));
  return missing.length === 0 ? "" : ` (skipped: needs ${missing.join(", ")})`;
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

import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { freePort } from "../../bench/free-port.ts";
import { findProgram } from "../../bench/needed-programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";

/** An sshd of this user, with keys of its own, on a free port of 127.0.0.1. */
export interface Sshd extends AsyncDisposable {
  host: string;
  port: number;
  user: string;
  /** `-o` and the like, for ssh, scp and rsync: they let it in, and believe this server alone. */
  clientOptions: string[];
}

/** What a host key is looked up by, whatever address leads to it. */
const HOST = "behind-the-tunnel";

export async function startSshd(): Promise<Sshd> {
  const directory = await temporaryDirectory();
  const [hostKey, userKey, config, knownHosts] = ["host", "user", "sshd_config", "known_hosts"].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  const [hostPublic] = await Promise.all([makeKey(hostKey), makeKey(userKey)]);
  await writeFile(knownHosts, `${HOST} ${hostPublic}`);
  const isRoot = process.getuid?.() === 0;
  // Where sshd puts its unprivileged part; Debian's service makes it.
  if (isRoot) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const [host, port] = ["127.0.0.1", await freePort()];
  await writeFile(
    config,
    `ListenAddress ${host}:${port}
HostKey ${hostKey}
AuthorizedKeysFile ${userKey}.pub
PidFile none
PermitRootLogin prohibit-password
StrictModes no
UsePAM ${isRoot ? "yes" : "no"}
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
Subsystem sftp internal-sftp
`,
  );
  // By its whole path, as it wants to be started.
  const server = new OutsideProgram([findProgram("sshd")!, "-D", "-e", "-f", config]);
  await server.printed("Server listening");
  const options = {
    BatchMode: "yes",
    HostKeyAlias: HOST,
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    StrictHostKeyChecking: "yes",
    UserKnownHostsFile: knownHosts,
    LogLevel: "ERROR",
  };
  return {
    host,
    port,
    user: userInfo().username,
    clientOptions: [
      "-F",
      "none",
      "-i",
      userKey,
      ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    ],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** @returns the public key */
async function makeKey(file: string): Promise<string> {
  await outputOf(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file]);
  return await outputOf(["ssh-keygen", "-y", "-f", file]);
}

import { mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { findProgram } from "../needed-programs.ts";
import { runTool } from "../tool.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

/** `ssh -R` to an sshd of its own. */
export const ssh: ContenderKind = {
  name: "ssh",
  title: "ssh -R",
  programs: ["ssh", "ssh-keygen", "sshd"],
  async start(options) {
    const { backend, road, directory } = options;
    const [hostKey, userKey, config] = ["host", "user", "sshd_config"].map((name) => join(directory, name));
    await Promise.all([makeKey(hostKey!), makeKey(userKey!)]);
    // Where sshd puts its unprivileged part; Debian's service makes it.
    if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
    const [sshdPort, publicPort] = [await freePort(), await freePort()];
    writeFileSync(
      config!,
      `ListenAddress ${road.serverHost}:${sshdPort}
HostKey ${hostKey}
AuthorizedKeysFile ${userKey}.pub
PidFile none
PermitRootLogin prohibit-password
StrictModes no
UsePAM ${process.getuid?.() === 0 ? "yes" : "no"}
PasswordAuthentication no
KbdInteractiveAuthentication no
Compression no
UseDNS no
`,
    );
    const { host, port } = await road.toServer(sshdPort);
    const settings = [
      "ExitOnForwardFailure=yes",
      "StrictHostKeyChecking=no",
      `UserKnownHostsFile=${join(directory, "known_hosts")}`,
      "Compression=no",
      "BatchMode=yes",
      "IdentitiesOnly=yes",
      "IdentityAgent=none",
    ];
    return await startTunnel(
      {
        kind: ssh,
        entrance: portEntrance(publicPort),
        server: {
          name: "sshd",
          command: [findProgram("sshd")!, "-D", "-e", "-f", config!],
          ready: /Server listening/,
        },
        client: {
          name: "ssh",
          command: [
            findProgram("ssh")!,
            "-NT",
            "-Fnone",
            `-i${userKey}`,
            ...settings.flatMap((setting) => ["-o", setting]),
            `-p${port}`,
            `-R127.0.0.1:${publicPort}:127.0.0.1:${backend.port}`,
            `${userInfo().username}@${host}`,
          ],
        },
      },
      options,
    );
  },
};

async function makeKey(file: string): Promise<void> {
  const { code, stderr } = await runTool(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file]);
  if (code !== 0) throw new Error(`no ssh key could be made: ${stderr}`);
}

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { WHOLE } from "../acceptance/acceptance.ts";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { checksumOf, writeRandomFile } from "./random-file.ts";
import { startSshd } from "./sshd.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

const COPY_MIB = WHOLE ? 1024 : 64;
const COPY_WITHIN_MS = WHOLE ? 180_000 : 25_000;

const skipped = skippedWithout("ssh", "ssh-keygen", "sshd", "scp");

describe.skipIf(skipped !== "")(`OpenSSH through a TCP tunnel${skipped}`, () => {
  test("a command at a terminal asks, echoes what is typed, answers, and its exit code comes back", async () => {
    await using sshd = await startSshd();
    await using tunnel = await tcpTunnel(sshd);
    await using ssh = new OutsideProgram([
      "ssh",
      ...sshd.clientOptions,
      ...`-tt -p ${tunnel.port} ${sshd.user}@${tunnel.host}`.split(" "),
      `test -t 0 && printf 'name? '; read -r name; printf 'hello, %s\\n' "$name"; exit 7`,
    ]);
    await ssh.printed("name? ");
    ssh.stdin.write("nobody\n");
    expect(await ssh.exit()).toBe(7);
    expect(ssh.stdout).toBe("name? nobody\r\nhello, nobody\r\n");
  });

  test(`scp brings ${COPY_MIB} MiB there and back unchanged`, { timeout: 3 * COPY_WITHIN_MS }, async () => {
    await using sshd = await startSshd();
    await using tunnel = await tcpTunnel(sshd);
    const directory = await temporaryDirectory();
    const [here, there, back] = ["here", "there", "back"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    const checksum = await writeRandomFile(here, COPY_MIB);
    const scp = ["scp", "-q", ...sshd.clientOptions, "-P", String(tunnel.port)];
    const remote = `${sshd.user}@${tunnel.host}:${there}`;
    await outputOf([...scp, here, remote], { withinMs: COPY_WITHIN_MS });
    expect(await checksumOf(there)).toBe(checksum);
    await outputOf([...scp, remote, back], { withinMs: COPY_WITHIN_MS });
    expect(await checksumOf(back)).toBe(checksum);
  });

  test("a port that ssh forwards carries 8 connections at once, each with its half-close", async () => {
    await using sshd = await startSshd();
    await using tunnel = await tcpTunnel(sshd);
    const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    echo.listen(0, "127.0.0.1");
    await once(echo, "listening");
    const { port } = echo.address() as AddressInfo;
    const forwarded = await freePort();
    await using ssh = new OutsideProgram([
      "ssh",
      ...sshd.clientOptions,
      ...`-o ExitOnForwardFailure=yes -L 127.0.0.1:${forwarded}:127.0.0.1:${port}`.split(" "),
      ...`-p ${tunnel.port} ${sshd.user}@${tunnel.host}`.split(" "),
      // It keeps the connection open until its own input ends.
      "echo forwarding; cat",
    ]);
    await ssh.printed("forwarding");
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const bytes = randomBytes(1_000_000);
        const socket = connect({ port: forwarded, host: "127.0.0.1", allowHalfOpen: true });
        socket.end(bytes);
        expect(sha256(await buffer(socket))).toBe(sha256(bytes));
      }),
    );
    ssh.stdin.end();
    expect(await ssh.exit()).toBe(0);
    echo.close();
  });
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

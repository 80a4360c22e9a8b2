import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { asSeenBy, mountObstacle, withMounts } from "../support/private-mounts.ts";
import {
  CLIENT,
  createKeyByCommand,
  runProgram,
  SERVER,
  startProgram,
  startServerProcess,
} from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { http, startTestClient } from "../support/tunnel-ends.ts";
import { request, type LoggedLine } from "../support/world.ts";

const obstacle = mountObstacle();
const suite = obstacle === undefined ? "" : ` (skipped: ${obstacle})`;
const WARNING = "the log cannot be written (ENOSPC)";

test.skipIf(obstacle !== undefined)(
  `a server with its log and its data on a full disk serves on, warns once, loses no key, and no line when there is room again${suite}`,
  { timeout: 60_000 },
  async () => {
    const disk = await temporaryDirectory();
    await using server = startProgram(
      SERVER,
      ["--data-dir", `${disk}/data`, "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"],
      { through: withMounts(`mount -t tmpfs -o size=256k tmpfs ${disk}`, `> ${disk}/log`) },
    );
    const seen = asSeenBy(server.pid, disk);
    const log = (message: string): LoggedLine[] =>
      readFileSync(`${seen}/log`, "utf8")
        .split("\n")
        .filter((line) => line.includes(`"message":"${message}"`))
        .map((line) => JSON.parse(line) as LoggedLine);
    await vi.waitFor(() => expect(log("listening")).toHaveLength(1), { timeout: 20_000 });
    const listening = log("listening")[0]!;
    const httpPort = Number(String(listening["http"]).split(":").pop());
    const grpcPort = Number(String(listening["grpc"]).split(":").pop());
    const token = await createKeyByCommand(`${seen}/data`, grpcPort);
    await using web = await startLocalWeb(saying("served"));
    await using client = startTestClient(token, { tunnels: [http(web.port, "app")] });
    await client.online();

    fill(`${seen}/filler`);
    let visits = 0;
    const visit = async (): Promise<void> => {
      expect((await request(httpPort, "/")).text).toBe("served");
      visits++;
    };
    // The last page of the log had some room.
    while (!server.output().includes(WARNING)) await visit();
    for (let i = 0; i < 20; i++) await visit();

    const files = readdirSync(`${seen}/data`).toSorted();
    const refused = await runProgram(SERVER, [
      "key",
      "create",
      `--data-dir=${seen}/data`,
      "--name=late",
      "--public-address=127.0.0.1:1",
    ]);
    expect(refused).toMatchObject({ code: 1, output: expect.stringMatching(/no space left/i) as unknown });
    expect(readdirSync(`${seen}/data`).toSorted()).toEqual(files);
    client.cut();
    await client.ended;
    await using again = startTestClient(token, { tunnels: [http(web.port, "app")] });
    await again.online();
    await visit();

    rmSync(`${seen}/filler`);
    await vi.waitFor(() => expect(log("request")).toHaveLength(visits), { timeout: 10_000 });
    await visit();
    await createKeyByCommand(`${seen}/data`, grpcPort, ["--name", "late"]);
    expect(server.output().split(WARNING)).toHaveLength(2);
    expect(server.child.exitCode).toBeNull();
  },
);

test.skipIf(obstacle !== undefined)(
  `a client that cannot keep its id, the disk being full, says so and serves${suite}`,
  async () => {
    const directory = await temporaryDirectory();
    const disk = await temporaryDirectory();
    await using web = await startLocalWeb(saying("served"));
    await using server = await startServerProcess(directory);
    const token = await createKeyByCommand(directory, server.grpcPort);
    await using client = startProgram(
      CLIENT,
      ["http", String(web.port), "--subdomain", "app", "--key", token, "--data-dir", disk],
      {
        through: withMounts(
          `mount -t tmpfs -o size=4k tmpfs ${disk}; head -c 4096 /dev/zero > ${disk}/filler`,
        ),
      },
    );
    await client.logged("serving");
    expect((await request(server.httpPort, "/")).text).toBe("served");
    expect(client.lines.filter(({ level }) => level !== "info")).toMatchObject([
      { level: "warn", message: expect.stringContaining("the client's id cannot be kept") as unknown },
    ]);
  },
);

/** To the last byte. */
function fill(file: string): void {
  expect(() => writeFileSync(file, Buffer.alloc(1024 * 1024))).toThrow("ENOSPC");
}

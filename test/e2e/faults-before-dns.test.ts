import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { mountObstacle, withMounts } from "../support/private-mounts.ts";
import {
  CLIENT,
  createKeyByCommand,
  ownLoopbackAddress,
  startProgram,
  startServerProcess,
} from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { request } from "../support/world.ts";

const obstacle = mountObstacle();

test.skipIf(obstacle !== undefined)(
  `a client that is started before names can be looked up keeps trying, says why, and serves once its server has an address${obstacle === undefined ? "" : ` (skipped: ${obstacle})`}`,
  { timeout: 60_000 },
  async () => {
    const directory = await temporaryDirectory();
    const hosts = join(directory, "hosts");
    const resolver = join(directory, "resolv.conf");
    await writeFile(hosts, "127.0.0.1 localhost\n");
    // Nobody listens there: as a machine whose network is not up yet, and no question leaves this one.
    await writeFile(resolver, `nameserver ${ownLoopbackAddress()}\noptions timeout:1 attempts:1\n`);

    await using web = await startLocalWeb(saying("served"));
    await using server = await startServerProcess(directory);
    const address = `tunnel.example.com:${server.grpcPort}`;
    const token = await createKeyByCommand(directory, server.grpcPort, ["--public-address", address]);
    await using client = startProgram(
      CLIENT,
      ["http", String(web.port), "--subdomain", "app", "--key", token, `--data-dir=${directory}/client`],
      { through: withMounts(`mount --bind ${hosts} /etc/hosts; mount --bind ${resolver} /etc/resolv.conf`) },
    );
    expect(await client.logged("offline; trying again")).toMatchObject({
      code: "unreachable",
      reason: expect.stringContaining("the address of tunnel.example.com cannot be found") as unknown,
    });
    await client.logged("offline; trying again", 2);

    await writeFile(hosts, "127.0.0.1 localhost tunnel.example.com\n");
    await client.logged("serving");
    expect((await request(server.httpPort, "/")).text).toBe("served");
  },
);

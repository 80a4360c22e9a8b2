import { expect, test } from "vitest";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { createKeyByCommand, startServerProcess } from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { http, startTestClient } from "../support/tunnel-ends.ts";
import { request } from "../support/world.ts";

// A client that is frozen has its test in half-open.test.ts.

async function startFrozenWorld(probe: { intervalMs: number; timeoutMs: number }) {
  const directory = await temporaryDirectory();
  const web = await startLocalWeb(saying("served"));
  const server = await startServerProcess(directory);
  const token = await createKeyByCommand(directory, server.grpcPort);
  const client = startTestClient(token, {
    tunnels: [http(web.port, "app")],
    tuning: { probe, stepTimeoutMs: 300 },
  });
  await client.online();
  return {
    server,
    client,
    visit: () => request(server.httpPort, "/"),
    /** So many more visitors, who come while the server is frozen: the system takes their connections. */
    visitFrozen: (count: number) => Array.from({ length: count }, () => request(server.httpPort, "/")),
    async [Symbol.asyncDispose]() {
      for (const part of [client, server, web]) await part[Symbol.asyncDispose]();
    },
  };
}

test("a server that is frozen for less than its client's patience answers everybody once it is thawed", async () => {
  await using world = await startFrozenWorld({ intervalMs: 50, timeoutMs: 20_000 });
  world.server.kill("SIGSTOP");
  const visits = world.visitFrozen(20);
  // Some probes are asked in vain.
  await new Promise((resolve) => setTimeout(resolve, 500));
  world.server.kill("SIGCONT");
  const answers = await Promise.all(visits);
  expect(answers.map(({ text }) => text)).toEqual(Array(20).fill("served"));
  expect(world.client.log.lines.filter(({ message }) => message === "online")).toHaveLength(1);
});

test("a server that is frozen until its client has given it up answers everybody once it is thawed, and is served again", async () => {
  await using world = await startFrozenWorld({ intervalMs: 100, timeoutMs: 300 });
  world.server.kill("SIGSTOP");
  const visits = world.visitFrozen(20);
  await world.client.log.logged("offline; trying again", 2);
  world.server.kill("SIGCONT");
  const statuses = (await Promise.all(visits)).map(({ status }) => status);
  expect(statuses.filter((status) => ![200, 502, 503].includes(status))).toEqual([]);
  await world.client.online(2);
  expect((await world.visit()).text).toBe("served");
});

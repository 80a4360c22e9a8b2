import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { InstalledTarball } from "../support/installed-tarball.ts";
import { namespaceObstacle, Namespaces } from "../support/namespaces.ts";
import { hasProgram } from "../support/programs.ts";
import { request } from "../support/world.ts";
import { VERSION } from "../../runtime/version.ts";

let installed: InstalledTarball;
beforeAll(async () => {
  installed = await InstalledTarball.install();
}, 180_000);
afterAll(() => installed[Symbol.asyncDispose]());

test("the tarball holds what runs and what explains it, and nothing else", () => {
  const own = installed.files.filter((file) => !file.startsWith("node_modules/"));
  const needed =
    "dist/server/main.js dist/client/main.js proto/tunnel.proto package.json npm-shrinkwrap.json LICENSE README.md config.example.yaml " +
    "deploy/systemd/tunnel-server.service deploy/systemd/tunnel-client.service";
  expect(own).toEqual(expect.arrayContaining(needed.split(" ")));
  const odd = own.filter(
    (file) => !/^(dist|proto|deploy|docs)\/|^[\w.-]+\.(md|yaml|json)$|^LICENSE$/.test(file),
  );
  expect(odd).toEqual([]);
  expect(own.filter((file) => /test|demo|\.pem|\.key$|keys\.json|\.env/.test(file))).toEqual([]);
});

interface Locked {
  version: string;
  dev?: boolean;
  integrity?: string;
  resolved?: string;
}

/** By path below the package. */
function lockedPackages(): [string, Locked][] {
  const { packages } = JSON.parse(readFileSync("npm-shrinkwrap.json", "utf8")) as {
    packages: Record<string, Locked>;
  };
  return Object.entries(packages).filter(([path]) => path !== "");
}

test("without a registry every dependency is installed in the very version that is locked, and none that only development needs", () => {
  const paths = readdirSync(installed.root, { recursive: true, encoding: "utf8" });
  const found = paths.flatMap((path) => {
    const [, directory] = /^((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\/package\.json$/.exec(path) ?? [];
    if (directory === undefined) return [];
    const { version } = JSON.parse(readFileSync(join(installed.root, path), "utf8")) as { version: string };
    return [[directory, version]];
  });
  const locked = lockedPackages().filter(([, { dev }]) => !dev);
  expect(Object.fromEntries(found)).toEqual(
    Object.fromEntries(locked.map(([path, { version }]) => [path, version])),
  );
});

test("each locked package is held by its hash, wherever it is downloaded from", () => {
  const packages = lockedPackages();
  const held = packages.filter(
    ([, { integrity, resolved }]) => integrity?.startsWith("sha512-") && resolved === undefined,
  );
  expect(held).toEqual(packages);
});

test.each(["tunnel-server", "tunnel-client"])("%s says its version and its options", async (command) => {
  const version = await installed.shell(`${command} --version`);
  expect(await version.exited).toBe(0);
  expect(version.output.trim()).toBe(VERSION);
  const help = await installed.shell(`${command} --help`);
  expect(await help.exited).toBe(0);
  expect(help.output).toMatch(new RegExp(`^Usage: ${command} `));
});

test("on one machine: the line that key create prints, and nothing else, serves a visitor", async () => {
  const service = createServer((incoming, outgoing) => outgoing.end(`hello from ${incoming.url}`));
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  const { port } = service.address() as AddressInfo;

  const server = await installed.shell(
    'tunnel-server --data-dir "$HOME/data" --http-listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0',
  );
  const [, httpPort] = await server.prints(/"http":"127\.0\.0\.1:(\d+)"/);
  const [, grpcPort] = await server.prints(/"grpc":"127\.0\.0\.1:(\d+)"/);
  const [, dataDir] = await server.prints(/"dataDir":"([^"]+)"/);
  const create = await installed.shell(
    `tunnel-server key create --data-dir ${dataDir} --name office --tunnel web=127.0.0.1:${port}@app ` +
      `--public-address 127.0.0.1:${grpcPort}`,
  );
  expect(await create.exited).toBe(0);
  const line = create.output.trimEnd().split("\n").at(-1)!;
  expect(line).toMatch(/^tunnel-client --key culvert_\w+$/);

  const client = await installed.shell(line);
  await client.prints(/"message":"online"/);
  const answer = await request(Number(httpPort), "/there");
  expect({ status: answer.status, text: answer.text }).toEqual({ status: 200, text: "hello from /there" });
  // The secret stands on the command line, and in no log.
  const key = line.split(" ").at(-1)!;
  expect(server.output + client.output).not.toContain(key);
  service.close();
});

const obstacle = namespaceObstacle() ?? (hasProgram("curl") ? undefined : "no curl");
const why = obstacle === undefined ? "" : ` (cannot be tried here: ${obstacle})`;

test.skipIf(obstacle !== undefined)(
  `on three machines, with embedded defaults: the printed line alone serves a visitor from elsewhere${why}`,
  async () => {
    await using namespaces = new Namespaces();
    const publicMachine = await namespaces.add("public");
    const intranet = await namespaces.add("inside");
    const elsewhere = await namespaces.add("else");
    await namespaces.join([publicMachine, "10.77.1.1"], [intranet, "10.77.1.2"]);
    await namespaces.join([publicMachine, "10.77.2.1"], [elsewhere, "10.77.2.2"]);

    const service = await installed.shell(
      `node -e 'http.createServer((q, s) => s.end(q.headers.forwarded)).listen(3000, "127.0.0.1", () => console.log("up"))'`,
      { namespace: intranet },
    );
    await service.prints(/up/);
    const server = await installed.shell("tunnel-server", { namespace: publicMachine });
    const [, dataDir] = await server.prints(/"dataDir":"([^"]+)"/);
    const create = await installed.shell(
      `tunnel-server key create --data-dir ${dataDir} --name office --tunnel web=127.0.0.1:3000@app --public-address 10.77.1.1:7000`,
      { namespace: publicMachine },
    );
    expect(await create.exited).toBe(0);
    const client = await installed.shell(create.output.trimEnd().split("\n").at(-1)!, {
      namespace: intranet,
    });
    await client.prints(/"message":"online"/);

    const visit = await installed.shell("curl -sS -m 10 -H 'Host: app.localhost' http://10.77.2.1:8080/", {
      namespace: elsewhere,
    });
    expect(await visit.exited).toBe(0);
    expect(visit.output).toBe("for=10.77.2.2;host=app.localhost;proto=http");
    // Over distance a session has four connections.
    await vi.waitFor(async () => {
      const sockets = await installed.shell("ss -Htn state established sport = :7000", {
        namespace: publicMachine,
      });
      await sockets.exited;
      expect(sockets.output.trim().split("\n")).toHaveLength(4);
    });
    for (const shell of [client, server, service]) await shell[Symbol.asyncDispose]();
  },
);

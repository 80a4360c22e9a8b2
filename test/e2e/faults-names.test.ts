import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { namespaceObstacle } from "../support/namespaces.ts";
import { PrivateMachine } from "../support/private-machine.ts";
import { CLIENT, SERVER, startProgram, type Program } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const run = promisify(execFile);
const obstacle = namespaceObstacle() ?? (hasProgram("curl") ? undefined : "no curl");
const why = obstacle === undefined ? "" : ` (cannot be tried here: ${obstacle})`;

/** Takes questions at DNS's own port, and never answers: a lookup then takes ten seconds and longer. */
const SILENT_DNS = `require("dgram").createSocket("udp4").bind(53, "127.0.0.1", () => console.log("{}"))`;
const APP = `require("http").createServer((q, s) => s.end("served")).listen(3000, "127.0.0.1", () => console.log("{}"))`;

test.skipIf(obstacle !== undefined)(
  `a target whose name is not resolved keeps neither other tunnels nor the client from coming back${why}`,
  async () => {
    const directory = await temporaryDirectory();
    await using machine = await PrivateMachine.start(["tunnel.test", "nas.test"], {
      nameserver: "127.0.0.1",
    });
    const there = { through: machine.enter };
    const script = async (name: string, source: string): Promise<Program> => {
      const file = join(directory, `${name}.cjs`);
      await writeFile(file, source);
      const program = startProgram(file, [], there);
      await program.printed("{}");
      return program;
    };
    await using _dns = await script("dns", SILENT_DNS);
    await using _app = await script("app", APP);
    const startServer = async (): Promise<Program> => {
      const server = startProgram(SERVER, ["--data-dir", directory], there);
      await server.logged("listening");
      return server;
    };
    const server = await startServer();
    const create = startProgram(
      SERVER,
      [
        "key",
        "create",
        "--json",
        "--name=home",
        `--data-dir=${directory}`,
        "--public-address=tunnel.test:7000",
        "--tunnel=nas=nas.test:3000",
        "--tunnel=dead=dead.test:80",
      ],
      there,
    );
    await create.exited;
    const { key } = JSON.parse(create.output()) as { key: string };
    await using client = startProgram(
      CLIENT,
      ["--key", key, "--allow", "any", "--data-dir", join(directory, "client")],
      there,
    );
    await client.logged("online");
    const visit = async (name: string, seconds = 20): Promise<string> => {
      const curl = [
        "--silent",
        "--max-time",
        String(seconds),
        "--header",
        `Host: ${name}.localhost`,
        "http://127.0.0.1:8080/",
      ];
      const [command, ...args] = [...machine.enter, "curl", ...curl];
      return await run(command!, args).then(
        ({ stdout }) => stdout,
        () => "no answer",
      );
    };

    expect(await visit("nas")).toBe("served");
    const visitors = Array.from({ length: 16 }, () => visit("dead", 2));
    expect(await visit("nas")).toBe("served");
    await server[Symbol.asyncDispose]();
    await client.logged("offline; trying again");
    await using _back = await startServer();
    await client.logged("online", 2);
    expect(await visit("nas")).toBe("served");
    expect(client.output()).not.toContain("cannot be found (no answer in time)");
    await Promise.all(visitors);
  },
  60_000,
);

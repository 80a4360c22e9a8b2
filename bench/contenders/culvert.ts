import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ContenderKind, StartOptions } from "../contender.ts";
import { Program } from "../program.ts";
import { runTool } from "../tool.ts";
import { Tunnel } from "./tunnel.ts";

const SERVER = fileURLToPath(new URL("../../server/main.js", import.meta.url));
const CLIENT = fileURLToPath(new URL("../../client/main.js", import.meta.url));

/** As it is by default: TLS, access logs. */
export const culvert: ContenderKind = {
  name: "culvert",
  title: "culvert",
  start: (options) => start(culvert, "auto", options),
};

export const culvertPlain: ContenderKind = {
  name: "culvert-plain",
  title: "culvert, no TLS",
  start: (options) => start(culvertPlain, "off", options),
};

export interface CulvertServer {
  program: Program;
  httpPort: number;
  grpcPort: number;
  /** Makes an access key, which sends clients to this address. */
  createKey(publicAddress: string, args: readonly string[]): Promise<string>;
}

async function start(
  kind: ContenderKind,
  tls: "auto" | "off",
  { backend, road, directory }: StartOptions,
): Promise<Tunnel> {
  const server = await startCulvertServer({ tls, road, directory });
  try {
    const { host, port } = await road.toServer(server.grpcPort);
    const key = await server.createKey(`${host}:${port}`, ["--tunnel", `bench=127.0.0.1:${backend.port}`]);
    const command = [...road.atClient, process.execPath, CLIENT, "--data-dir", join(directory, "client")];
    if (tls === "off") command.push("--plaintext");
    return new Tunnel({
      kind,
      entrance: { host: "127.0.0.1", port: server.httpPort, hostname: "bench.localhost" },
      server: server.program,
      startClient: () =>
        new Program({
          name: `${kind.name}'s client`,
          command,
          logFile: join(directory, "client.log"),
          env: { ...CLEAN, TUNNEL_KEY: key },
        }),
    });
  } catch (error) {
    await server.program[Symbol.asyncDispose]();
    throw error;
  }
}

/** What would change what the commands do. */
const CLEAN = { TUNNEL_KEY: "", TUNNEL_SERVER: "", STATE_DIRECTORY: "" };

export async function startCulvertServer({
  tls,
  road,
  directory,
}: Pick<StartOptions, "road" | "directory"> & { tls: "auto" | "off" }): Promise<CulvertServer> {
  const config = join(directory, "config.yaml");
  writeFileSync(
    config,
    `http: { listen: "127.0.0.1:0" }\ngrpc: { listen: "${road.serverHost}:0", tls: ${tls} }\ndata_dir: ./server\n`,
  );
  const program = new Program({
    name: "culvert's server",
    command: [...road.atServer, process.execPath, SERVER, "--config", config],
    logFile: join(directory, "server.log"),
    env: CLEAN,
  });
  try {
    const [, http, grpc] = await program.said(/"http":"[^"]*:(\d+)","grpc":"[^"]*:(\d+)"/);
    return {
      program,
      httpPort: Number(http),
      grpcPort: Number(grpc),
      async createKey(publicAddress, args) {
        const command = ["key", "create", "--config", config, "--name", "bench", "--json"];
        const { code, stdout, stderr } = await runTool(
          [process.execPath, SERVER, ...command, "--public-address", publicAddress, ...args],
          { env: CLEAN },
        );
        if (code !== 0) throw new Error(`no access key could be made: ${stderr}`);
        return (JSON.parse(stdout) as { key: string }).key;
      },
    };
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
}

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ContenderKind, StartOptions } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { Program } from "../program.ts";
import { runTool } from "../tool.ts";
import { portEntrance, Tunnel } from "./tunnel.ts";

const SERVER = fileURLToPath(new URL("../../server/main.js", import.meta.url));
const CLIENT = fileURLToPath(new URL("../../client/main.js", import.meta.url));

/** As it is by default: TLS, access logs. */
export const culvert: ContenderKind = {
  name: "culvert",
  title: "culvert",
  start: (options) => start(culvert, { tls: "auto", type: "http" }, options),
};

export const culvertPlain: ContenderKind = {
  name: "culvert-plain",
  title: "culvert, no TLS",
  start: (options) => start(culvertPlain, { tls: "off", type: "http" }, options),
};

/** A port, with TLS: what most others do for all that comes. */
export const culvertTcp: ContenderKind = {
  name: "culvert-tcp",
  title: "culvert, TCP",
  start: (options) => start(culvertTcp, { tls: "auto", type: "tcp" }, options),
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
  { tls, type }: { tls: "auto" | "off"; type: "http" | "tcp" },
  { backend, road, directory }: StartOptions,
): Promise<Tunnel> {
  const target = `127.0.0.1:${backend.port}`;
  const server = await startCulvertServer({ tls, road, directory });
  try {
    const { host, port } = await road.toServer(server.grpcPort);
    const publicPort = type === "tcp" ? await freePort() : server.httpPort;
    const tunnel = type === "tcp" ? `bench=tcp:${target}@${publicPort}` : `bench=${target}`;
    const key = await server.createKey(`${host}:${port}`, ["--tunnel", tunnel]);
    const command = [...road.atClient, process.execPath, CLIENT, "--data-dir", join(directory, "client")];
    if (tls === "off") command.push("--plaintext");
    return new Tunnel({
      kind,
      entrance: portEntrance(publicPort),
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
    `http: { listen: "127.0.0.1:0" }\ntcp: { listen: 127.0.0.1 }\ngrpc: { listen: "${road.serverHost}:0", tls: ${tls} }\ndata_dir: ./server\n`,
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

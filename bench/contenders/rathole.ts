import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContenderKind, StartOptions } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { Program } from "../program.ts";
import { runTool } from "../tool.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { Tunnel } from "./tunnel.ts";

export const rathole: ContenderKind = {
  name: "rathole",
  title: "rathole, plain",
  obstacle: () => peerObstacle("rathole"),
  start: (options) => start(rathole, undefined, options),
};

export const ratholeNoise: ContenderKind = {
  name: "rathole-noise",
  title: "rathole, noise",
  obstacle: () => peerObstacle("rathole"),
  start: async (options) => start(ratholeNoise, await makeKeys(), options),
};

interface Keys {
  privateKey: string;
  publicKey: string;
}

async function start(
  kind: ContenderKind,
  keys: Keys | undefined,
  { backend, road, directory }: StartOptions,
): Promise<Tunnel> {
  const [controlPort, publicPort] = [await freePort(), await freePort()];
  const [serverConfig, clientConfig] = [join(directory, "server.toml"), join(directory, "client.toml")];
  const transport = (end: "server" | "client", key: string): string =>
    keys
      ? `[${end}.transport]\ntype = "noise"\n[${end}.transport.noise]\n${key}\n`
      : `[${end}.transport]\ntype = "tcp"\n`;
  writeFileSync(
    serverConfig,
    `[server]
bind_addr = "${road.serverHost}:${controlPort}"
default_token = "bench"
[server.services.bench]
bind_addr = "127.0.0.1:${publicPort}"
${transport("server", `local_private_key = "${keys?.privateKey}"`)}`,
  );
  const command = [peerProgram("rathole")!];
  const server = new Program({
    name: "rathole's server",
    command: [...road.atServer, ...command, "--server", serverConfig],
    logFile: join(directory, "server.log"),
    env: { RUST_LOG: "info" },
  });
  try {
    await server.said(/Listening at/);
    const { host, port } = await road.toServer(controlPort);
    writeFileSync(
      clientConfig,
      `[client]
remote_addr = "${host}:${port}"
default_token = "bench"
[client.services.bench]
local_addr = "127.0.0.1:${backend.port}"
${transport("client", `remote_public_key = "${keys?.publicKey}"`)}`,
    );
    return new Tunnel({
      kind,
      entrance: { host: "127.0.0.1", port: publicPort, hostname: "bench.localhost" },
      server,
      startClient: () =>
        new Program({
          name: "rathole's client",
          command: [...road.atClient, ...command, "--client", clientConfig],
          logFile: join(directory, "client.log"),
          env: { RUST_LOG: "info" },
        }),
    });
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

async function makeKeys(): Promise<Keys> {
  const { stdout } = await runTool([peerProgram("rathole")!, "--genkey"]);
  const [privateKey, publicKey] = ["Private", "Public"].map(
    (which) => new RegExp(`${which} Key:\\s+(\\S+)`, "i").exec(stdout)?.[1],
  );
  if (!privateKey || !publicKey) throw new Error(`rathole --genkey made no keys: ${stdout.trim()}`);
  return { privateKey, publicKey };
}

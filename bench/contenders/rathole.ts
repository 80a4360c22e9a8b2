import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Contender, ContenderKind, StartOptions } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { runTool } from "../tool.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

const KEYS_WITHIN_MS = 10_000;

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
  start: async (options) => start(ratholeNoise, await makeKeys(options), options),
};

interface Keys {
  privateKey: string;
  publicKey: string;
}

async function start(kind: ContenderKind, keys: Keys | undefined, options: StartOptions): Promise<Contender> {
  const { backend, road, directory } = options;
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
  const program = peerProgram("rathole")!;
  const env = { RUST_LOG: "info" };
  return await startTunnel(
    {
      kind,
      entrance: portEntrance(publicPort),
      server: {
        name: "rathole's server",
        command: [program, "--server", serverConfig],
        env,
        ready: /Listening at/,
      },
      client: { name: "rathole's client", command: [program, "--client", clientConfig], env },
    },
    options,
  );
}

async function makeKeys({ signal }: StartOptions): Promise<Keys> {
  const { code, stdout, stderr } = await runTool([peerProgram("rathole")!, "--genkey"], {
    signal: AbortSignal.any([signal, AbortSignal.timeout(KEYS_WITHIN_MS)]),
  });
  const [privateKey, publicKey] = ["Private", "Public"].map(
    (which) => new RegExp(`${which} Key:\\s+(\\S+)`, "i").exec(stdout)?.[1],
  );
  if (!privateKey || !publicKey)
    throw new Error(`rathole --genkey made no keys: ${(stdout + stderr).trim() || `exit code ${code}`}`);
  return { privateKey, publicKey };
}

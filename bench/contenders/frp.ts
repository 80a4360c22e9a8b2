import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Contender, ContenderKind, Entrance, StartOptions } from "../contender.ts";
import { freePort } from "../free-port.ts";
import type { Address } from "../road/road.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

/** By hostname, or a port for all that comes. */
export type FrpProxy = "http" | "tcp";

export const frp: ContenderKind = frpKind("frp", "frp, no TLS", { tls: false, proxy: "tcp" });

export const frpTls: ContenderKind = frpKind("frp-tls", "frp, TLS", { tls: true, proxy: "tcp" });

/** Reads and routes HTTP by its Host, over TLS: what culvert does too. */
export const frpHttp: ContenderKind = frpKind("frp-http", "frp, HTTP", { tls: true, proxy: "http" });

function frpKind(name: string, title: string, how: { tls: boolean; proxy: FrpProxy }): ContenderKind {
  const kind: ContenderKind = {
    name,
    title,
    obstacle: () => peerObstacle("frps", "frpc"),
    start: (options) => start(kind, how, options),
  };
  return kind;
}

async function start(
  kind: ContenderKind,
  { tls, proxy }: { tls: boolean; proxy: FrpProxy },
  options: StartOptions,
): Promise<Contender> {
  const { backend, road, directory } = options;
  const [bindPort, publicPort] = [await freePort(), await freePort()];
  const [serverConfig, clientConfig] = [join(directory, "frps.toml"), join(directory, "frpc.toml")];
  const entrance = portEntrance(publicPort);
  const bind = { host: road.serverHost, port: bindPort };
  writeFileSync(serverConfig, frpsConfig({ bind, proxy, entrance }));
  const server = await road.toServer(bindPort);
  writeFileSync(clientConfig, frpcConfig({ server, tls, proxy, entrance, localPort: backend.port }));
  return await startTunnel(
    {
      kind,
      entrance,
      server: {
        name: "frps",
        command: [peerProgram("frps")!, "-c", serverConfig],
        ready: /frps started successfully/,
      },
      client: { name: "frpc", command: [peerProgram("frpc")!, "-c", clientConfig] },
    },
    options,
  );
}

export interface FrpsConfig {
  /** Where its client comes. */
  bind: Address;
  proxy: FrpProxy;
  entrance: Address;
}

export function frpsConfig({ bind, proxy, entrance }: FrpsConfig): string {
  return `bindAddr = "${bind.host}"
bindPort = ${bind.port}
proxyBindAddr = "${entrance.host}"
${proxy === "http" ? `vhostHTTPPort = ${entrance.port}\n` : ""}`;
}

export interface FrpcConfig {
  server: Address;
  tls: boolean;
  proxy: FrpProxy;
  entrance: Entrance;
  localPort: number;
}

/** All visitors over one connection, as is frp's default, and five of its streams opened ahead. */
export function frpcConfig({ server, tls, proxy, entrance, localPort }: FrpcConfig): string {
  return `serverAddr = "${server.host}"
serverPort = ${server.port}
transport.tls.enable = ${tls}
transport.tcpMux = true
transport.poolCount = 5
[[proxies]]
name = "bench"
type = "${proxy}"
localIP = "127.0.0.1"
localPort = ${localPort}
${proxy === "http" ? `customDomains = ["${entrance.hostname}"]` : `remotePort = ${entrance.port}`}
`;
}

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContenderKind, StartOptions } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { Program } from "../program.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { Tunnel } from "./tunnel.ts";

/** A TCP proxy over one multiplexed connection. */
export const frp: ContenderKind = {
  name: "frp",
  title: "frp, no TLS",
  obstacle: () => peerObstacle("frps", "frpc"),
  start: (options) => start(frp, false, options),
};

export const frpTls: ContenderKind = {
  name: "frp-tls",
  title: "frp, TLS",
  obstacle: () => peerObstacle("frps", "frpc"),
  start: (options) => start(frpTls, true, options),
};

async function start(
  kind: ContenderKind,
  tls: boolean,
  { backend, road, directory }: StartOptions,
): Promise<Tunnel> {
  const [bindPort, publicPort] = [await freePort(), await freePort()];
  const [serverConfig, clientConfig] = [join(directory, "frps.toml"), join(directory, "frpc.toml")];
  writeFileSync(
    serverConfig,
    `bindAddr = "${road.serverHost}"\nbindPort = ${bindPort}\nproxyBindAddr = "127.0.0.1"\n`,
  );
  const server = new Program({
    name: "frps",
    command: [...road.atServer, peerProgram("frps")!, "-c", serverConfig],
    logFile: join(directory, "frps.log"),
  });
  try {
    await server.said(/frps started successfully/);
    const { host, port } = await road.toServer(bindPort);
    writeFileSync(
      clientConfig,
      `serverAddr = "${host}"
serverPort = ${port}
transport.tls.enable = ${tls}
transport.tcpMux = true
transport.poolCount = 5
[[proxies]]
name = "bench"
type = "tcp"
localIP = "127.0.0.1"
localPort = ${backend.port}
remotePort = ${publicPort}
`,
    );
    return new Tunnel({
      kind,
      entrance: { host: "127.0.0.1", port: publicPort, hostname: "bench.localhost" },
      server,
      startClient: () =>
        new Program({
          name: "frpc",
          command: [...road.atClient, peerProgram("frpc")!, "-c", clientConfig],
          logFile: join(directory, "frpc.log"),
        }),
    });
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

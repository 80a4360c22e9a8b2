import { join } from "node:path";
import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { Program } from "../program.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { Tunnel } from "./tunnel.ts";

/** SSH in a WebSocket: always encrypted. */
export const chisel: ContenderKind = {
  name: "chisel",
  title: "chisel",
  obstacle: () => peerObstacle("chisel"),
  async start({ backend, road, directory }) {
    const [controlPort, publicPort] = [await freePort(), await freePort()];
    const listen = ["--host", road.serverHost, "--port", String(controlPort)];
    const server = new Program({
      name: "chisel's server",
      command: [...road.atServer, peerProgram("chisel")!, "server", ...listen, "--reverse"],
      logFile: join(directory, "server.log"),
    });
    try {
      await server.said(/Listening on/);
      const { host, port } = await road.toServer(controlPort);
      const remote = `R:127.0.0.1:${publicPort}:127.0.0.1:${backend.port}`;
      return new Tunnel({
        kind: chisel,
        entrance: { host: "127.0.0.1", port: publicPort, hostname: "bench.localhost" },
        server,
        startClient: () =>
          new Program({
            name: "chisel",
            command: [...road.atClient, peerProgram("chisel")!, "client", `http://${host}:${port}`, remote],
            logFile: join(directory, "client.log"),
          }),
      });
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  },
};

import { join } from "node:path";
import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { Program } from "../program.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { Tunnel } from "./tunnel.ts";

/** Plain TCP, a connection for each visitor's; its control port cannot be chosen, so it takes no other road. */
export const bore: ContenderKind = {
  name: "bore",
  title: "bore",
  obstacle: () => peerObstacle("bore"),
  async start({ backend, directory }) {
    const publicPort = await freePort();
    const ports = ["--min-port", String(publicPort), "--max-port", String(publicPort)];
    const server = new Program({
      name: "bore's server",
      command: [peerProgram("bore")!, "server", ...ports, "--bind-addr", "127.0.0.1"],
      logFile: join(directory, "server.log"),
    });
    try {
      await server.said(/server listening/);
      const where = ["--to", "127.0.0.1", "--local-host", "127.0.0.1", "--port", String(publicPort)];
      return new Tunnel({
        kind: bore,
        entrance: { host: "127.0.0.1", port: publicPort, hostname: "bench.localhost" },
        server,
        startClient: () =>
          new Program({
            name: "bore",
            command: [peerProgram("bore")!, "local", String(backend.port), ...where],
            logFile: join(directory, "client.log"),
          }),
      });
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  },
};

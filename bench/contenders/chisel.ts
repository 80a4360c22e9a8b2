import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

/** SSH in a WebSocket: always encrypted. */
export const chisel: ContenderKind = {
  name: "chisel",
  title: "chisel",
  obstacle: () => peerObstacle("chisel"),
  async start(options) {
    const { backend, road } = options;
    const [controlPort, publicPort] = [await freePort(), await freePort()];
    const { host, port } = await road.toServer(controlPort);
    const listen = ["--host", road.serverHost, "--port", String(controlPort)];
    const remote = `R:127.0.0.1:${publicPort}:127.0.0.1:${backend.port}`;
    const program = peerProgram("chisel")!;
    return await startTunnel(
      {
        kind: chisel,
        entrance: portEntrance(publicPort),
        server: {
          name: "chisel's server",
          command: [program, "server", ...listen, "--reverse"],
          ready: /Listening on/,
        },
        client: { name: "chisel's client", command: [program, "client", `http://${host}:${port}`, remote] },
      },
      options,
    );
  },
};

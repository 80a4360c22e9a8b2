import type { ContenderKind } from "../contender.ts";
import { freeLoopbackAddress, freePort } from "../free-port.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

/** Cannot be chosen. */
const CONTROL_PORT = 7835;

/** Plain TCP, a connection for each visitor's. Each one gets an address of its own, since all have the same port; so it takes no other road. */
export const bore: ContenderKind = {
  name: "bore",
  title: "bore",
  obstacle: () => peerObstacle("bore"),
  clientGoneMs: 1_500,
  async start(options) {
    const [address, publicPort] = [await freeLoopbackAddress(CONTROL_PORT), String(await freePort())];
    const program = peerProgram("bore")!;
    const ports = ["--min-port", publicPort, "--max-port", publicPort, "--bind-tunnels", "127.0.0.1"];
    const service = ["--local-host", "127.0.0.1", String(options.backend.port)];
    return await startTunnel(
      {
        kind: bore,
        entrance: portEntrance(Number(publicPort)),
        server: {
          name: "bore's server",
          command: [program, "server", ...ports, "--bind-addr", address],
          ready: /server listening/,
        },
        client: {
          name: "bore's client",
          command: [program, "local", ...service, "--to", address, "--port", publicPort],
        },
      },
      options,
    );
  },
};

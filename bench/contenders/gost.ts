import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import type { Address } from "../road/road.ts";
import { peerObstacle, peerProgram } from "./peer-program.ts";
import { portEntrance, startTunnel } from "./tunnel.ts";

/** A remote port over its relay protocol and TLS; like ssh, it multiplexes visitors over one connection. */
export const gost: ContenderKind = {
  name: "gost",
  title: "gost, TLS",
  obstacle: () => peerObstacle("gost"),
  async start(options) {
    const { backend, road } = options;
    const [relayPort, publicPort] = [await freePort(), await freePort()];
    const entrance = portEntrance(publicPort);
    const relay = { host: road.serverHost, port: relayPort };
    const server = await road.toServer(relayPort);
    const target = { host: "127.0.0.1", port: backend.port };
    const program = peerProgram("gost")!;
    return await startTunnel(
      {
        kind: gost,
        entrance,
        server: {
          name: "gost's server",
          command: [program, ...gostServerArguments(relay)],
          ready: /listening on/,
        },
        client: {
          name: "gost's client",
          command: [program, ...gostClientArguments({ server, entrance, target })],
        },
      },
      options,
    );
  },
};

export function gostServerArguments(relay: Address): string[] {
  return ["-L", `relay+tls://${inUrl(relay)}?bind=true`];
}

export function gostClientArguments({
  server,
  entrance,
  target,
}: Record<"server" | "entrance" | "target", Address>): string[] {
  return ["-L", `rtcp://${inUrl(entrance)}/${inUrl(target)}`, "-F", `relay+tls://${inUrl(server)}`];
}

function inUrl({ host, port }: Address): string {
  return `${host}:${port}`;
}

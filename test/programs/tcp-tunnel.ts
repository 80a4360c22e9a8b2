import { freePort } from "../../bench/free-port.ts";
import { startWorld } from "../support/world.ts";

/** Where a local service is public. */
export interface TcpTunnel extends AsyncDisposable {
  host: string;
  port: number;
}

/** As `tcpTunnel`, and its datagrams at the same port. */
export async function tcpAndUdpTunnel(target: { host: string; port: number }): Promise<TcpTunnel> {
  const port = await freePort();
  const world = await startWorld({
    service: target,
    tunnels: [
      { kind: "TCP", target, port },
      { kind: "UDP", target, port },
    ],
    tls: "auto",
    config(config) {
      const ports = { from: port, to: port };
      config.tcp = { ...config.tcp, host: "127.0.0.1", ports };
      config.udp = { host: "127.0.0.1", ports };
    },
  });
  return { host: "127.0.0.1", port, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

/** Brings a local service to a public TCP port of 127.0.0.1, by a server and a client with TLS between them. */
export async function tcpTunnel(target: { host: string; port: number }): Promise<TcpTunnel> {
  const world = await startWorld({
    service: target,
    tunnels: [{ kind: "TCP", target }],
    tls: "auto",
    config: ({ tcp }) => void (tcp.host = "127.0.0.1"),
  });
  const { url } = await world.logged("client", "serving");
  return {
    host: "127.0.0.1",
    port: Number(new URL(String(url)).port),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

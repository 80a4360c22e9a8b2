import { startWorld } from "../support/world.ts";

/** Where a local service is public. */
export interface TcpTunnel extends AsyncDisposable {
  host: string;
  port: number;
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

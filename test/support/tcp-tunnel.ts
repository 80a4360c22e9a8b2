import { encodeAccessKey } from "../../link/access-key.ts";
import { formatTarget } from "../../link/target.ts";
import { configKeyId, configKeySecret } from "../../server/access/config-key.ts";
import type { ServerConfig } from "../../server/config/config.ts";
import type { ProxyProtocol, TunnelLimits } from "../../server/routing/route.ts";
import { RawVisitor } from "./raw-visitor.ts";
import { startTestClient, startTestServer, type TestClient, type TestServer } from "./tunnel-ends.ts";
import type { LoggedLine } from "./world.ts";

export interface TcpTunnelOptions {
  /** How many ports, one behind the other. */
  ports?: number;
  proxyProtocol?: ProxyProtocol;
  limits?: TunnelLimits;
  config?: (config: ServerConfig) => void;
}

/** A TCP tunnel as a server maps it to a key of its config, any free port of 127.0.0.1. */
export interface TcpTunnel extends AsyncDisposable {
  server: TestServer;
  client: TestClient;
  token: string;
  /** The public one, or the first of them. */
  port: number;
  visit(port?: number): Promise<RawVisitor>;
  /** What the server logged of the `count`th visitor that left. */
  visited(count?: number): Promise<LoggedLine>;
}

const KEY = { name: "mapped", secret: "s".repeat(26), hostnames: [] };

export async function startTcpTunnel(
  target: { host: string; port: number },
  { ports = 1, proxyProtocol, limits, config: adjust }: TcpTunnelOptions = {},
): Promise<TcpTunnel> {
  const server = await startTestServer({
    config: (config) => {
      config.tcp.host = "127.0.0.1";
      config.keys = [
        {
          ...KEY,
          tunnels: [
            {
              name: "bytes",
              kind: "TCP",
              port: 0,
              ports,
              target: formatTarget(target),
              ...(proxyProtocol && { proxyProtocol }),
              ...(limits && { limits }),
            },
          ],
        },
      ];
      adjust?.(config);
    },
  });
  const token = encodeAccessKey({
    keyId: configKeyId(KEY.name),
    secret: configKeySecret(KEY.secret),
    host: "127.0.0.1",
    port: server.grpcPort,
  });
  const client = startTestClient(token);
  const port = await publicPort(client);
  return {
    server,
    client,
    token,
    port,
    visit: (visited = port) => RawVisitor.connect(visited),
    visited: (count) => server.log.logged("connection", count),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The port of a client's only tunnel, once it serves. */
export async function publicPort(client: TestClient): Promise<number> {
  await client.online();
  const { url } = await client.log.logged("serving");
  return Number(/:(\d+)(?:-\d+)?$/.exec(String(url))![1]);
}

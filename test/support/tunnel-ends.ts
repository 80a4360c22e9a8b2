import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TunnelClient, type ClientOptions } from "../../client/client.ts";
import type { WantedTunnel } from "../../client/wanted-tunnel.ts";
import type { HttpProxy } from "../../client/connection/http-proxy.ts";
import { parseAllowRules } from "../../client/local/consent.ts";
import { decodeAccessKey } from "../../link/access-key.ts";
import { createKey } from "../../server/access/create-key.ts";
import { loadServerConfig, type ServerConfig } from "../../server/config/config.ts";
import { readOwnPin } from "../../server/grpc/certificate.ts";
import { startServer, type ServerTuning, type TunnelServer } from "../../server/server.ts";
import type { MappedTunnel } from "../../server/store/key-file.ts";
import { type Answer, recordingLog, request, type VisitOptions } from "./world.ts";

type RecordingLog = ReturnType<typeof recordingLog>;

export interface TestServer extends AsyncDisposable {
  server: TunnelServer;
  httpPort: number;
  grpcPort: number;
  dataDir: string;
  log: RecordingLog;
  /** Makes a key in keys.json; returns its token. */
  addKey(options?: { name?: string; hostnames?: string[]; mapped?: MappedTunnel[] }): Promise<string>;
  /** One request to app.localhost, or another host. */
  visit(path: string, options?: VisitOptions): Promise<Answer>;
}

/** A server in this process, on free ports of 127.0.0.1; without TLS unless told. */
export async function startTestServer(
  options: {
    tls?: "auto" | "off";
    config?: (config: ServerConfig) => void;
    tuning?: ServerTuning;
    /** Whether it has been running for longer than the ten minutes in which clients of before may come back. */
    settled?: boolean;
    /** One of a server before, to be left in place. */
    dataDir?: string;
  } = {},
): Promise<TestServer> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "culvert-server-")));
  const { config } = loadServerConfig(undefined, {}, { dataDir });
  config.http.listen = { host: "127.0.0.1", port: 0 };
  config.grpc.listen = { host: "127.0.0.1", port: 0 };
  config.grpc.tls = options.tls ?? "off";
  options.config?.(config);
  const log = recordingLog();
  let aheadMs = 0;
  const server = await startServer(config, log.log, {
    now: () => performance.now() + aheadMs,
    ...options.tuning,
  });
  if (options.settled) aheadMs = 11 * 60_000;
  return {
    server,
    httpPort: server.httpPort,
    grpcPort: server.grpcPort,
    dataDir,
    log,
    async addKey({ name = "test", hostnames, mapped } = {}) {
      const { token } = await createKey({
        dataDir,
        name,
        hostnames,
        tunnels: mapped,
        host: "127.0.0.1",
        port: server.grpcPort,
        pin: config.grpc.tls === "auto" ? await readOwnPin(dataDir) : undefined,
      });
      return token;
    },
    visit: (path, visit) => request(server.httpPort, path, visit),
    async [Symbol.asyncDispose]() {
      await server.stop(0);
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export interface TestClient extends AsyncDisposable {
  client: TunnelClient;
  log: RecordingLog;
  /** Why `run` ended: the permanent error, or undefined after a stop. */
  ended: Promise<unknown>;
  /** Resolves when it has been online so often; rejects if it ends before. */
  online(count?: number): Promise<void>;
  /** Cuts it off at once, as a crash would. */
  cut(): void;
}

export interface TestClientOptions {
  /** Where it dials; otherwise the address in the key. */
  port?: number;
  /** What stands on the way. */
  proxy?: HttpProxy;
  clientId?: string;
  tunnels?: WantedTunnel[];
  allow?: string[];
  tuning?: ClientOptions["tuning"];
}

/** A client in this process; to be waited for with `online`. */
export function startTestClient(token: string, options: TestClientOptions = {}): TestClient {
  const key = decodeAccessKey(token);
  const log = recordingLog();
  const tunnels = options.tunnels ?? [];
  const client = new TunnelClient({
    server: { key, port: options.port, plaintext: key.pin === undefined, proxy: options.proxy },
    clientId: options.clientId ?? "test-client",
    tunnels,
    // As client/settings.ts does.
    consent: parseAllowRules(options.allow ?? [], { loopback: tunnels.length === 0 }),
    log: log.log,
    tuning: options.tuning,
  });
  const cut = new AbortController();
  const ended = client.run(cut.signal).then(
    () => undefined,
    (error: unknown) => error,
  );
  return {
    client,
    log,
    ended,
    async online(count) {
      const early = ended.then((error) => {
        throw new Error("the client ended before it was online", { cause: error });
      });
      await Promise.race([log.logged("online", count), early]);
      early.catch(() => {});
    },
    cut: () => cut.abort(),
    async [Symbol.asyncDispose]() {
      cut.abort();
      await ended;
    },
  };
}

/** A tunnel that a client asks for. */
export function http(port: number, subdomain?: string): WantedTunnel {
  return { kind: "HTTP", subdomain, target: { host: "127.0.0.1", port } };
}

/** A tunnel that a key maps. */
export function mapped(name: string, hostname: string, target: string): MappedTunnel {
  return { name, kind: "HTTP", hostname, target };
}

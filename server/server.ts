import { setTimeout as sleep } from "node:timers/promises";
import { TunnelError } from "../link/errors.ts";
import type { Log } from "../runtime/log.ts";
import { ensureDirectory } from "../runtime/state-directory.ts";
import { KeyRing } from "./access/key-ring.ts";
import type { ServerConfig } from "./config.ts";
import { startHttpEdge } from "./edge/http/http-edge.ts";
import {
  loadOrCreateCertificate,
  readConfiguredCertificate,
  type ServerCertificate,
} from "./grpc/certificate.ts";
import { startGrpcServer } from "./grpc/grpc-server.ts";
import { type ConnectionTuning, serveConnection } from "./sessions/handshake.ts";
import { Registry } from "./sessions/registry.ts";
import { keyFileIn, readKeyFile } from "./store/key-file.ts";

/** For the clients to hear that it was a clean end. */
const LAST_WORDS_MS = 1_000;

/** What tests make short. */
export interface ServerTuning extends ConnectionTuning {
  /** The clock by which names are kept; in milliseconds. */
  now?: () => number;
}

export interface TunnelServer {
  readonly httpPort: number;
  readonly grpcPort: number;
  /** Visitors that are being served through a client. */
  readonly streams: number;
  /** Lets open requests finish for at most `graceMs`, then ends everything. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Builds the server's parts and starts them; resolves when both ports are open.
 *
 * @throws Error what is in the way: a port, the certificate, the data directory
 */
export async function startServer(
  config: ServerConfig,
  log: Log,
  { now, ...tuning }: ServerTuning = {},
): Promise<TunnelServer> {
  await ensureDirectory(config.dataDir);
  const certificate = await certificateOf(config, log);
  const keys = new KeyRing({ dataDir: config.dataDir, configKeys: configKeys(config), log });
  // Refusing every client because the keys cannot be read would end them for good: better not to start.
  await readKeyFile(keyFileIn(config.dataDir));
  await keys.refresh();

  const registry = new Registry({
    rules: {
      domain: config.http.domain,
      ownerOf: (hostname) => keys.ownerOf(hostname),
      publicUrl: (hostname) => publicUrl(hostname, edge.address.port),
    },
    log,
    now,
  });
  const edge = await startHttpEdge({
    host: config.http.listen.host,
    port: config.http.listen.port,
    domain: config.http.domain,
    findRoute: (hostname) => registry.findRoute(hostname),
    log,
  });
  const grpc = await startGrpcServer({
    host: config.grpc.listen.host,
    port: config.grpc.listen.port,
    certificate,
    onConnection: (carrier, peer) =>
      serveConnection(carrier, peer, {
        ...tuning,
        registry,
        async authenticate(keyId, secret) {
          await keys.refresh();
          return keys.authenticate(keyId, secret);
        },
        log,
      }),
  }).catch(async (error: unknown) => {
    await edge.stop(0);
    throw error;
  });

  keys.onRevoked((keyIds) =>
    registry.endSessionsOfKeys(
      keyIds,
      new TunnelError(
        "key_revoked",
        "The access key has been revoked. Ask the server's owner for a new one.",
      ),
    ),
  );
  keys.watch();

  return {
    httpPort: edge.address.port,
    grpcPort: grpc.port,
    get streams() {
      return registry.streams;
    },
    async stop(graceMs) {
      const disconnected = grpc.stopListening();
      registry.drain(graceMs);
      await edge.stop(graceMs);
      registry.end();
      keys.close();
      await Promise.race([disconnected, sleep(LAST_WORDS_MS, undefined, { ref: false })]);
      grpc.close();
    },
  };
}

function certificateOf({ grpc, dataDir }: ServerConfig, log: Log): Promise<ServerCertificate | undefined> {
  if (grpc.tls === "off") return Promise.resolve(undefined);
  return grpc.tls === "auto"
    ? loadOrCreateCertificate(dataDir, log)
    : readConfiguredCertificate(grpc.tls, log);
}

function configKeys(config: ServerConfig) {
  return config.keys.map(({ name, secret, hostnames, tunnels }) => ({
    name,
    secret,
    hostnames,
    tunnels: tunnels.map((tunnel) => ({
      name: tunnel.name,
      kind: "HTTP" as const,
      hostname: tunnel.hostname,
      target: tunnel.target,
    })),
  }));
}

function publicUrl(hostname: string, port: number): string {
  return `http://${hostname}${port === 80 ? "" : `:${port}`}/`;
}

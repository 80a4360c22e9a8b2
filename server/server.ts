import { setTimeout as sleep } from "node:timers/promises";
import { UnreadBudget } from "../link/unread-budget.ts";
import type { Log } from "../runtime/log.ts";
import { formatAddress } from "../runtime/net-address.ts";
import { ensureDirectory } from "../runtime/state-directory.ts";
import { KeyRing, keyRevoked } from "./access/key-ring.ts";
import type { PublicUrl, ServerConfig } from "./config/config.ts";
import { serverDescriptors } from "./descriptors.ts";
import { startHttpEdge } from "./edge/http/http-edge.ts";
import { ConnectionNumbers } from "./edge/http/visitor-connection.ts";
import { TcpEdge } from "./edge/tcp/tcp-edge.ts";
import { startTlsEdge } from "./edge/tcp/tls-edge.ts";
import { SeldomWarning } from "./edge/seldom-warning.ts";
import { UdpEdge } from "./edge/udp/udp-edge.ts";
import {
  loadOrCreateCertificate,
  readConfiguredCertificate,
  type ServerCertificate,
} from "./grpc/certificate.ts";
import { startGrpcServer } from "./grpc/grpc-server.ts";
import { boundedPorts } from "./sessions/bounded-ports.ts";
import { type ConnectionTuning, serveConnection } from "./sessions/handshake.ts";
import { Registry } from "./sessions/registry.ts";
import type { Place } from "./routing/place.ts";
import { keyFileIn, readKeyFile } from "./store/key-file.ts";
import { ReservationFile, reservationFileIn } from "./store/reservation-file.ts";
import { ReservationSaver } from "./store/reservation-saver.ts";

/** For the clients to hear that it was a clean end. */
const LAST_WORDS_MS = 1_000;

/** What tests make short. */
export interface ServerTuning extends ConnectionTuning {
  /** The clock by which names are kept; in milliseconds. */
  now?: () => number;
  /** How often an edge looks whether its visitors are still there (edge/reset-probe.ts). */
  lookMs?: number;
}

export interface TunnelServer {
  readonly httpPort: number;
  /** Where visitors over TLS arrive, if they may. */
  readonly tlsPort: number | undefined;
  readonly grpcPort: number;
  /** Visitors that are being served through a client. */
  readonly streams: number;
  /** Lets open requests finish for at most `graceMs`, then ends everything. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Builds the server's parts and starts them; resolves when its ports are open.
 *
 * @throws Error what is in the way: a port, the certificate, the data directory
 */
export async function startServer(
  config: ServerConfig,
  log: Log,
  { now, lookMs, ...tuning }: ServerTuning = {},
): Promise<TunnelServer> {
  const keys = new KeyRing({ dataDir: config.dataDir, configKeys: config.keys, log });
  // Refusing every client because the keys cannot be read would end them for good: better not to start.
  await readKeyFile(keyFileIn(config.dataDir));
  await keys.refresh();

  const descriptors = serverDescriptors(config.limits, log);
  const registry = new Registry({
    rules: {
      domain: config.http.domain,
      ownersOf: (name) => keys.ownersOf(name),
      ownersOver: (hostname) => keys.ownersOver(hostname),
      portOwners: (kind, range) => keys.portOwners(kind, range),
      publicUrl: (place) => publicUrl(place, config, { http: edge.address.port, tls: tls?.port ?? 0 }),
      freePorts: (kind) => (kind === "TCP" ? config.tcp.ports : config.udp.ports),
      hasTls: config.tls !== undefined,
      ownPorts: () => [
        { option: "http.listen", port: edge.address.port },
        { option: "grpc.listen", port: grpc.port },
        ...(tls ? [{ option: "tls.listen", port: tls.port }] : []),
      ],
    },
    limits: config.limits,
    opener: boundedPorts(descriptors.ports, {
      open: (kind, port) => edges[kind].open(port),
      close: (kind, port) => edges[kind].close(port),
    }),
    holdMs: config.http.holdMs,
    log,
    now,
    onChange: () => saver.changed(),
  });
  const reservations = new ReservationFile({ file: reservationFileIn(config.dataDir), log });
  const saver = new ReservationSaver({ store: reservations, remembered: () => registry.remembered, log });
  registry.restore(await reservations.load(), (keyId) => keys.byId(keyId)?.name);
  const unreadBudget = unreadBudgetOf("unread_bytes", config.limits.unreadBytes, log);
  const ofBytes = {
    holdMs: config.http.holdMs,
    limits: config.limits,
    descriptors: descriptors.visitors,
    unread: unreadBudgetOf("visitor_unread_bytes", config.limits.visitorUnreadBytes, log),
    lookMs,
    log,
  };
  const tcp = new TcpEdge({
    ...ofBytes,
    host: config.tcp.host,
    findRoute: (port) => registry.findPortRoute("TCP", port),
    trustedProxies: config.tcp.trustedProxies,
  });
  const udp = new UdpEdge({
    host: config.udp.host,
    findRoute: (port) => registry.findPortRoute("UDP", port),
    limits: config.limits,
    log,
  });
  const edges = { TCP: tcp, UDP: udp };
  const edge = await startHttpEdge({
    host: config.http.listen.host,
    port: config.http.listen.port,
    domain: config.http.domain,
    findRoute: (hostname) => registry.findRoute(hostname),
    trustedProxies: config.http.trustedProxies,
    numbers: new ConnectionNumbers(),
    holdMs: config.http.holdMs,
    timeoutMs: config.http.timeoutMs,
    limits: config.limits,
    descriptors: descriptors.visitors,
    lookMs,
    log,
  });
  const tls =
    config.tls &&
    (await startTlsEdge({
      ...ofBytes,
      ...config.tls.listen,
      findRoute: (hostname) => registry.findTlsRoute(hostname),
      trustedProxies: config.tls.trustedProxies,
    }).catch(async (error: unknown) => {
      await edge.stop(0);
      throw error;
    }));
  const stopEdges = async (): Promise<void> => {
    await Promise.all([edge.stop(0), tls?.stop(0)]);
  };
  // Behind the visitors' ports: a server that cannot have those leaves nothing behind that looks as if it had started.
  const certificate = await certificateOf(config, log).catch(async (error: unknown) => {
    await stopEdges();
    throw error;
  });
  const grpc = await startGrpcServer({
    host: config.grpc.listen.host,
    port: config.grpc.listen.port,
    certificate,
    descriptors,
    onConnection: (carrier, peer) =>
      serveConnection(carrier, peer, {
        ...tuning,
        registry,
        unreadBudget,
        async authenticate(keyId, secret) {
          await keys.refresh();
          return keys.authenticate(keyId, secret);
        },
        isStillGood: (keyId, secret) => keys.authenticate(keyId, secret) !== undefined,
        log,
      }),
  }).catch(async (error: unknown) => {
    await stopEdges();
    throw error;
  });

  keys.onRevoked((keyIds) => registry.revoke(keyIds, keyRevoked()));
  keys.watch();
  saver.start();

  return {
    httpPort: edge.address.port,
    tlsPort: tls?.port,
    grpcPort: grpc.port,
    get streams() {
      return registry.streams;
    },
    async stop(graceMs) {
      grpc.stopListening();
      registry.drain(graceMs);
      await Promise.all([edge, tcp, udp, ...(tls ? [tls] : [])].map((each) => each.stop(graceMs)));
      registry.end();
      keys.close();
      const saved = saver.end();
      // A timer without a reference would let the process end here, with nothing told.
      const enough = new AbortController();
      const { signal } = enough;
      await Promise.race([grpc.disconnect(), sleep(LAST_WORDS_MS, undefined, { signal }).catch(() => {})]);
      enough.abort();
      grpc.close();
      await saved;
    },
  };
}

async function certificateOf(
  { grpc, dataDir }: ServerConfig,
  log: Log,
): Promise<ServerCertificate | undefined> {
  await ensureDirectory(dataDir);
  if (grpc.tls === "off") return undefined;
  return grpc.tls === "auto"
    ? await loadOrCreateCertificate(dataDir, log)
    : await readConfiguredCertificate(grpc.tls, log);
}

function unreadBudgetOf(option: string, bytes: number, log: Log): UnreadBudget {
  const warning = new SeldomWarning(log);
  return new UnreadBudget(bytes, (cut) =>
    warning.warn({ cut }, `more than limits.${option} lay unread: those who held most were cut off`),
  );
}

/**
 * The address of a tunnel as visitors type it. Of one with a hostname: as the config says, or else at this server's own port;
 * `tcp://tunnel.example.com:2222` of one with a port.
 */
function publicUrl(
  place: Place,
  { http, grpc }: ServerConfig,
  listening: { http: number; tls: number },
): string {
  if ("port" in place) {
    const { kind, port, ports } = place;
    const host = grpc.publicAddress?.host ?? http.domain;
    const last = ports === 1 ? "" : `-${port + ports - 1}`;
    return `${kind.toLowerCase()}://${formatAddress({ host, port })}${last}`;
  }
  // Whatever no other name takes: among others the name or address of this machine.
  const hostname = place.hostname === "*" ? (grpc.publicAddress?.host ?? http.domain) : place.hostname;
  if (place.kind === "TLS") return `tls://${formatAddress({ host: hostname, port: listening.tls })}`;
  const { scheme, port }: PublicUrl = http.publicUrl ?? {
    scheme: "http",
    ...(listening.http !== 80 && { port: listening.http }),
  };
  return `${scheme}://${port === undefined ? bracketed(hostname) : formatAddress({ host: hostname, port })}/`;
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

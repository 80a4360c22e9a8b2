import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from "node:http";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TunnelClient } from "../../client/client.ts";
import type { WantedTunnel } from "../../client/wanted-tunnel.ts";
import { parseAllowRules } from "../../client/local/consent.ts";
import { decodeAccessKey, encodeAccessKey } from "../../link/access-key.ts";
import { createLog, type Log } from "../../runtime/log.ts";
import { configKeyId, configKeySecret } from "../../server/access/config-key.ts";
import { createKey } from "../../server/access/create-key.ts";
import type { KeyTunnel } from "../../server/access/key.ts";
import { loadServerConfig, type ServerConfig } from "../../server/config/config.ts";
import { readOwnPin } from "../../server/grpc/certificate.ts";
import { startServer, type TunnelServer } from "../../server/server.ts";
import type { MappedTunnel } from "../../server/store/key-file.ts";
import { Relay } from "./relay.ts";

export interface WorldOptions {
  /** The local service: what to answer, or the address of one that the test runs itself. */
  service: RequestListener | { host: string; port: number };
  tls?: "auto" | "off";
  config?: (config: ServerConfig) => void;
  /** What the key maps; by default the client asks for `app.localhost` itself. */
  mapped?: MappedTunnel[];
  /** What the key maps, standing in the config, where tunnels have limits. */
  configured?: KeyTunnel[];
  /** Whether a relay stands for the network between client and server. */
  relayed?: boolean;
  /** What the client asks for instead. */
  tunnels?: WantedTunnel[];
  hostnames?: string[];
  allow?: string[];
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  rawHeaders: string[];
  body: Buffer;
  text: string;
}

/** A server, a client and a local service in this process, on free ports of 127.0.0.1. */
export interface World extends AsyncDisposable {
  server: TunnelServer;
  client: TunnelClient;
  httpPort: number;
  grpcPort: number;
  /** If it was asked for. */
  relay: Relay | undefined;
  dataDir: string;
  token: string;
  /** What server and client logged. */
  logs: { server: LoggedLine[]; client: LoggedLine[] };
  /** One request to app.localhost, or another host. */
  visit(path: string, options?: VisitOptions): Promise<Answer>;
  /** Resolves at the first line of a log, past or future, that has this message. */
  logged(end: "server" | "client", message: string, count?: number): Promise<LoggedLine>;
}

export interface VisitOptions {
  method?: string;
  host?: string;
  headers?: Record<string, string>;
  body?: Buffer | string;
  agent?: http.Agent;
  /** Where the server listens; 127.0.0.1 if left out. */
  address?: string;
}

export interface LoggedLine {
  level: string;
  message: string;
  [field: string]: unknown;
}

export async function startWorld(options: WorldOptions): Promise<World> {
  const cleanups: (() => unknown)[] = [];
  const dataDir = await mkdtemp(join(tmpdir(), "culvert-world-"));
  cleanups.push(() => rm(dataDir, { recursive: true, force: true }));
  const service = await startService(options.service, cleanups);

  const { config } = loadServerConfig(undefined, {}, { dataDir });
  config.http.listen = { host: "127.0.0.1", port: 0 };
  config.grpc.listen = { host: "127.0.0.1", port: 0 };
  config.grpc.tls = options.tls ?? "off";
  const secret = randomBytes(16).toString("hex");
  if (options.configured)
    config.keys.push({ name: "configured", secret, hostnames: [], tunnels: options.configured });
  options.config?.(config);
  const serverLog = recordingLog();
  const server = await startServer(config, serverLog.log);
  cleanups.unshift(() => server.stop(0));

  const relay = options.relayed ? await Relay.to(server.grpcPort) : undefined;
  cleanups.unshift(() => relay?.[Symbol.asyncDispose]());
  const address = {
    host: "127.0.0.1",
    port: relay?.port ?? server.grpcPort,
    pin: config.grpc.tls === "auto" ? await readOwnPin(dataDir) : undefined,
  };
  const { token } = options.configured
    ? {
        token: encodeAccessKey({
          ...address,
          keyId: configKeyId("configured"),
          secret: configKeySecret(secret),
        }),
      }
    : await createKey({
        ...address,
        dataDir,
        name: "test",
        hostnames: options.hostnames,
        tunnels: options.mapped,
      });
  const clientLog = recordingLog();
  const app: WantedTunnel = { kind: "HTTP", subdomain: "app", target: service };
  const tunnels = options.mapped || options.configured ? [] : (options.tunnels ?? [app]);
  const client = new TunnelClient({
    server: { key: decodeAccessKey(token), plaintext: config.grpc.tls === "off" },
    clientId: "test-client",
    tunnels,
    consent: parseAllowRules(options.allow ?? [], { loopback: tunnels.length === 0 }),
    log: clientLog.log,
  });
  const cut = new AbortController();
  const running = client.run(cut.signal);
  running.catch(() => {});
  cleanups.unshift(async () => {
    cut.abort();
    await running.catch(() => {});
  });
  await clientLog.logged("online");

  return {
    server,
    client,
    httpPort: server.httpPort,
    grpcPort: server.grpcPort,
    relay,
    dataDir,
    token,
    logs: { server: serverLog.lines, client: clientLog.lines },
    visit: (path, visit) => request(server.httpPort, path, visit),
    logged: (end, message, count) => (end === "server" ? serverLog : clientLog).logged(message, count),
    async [Symbol.asyncDispose]() {
      for (const cleanup of cleanups) await cleanup();
    },
  };
}

/** One request over node:http, its answer read whole. */
export function request(port: number, path: string, options: VisitOptions = {}): Promise<Answer> {
  const { method = "GET", host = "app.localhost", headers, body, agent, address = "127.0.0.1" } = options;
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      { host: address, port, path, method, agent: agent ?? false, headers: { Host: host, ...headers } },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () => {
          const whole = Buffer.concat(chunks);
          resolve({
            status: incoming.statusCode!,
            headers: incoming.headers,
            rawHeaders: incoming.rawHeaders,
            body: whole,
            text: whole.toString(),
          });
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

async function startService(
  service: WorldOptions["service"],
  cleanups: (() => unknown)[],
): Promise<{ host: string; port: number }> {
  if (typeof service !== "function") return service;
  const server: Server = createServer(service);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
}

/** A log whose lines a test can look at and wait for. */
export function recordingLog(): {
  log: Log;
  lines: LoggedLine[];
  logged(message: string, count?: number): Promise<LoggedLine>;
} {
  const lines: LoggedLine[] = [];
  const waiting = new Set<() => void>();
  const log = createLog({
    format: "json",
    level: "debug",
    destination: {
      write(line) {
        lines.push(JSON.parse(line) as LoggedLine);
        for (const look of waiting) look();
      },
    },
  });
  return {
    log,
    lines,
    logged: (message, count = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = lines.filter((line) => line.message === message)[count - 1];
          if (!found) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
  };
}

import { createServer, type Server, type Socket } from "node:net";
import { AddressRanges } from "../../../runtime/address-ranges.ts";
import type { Log } from "../../../runtime/log.ts";
import { Tally } from "../../../runtime/tally.ts";
import type { Route } from "../../routing/route.ts";
import { TcpVisit } from "./tcp-visit.ts";
import { TunnelTraffic } from "./tunnel-traffic.ts";

export interface TcpEdgeOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  findRoute: (port: number) => Route | undefined;
  log: Pick<Log, "info" | "warn">;
  /** Who says by a PROXY header who visits: addresses and ranges. */
  trustedProxies: readonly string[];
  /** How long a visitor waits for a client that may come back. */
  holdMs: number;
  limits: TcpEdgeLimits;
}

/** As in the config (server/limits.ts). */
export interface TcpEdgeLimits {
  connections: number;
  connectionsPerVisitor: number;
  /** How long a PROXY header may take. */
  headTimeoutMs: number;
}

const KIB = 1024;
/** A flood of visitors waits in the system's queue and is not refused; the system may allow less. */
const BACKLOG = 4096;
/** A visitor who vanished without a word is noticed, be the connection ever so quiet. */
const KEEP_ALIVE_MS = 60_000;
/** How often the log may say that visitors are turned away. */
const WARN_MS = 60_000;

/** Where visitors of TCP ports arrive. */
export class TcpEdge {
  readonly #options: TcpEdgeOptions;
  readonly #proxies: AddressRanges;
  readonly #listeners = new Map<number, Server>();
  readonly #visits = new Set<TcpVisit>();
  readonly #visitors = new Tally();
  readonly #traffic = new TunnelTraffic();
  #warnedAt = -Infinity;
  #onEmptied: (() => void) | undefined;

  constructor(options: TcpEdgeOptions) {
    this.#options = options;
    this.#proxies = new AddressRanges(options.trustedProxies);
  }

  /** Connections of visitors. */
  get connections(): number {
    return this.#visits.size;
  }

  /**
   * Opens a port.
   *
   * @throws NodeJS.ErrnoException
   */
  async open(port: number): Promise<void> {
    const { host } = this.#options;
    const server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      highWaterMark: 64 * KIB,
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // Node itself takes 0.0.0.0 where there is no IPv6.
      server.listen({ port, backlog: BACKLOG, ...(host !== undefined && { host }) }, () => {
        server.off("error", reject);
        resolve();
      });
    });
    // Descriptors may have run out; what is open goes on.
    server.on("error", (error) =>
      this.#warnNowAndThen({ port, error }, "a visitor's connection could not be taken"),
    );
    server.on("connection", (socket) => this.#visit(socket, port));
    this.#listeners.set(port, server);
  }

  /** Takes no new visitors at a port. */
  close(port: number): void {
    this.#listeners.get(port)?.close();
    this.#listeners.delete(port);
  }

  /** Takes no new visitors, lets those who are there go on for so long, then cuts them. */
  async stop(graceMs: number): Promise<void> {
    for (const port of this.#listeners.keys()) this.close(port);
    if (this.#visits.size === 0) return;
    const emptied = new Promise<void>((resolve) => (this.#onEmptied = resolve));
    const timer = setTimeout(() => {
      for (const visit of this.#visits) visit.cut("STOPPING");
    }, graceMs);
    await emptied;
    clearTimeout(timer);
  }

  #visit(socket: Socket, port: number): void {
    const { findRoute, holdMs, log, limits } = this.#options;
    const visit = new TcpVisit({
      socket,
      kind: "TCP",
      findRoute: () => findRoute(port),
      proxies: this.#proxies,
      traffic: this.#traffic,
      holdMs,
      headTimeoutMs: limits.headTimeoutMs,
      log,
      onClosed: () => {
        this.#visits.delete(visit);
        this.#visitors.remove(visit.network);
        if (this.#visits.size === 0) this.#onEmptied?.();
      },
    });
    this.#visits.add(visit);
    this.#visitors.add(visit.network);
    const option = this.#limitReached(visit);
    if (option === undefined) return visit.start();
    visit.cut("TOO_MANY");
    this.#warnNowAndThen(
      { port, visitor: visit.visitor },
      `a visitor's connection was closed: limits.${option}`,
    );
  }

  #limitReached({ network, trusted }: TcpVisit): string | undefined {
    const { connections, connectionsPerVisitor } = this.#options.limits;
    if (this.#visits.size > connections) return "connections";
    if (!trusted && this.#visitors.of(network) > connectionsPerVisitor) return "connections_per_visitor";
    return undefined;
  }

  #warnNowAndThen(fields: Record<string, unknown>, message: string): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn(fields, message);
  }
}

import type { Socket } from "node:net";
import { AddressRanges } from "../../../runtime/address-ranges.ts";
import type { Log } from "../../../runtime/log.ts";
import { Tally } from "../../../runtime/tally.ts";
import { type FindRoute, TcpVisit } from "./tcp-visit.ts";
import { TunnelTraffic } from "./tunnel-traffic.ts";

export interface VisitorsOptions {
  log: Pick<Log, "info" | "warn">;
  /** Who says by a PROXY header who visits: addresses and ranges. */
  trustedProxies: readonly string[];
  /** How long a visitor waits for a client that may come back. */
  holdMs: number;
  limits: VisitorLimits;
}

/** As in the config (server/config/limits.ts). */
export interface VisitorLimits {
  connections: number;
  connectionsPerVisitor: number;
  /** How long a PROXY header and a ClientHello may take. */
  headTimeoutMs: number;
}

/** How often the log may say that visitors are turned away. */
const WARN_MS = 60_000;

/** The connections of an edge's visitors. */
export class Visitors {
  readonly #options: VisitorsOptions;
  readonly #proxies: AddressRanges;
  readonly #visits = new Set<TcpVisit>();
  readonly #networks = new Tally();
  readonly #traffic = new TunnelTraffic();
  #warnedAt = -Infinity;
  #onEmptied: (() => void) | undefined;

  constructor(options: VisitorsOptions) {
    this.#options = options;
    this.#proxies = new AddressRanges(options.trustedProxies);
  }

  get size(): number {
    return this.#visits.size;
  }

  /** @param socket just taken, and paused */
  take(socket: Socket, findRoute: FindRoute): void {
    const { holdMs, log, limits } = this.#options;
    const visit = new TcpVisit({
      socket,
      findRoute,
      proxies: this.#proxies,
      traffic: this.#traffic,
      holdMs,
      headTimeoutMs: limits.headTimeoutMs,
      log,
      onClosed: () => {
        this.#visits.delete(visit);
        this.#networks.remove(visit.network);
        if (this.#visits.size === 0) this.#onEmptied?.();
      },
    });
    this.#visits.add(visit);
    this.#networks.add(visit.network);
    const option = this.#limitReached(visit);
    if (option === undefined) return visit.start();
    visit.cut("TOO_MANY");
    this.warnNowAndThen({ visitor: visit.visitor }, `a visitor's connection was closed: limits.${option}`);
  }

  warnNowAndThen(fields: Record<string, unknown>, message: string): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn(fields, message);
  }

  /** Lets those who are there go on for so long, then cuts them. */
  async leave(graceMs: number): Promise<void> {
    if (this.#visits.size === 0) return;
    const emptied = new Promise<void>((resolve) => (this.#onEmptied = resolve));
    const timer = setTimeout(() => {
      for (const visit of this.#visits) visit.cut("STOPPING");
    }, graceMs);
    await emptied;
    clearTimeout(timer);
  }

  #limitReached({ network, trusted }: TcpVisit): string | undefined {
    const { connections, connectionsPerVisitor } = this.#options.limits;
    if (this.#visits.size > connections) return "connections";
    if (!trusted && this.#networks.of(network) > connectionsPerVisitor) return "connections_per_visitor";
    return undefined;
  }
}

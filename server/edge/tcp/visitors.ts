import type { Socket } from "node:net";
import { AddressRanges } from "../../../runtime/address-ranges.ts";
import type { UnreadBudget } from "../../../link/unread-budget.ts";
import type { DescriptorParty } from "../../../runtime/descriptor-budget.ts";
import type { Log } from "../../../runtime/log.ts";
import { Tally } from "../../../runtime/tally.ts";
import { LOOK_MS } from "../reset-probe.ts";
import { SeldomWarning } from "../seldom-warning.ts";
import { type FindRoute, TcpVisit } from "./tcp-visit.ts";
import { TunnelTraffic } from "./tunnel-traffic.ts";

export interface VisitorsOptions {
  log: Pick<Log, "info" | "warn">;
  /** Who says by a PROXY header who visits: addresses and ranges. */
  trustedProxies: readonly string[];
  /** How long a visitor waits for a client that may come back. */
  holdMs: number;
  limits: VisitorLimits;
  /** Counts what has come of all visitors, and nobody has taken. */
  unread: UnreadBudget;
  /** How often to look who has left, or has been idle for too long; `LOOK_MS`. */
  lookMs?: number | undefined;
  /** What visitors share with those of other edges. */
  descriptors: DescriptorParty;
}

/** As in the config (server/config/limits.ts). */
export interface VisitorLimits {
  connections: number;
  connectionsPerVisitor: number;
  /** How long a PROXY header and a ClientHello may take, at most. */
  headTimeoutMs: number;
}

/** The connections of an edge's visitors. */
export class Visitors {
  readonly warnings: SeldomWarning;
  readonly #options: VisitorsOptions;
  readonly #proxies: AddressRanges;
  readonly #visits = new Set<TcpVisit>();
  readonly #networks = new Tally();
  readonly #traffic = new TunnelTraffic();
  #clock: NodeJS.Timeout | undefined;
  #onEmptied: (() => void) | undefined;

  constructor(options: VisitorsOptions) {
    this.#options = options;
    this.warnings = new SeldomWarning(options.log);
    this.#proxies = new AddressRanges(options.trustedProxies);
  }

  get size(): number {
    return this.#visits.size;
  }

  /** @param socket just taken, and paused */
  take(socket: Socket, findRoute: FindRoute): void {
    const { holdMs, log, limits, unread, descriptors, lookMs = LOOK_MS } = this.#options;
    const visit = new TcpVisit({
      socket,
      findRoute,
      proxies: this.#proxies,
      traffic: this.#traffic,
      holdMs,
      headTimeoutMs: limits.headTimeoutMs,
      unread,
      log,
      onClosed: () => {
        this.#visits.delete(visit);
        this.#networks.remove(visit.network);
        descriptor?.release();
        if (this.#visits.size > 0) return;
        clearInterval(this.#clock);
        this.#clock = undefined;
        this.#onEmptied?.();
      },
    });
    this.#visits.add(visit);
    this.#networks.add(visit.network);
    this.#clock ??= setInterval(() => this.#look(), lookMs);
    const option = this.#limitReached(visit);
    const descriptor =
      option === undefined ? descriptors.take(visit.trusted ? undefined : visit.network) : undefined;
    if (descriptor) return visit.start();
    visit.cut("TOO_MANY", option === undefined ? "descriptors are short" : `limits.${option}`);
    if (option === undefined) return;
    this.warnings.warn({ visitor: visit.visitor }, `a visitor's connection was closed: limits.${option}`);
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

  #look(): void {
    const now = performance.now();
    for (const visit of this.#visits) visit.look(now);
  }

  #limitReached({ network, trusted }: TcpVisit): string | undefined {
    const { connections, connectionsPerVisitor } = this.#options.limits;
    if (this.#visits.size > connections) return "connections";
    if (!trusted && this.#networks.of(network) > connectionsPerVisitor) return "connections_per_visitor";
    return undefined;
  }
}

import type { RemoteInfo } from "node:dgram";
import { TunnelError } from "../../../link/errors.ts";
import { networkOf } from "../../../runtime/ip-address.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Route } from "../../routing/route.ts";
import { type DropReason, Drops } from "./drops.ts";
import { TunnelVisitors } from "./tunnel-visitors.ts";
import { UdpPort } from "./udp-port.ts";
import { UdpVisit } from "./udp-visit.ts";

export interface UdpEdgeOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  findRoute: (port: number) => Route | undefined;
  log: Pick<Log, "info" | "warn">;
  limits: UdpEdgeLimits;
}

/** As in the config (server/config/limits.ts). */
export interface UdpEdgeLimits {
  /** Of visitors, each address and port of them. */
  connections: number;
}

/** How often the edge looks who has fallen silent: one timer for all, which 10,000 visitors cost a third of a millisecond. */
const SWEEP_MS = 1_000;
/** A server that is about to stop waits no longer than this for a visitor's next datagram: nobody says goodbye over UDP. */
const STOPPING_IDLE_MS = 2_000;
/** How often the log may say that datagrams are dropped. */
const WARN_MS = 60_000;

interface OpenPort {
  socket: UdpPort;
  /** By the visitor's address and port. */
  visits: Map<string, UdpVisit>;
}

/** Where visitors of UDP ports arrive. */
export class UdpEdge {
  readonly #options: UdpEdgeOptions;
  readonly #ports = new Map<number, OpenPort>();
  readonly #tunnels = new TunnelVisitors();
  readonly #drops = new Drops();
  #sweep: NodeJS.Timeout | undefined;
  #visitors = 0;
  #warnedAt = -Infinity;
  #stopping = false;
  #onEmptied: (() => void) | undefined;

  constructor(options: UdpEdgeOptions) {
    this.#options = options;
  }

  /** Addresses and ports of visitors. */
  get connections(): number {
    return this.#visitors;
  }

  /**
   * Opens a port.
   *
   * @throws NodeJS.ErrnoException
   */
  async open(port: number): Promise<void> {
    const visits = new Map<string, UdpVisit>();
    const socket = await UdpPort.open({
      host: this.#options.host,
      port,
      onDatagram: (datagram, from) => this.#arrived(port, datagram, from),
      onError: (error) => this.#options.log.warn({ port, error }, "a UDP port has trouble"),
    });
    if (this.#stopping) {
      socket.close();
      throw new Error("the server is stopping");
    }
    this.#ports.set(port, { socket, visits });
    this.#sweep ??= setInterval(() => this.#look(), SWEEP_MS);
  }

  /** Closes a port; its visitors are gone with it, since what they are sent would come from nowhere. */
  close(port: number): void {
    const open = this.#ports.get(port);
    if (!open) return;
    for (const visit of open.visits.values()) visit.end("CLOSED");
    this.#ports.delete(port);
    open.socket.close();
  }

  /** Takes no new visitors, lets those who are there go on for so long, or until they are silent, then closes all ports. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#visitors > 0) {
      const emptied = new Promise<void>((resolve) => (this.#onEmptied = resolve));
      const timer = setTimeout(() => this.#cut(), graceMs);
      await emptied;
      clearTimeout(timer);
    }
    clearInterval(this.#sweep);
    for (const port of this.#ports.keys()) this.close(port);
  }

  #arrived(port: number, datagram: Buffer, from: RemoteInfo): void {
    const open = this.#ports.get(port);
    if (!open) return;
    const visitor = `${from.address} ${from.port}`;
    const visit = open.visits.get(visitor) ?? this.#visit(open, visitor, from);
    if (typeof visit === "string") this.#drops.add(visit);
    else visit.take(datagram);
  }

  #visit({ socket, visits }: OpenPort, visitor: string, from: RemoteInfo): UdpVisit | DropReason {
    if (from.port === 0) return "noPort";
    const { findRoute, limits, log } = this.#options;
    const route = findRoute(socket.port);
    if (!route) return "noTunnel";
    if (!route.open || this.#stopping) return "offline";
    if (this.#visitors >= limits.connections) return "tooMany";
    const place = this.#tunnels.join(route, networkOf(from.address));
    if (!place) return "tooMany";
    try {
      const visit = new UdpVisit({
        port: socket,
        from,
        route,
        open: route.open,
        place,
        drops: this.#drops,
        log,
        onClosed: () => {
          visits.delete(visitor);
          this.#visitors--;
          if (this.#visitors === 0) this.#onEmptied?.();
        },
      });
      visits.set(visitor, visit);
      this.#visitors++;
      return visit;
    } catch (error) {
      place.leave();
      if (!(error instanceof TunnelError)) throw error;
      return "overloaded";
    }
  }

  /** Lets go who has fallen silent, and says what was dropped. */
  #look(): void {
    const now = performance.now();
    for (const { visits } of this.#ports.values()) {
      for (const visit of visits.values()) {
        const idleMs = this.#stopping ? Math.min(visit.idleMs, STOPPING_IDLE_MS) : visit.idleMs;
        if (now - visit.usedAt >= idleMs) visit.end();
      }
    }
    if (now - this.#warnedAt < WARN_MS) return;
    const dropped = this.#drops.take();
    if (!dropped) return;
    this.#warnedAt = now;
    this.#options.log.warn({ dropped }, "datagrams were dropped");
  }

  #cut(): void {
    for (const { visits } of this.#ports.values()) {
      for (const visit of visits.values()) visit.end("STOPPING");
    }
  }
}

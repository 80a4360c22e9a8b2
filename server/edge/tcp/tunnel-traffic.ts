import { Tally } from "../../../runtime/tally.ts";
import type { Route } from "../../routing/route.ts";
import { Bandwidth, type Share } from "./bandwidth.ts";

/** What one visitor takes of its tunnel's limits. */
export interface TrafficShare {
  /** Of the bandwidth toward the local service, and toward the visitor, if the tunnel has a limit. */
  tolls: { fromSocket: Share; toSocket: Share } | undefined;
  /** The visitor is gone. */
  leave(): void;
}

interface Traffic {
  visitors: Tally;
  bytesPerSecond: number;
  toService: Bandwidth;
  toVisitor: Bandwidth;
}

/** Holds the visitors of each tunnel to its limits. */
export class TunnelTraffic {
  readonly #tunnels = new Map<string, Traffic>();

  /**
   * Counts a visitor.
   *
   * @param network whose it is (runtime/ip-address.ts)
   * @returns which limit keeps it out: the option's name
   */
  join({ key, tunnel, limits = {} }: Route, network: string): TrafficShare | string {
    const { connections = Infinity, connectionsPerVisitor = Infinity, bytesPerSecond } = limits;
    const name = `${key}/${tunnel}`;
    const traffic = this.#traffic(name, bytesPerSecond ?? Infinity);
    const { visitors } = traffic;
    if (visitors.total >= connections) return "connections";
    if (visitors.of(network) >= connectionsPerVisitor) return "connections_per_visitor";
    visitors.add(network);
    const tolls =
      bytesPerSecond === undefined
        ? undefined
        : { fromSocket: traffic.toService.join(), toSocket: traffic.toVisitor.join() };
    return {
      tolls,
      leave: () => {
        tolls?.fromSocket.leave();
        tolls?.toSocket.leave();
        visitors.remove(network);
        if (visitors.total === 0 && this.#tunnels.get(name) === traffic) this.#tunnels.delete(name);
      },
    };
  }

  /** Of a limit that has changed, those who came before keep the old one. */
  #traffic(name: string, bytesPerSecond: number): Traffic {
    const found = this.#tunnels.get(name);
    if (found?.bytesPerSecond === bytesPerSecond) return found;
    const made = {
      visitors: found?.visitors ?? new Tally(),
      bytesPerSecond,
      toService: new Bandwidth(bytesPerSecond),
      toVisitor: new Bandwidth(bytesPerSecond),
    };
    this.#tunnels.set(name, made);
    return made;
  }
}

import { Tally } from "../../../runtime/tally.ts";
import type { Route } from "../../routing/route.ts";
import { TokenBucket } from "./token-bucket.ts";

/**
 * Of a tunnel that says nothing: each costs the client a socket, and anyone can make up addresses. As many as a client with 8,192
 * descriptors can have beside other things; one address may have what a large NAT in front of players or resolvers has.
 */
const VISITORS = 4_096;
const VISITORS_OF_AN_ADDRESS = 1_024;

/** What one visitor takes of its tunnel's limits. */
export interface Place {
  /** Of the tunnel, if it has a limit. */
  bandwidth: { toService: TokenBucket; toVisitor: TokenBucket } | undefined;
  /** The visitor is gone. */
  leave(): void;
}

interface Tunnel {
  visitors: Tally;
  bytesPerSecond: number | undefined;
  bandwidth: Place["bandwidth"];
}

/** Holds the visitors of each tunnel to its limits. */
export class TunnelVisitors {
  readonly #tunnels = new Map<string, Tunnel>();

  /**
   * Counts a visitor; undefined if there are as many as there may be.
   *
   * @param network whose it is (runtime/ip-address.ts)
   */
  join({ key, tunnel, limits = {} }: Route, network: string): Place | undefined {
    const { connections = VISITORS, connectionsPerVisitor = VISITORS_OF_AN_ADDRESS, bytesPerSecond } = limits;
    const name = `${key}/${tunnel}`;
    const joined = this.#tunnel(name, bytesPerSecond);
    const { visitors, bandwidth } = joined;
    if (visitors.total >= connections || visitors.of(network) >= connectionsPerVisitor) return undefined;
    visitors.add(network);
    return {
      bandwidth,
      leave: () => {
        visitors.remove(network);
        if (visitors.total === 0 && this.#tunnels.get(name) === joined) this.#tunnels.delete(name);
      },
    };
  }

  /** Of a limit that has changed, those who came before keep the old one. */
  #tunnel(name: string, bytesPerSecond: number | undefined): Tunnel {
    const found = this.#tunnels.get(name);
    if (found && found.bytesPerSecond === bytesPerSecond) return found;
    const made: Tunnel = {
      visitors: found?.visitors ?? new Tally(),
      bytesPerSecond,
      bandwidth:
        bytesPerSecond === undefined
          ? undefined
          : { toService: new TokenBucket(bytesPerSecond), toVisitor: new TokenBucket(bytesPerSecond) },
    };
    this.#tunnels.set(name, made);
    return made;
  }
}

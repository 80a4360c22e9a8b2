import { Tally } from "../../../runtime/tally.ts";
import type { Route } from "../../routing/route.ts";
import { TOO_MANY_REQUESTS, type Refusal } from "./refusals.ts";

export interface RequestLimits {
  requestsPerTunnel: number;
  requestsPerKey: number;
  requestsPerVisitor: number;
}

/** Counts the requests that are open, by whose they are. */
export class OpenRequests {
  readonly #limits: RequestLimits;
  readonly #tunnels = new Tally();
  readonly #keys = new Tally();
  readonly #visitors = new Tally();

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /**
   * Counts a request until `close`.
   *
   * @param visitor its network
   * @returns why it may not be; then it is not counted
   */
  open({ tunnel, key }: Route, visitor: string): Refusal | undefined {
    const { requestsPerTunnel, requestsPerKey, requestsPerVisitor } = this.#limits;
    const ofKey = `${key}/${tunnel}`;
    if (this.#visitors.of(visitor) >= requestsPerVisitor) return TOO_MANY_REQUESTS.visitor;
    if (this.#tunnels.of(ofKey) >= requestsPerTunnel) return TOO_MANY_REQUESTS.tunnel;
    if (this.#keys.of(key) >= requestsPerKey) return TOO_MANY_REQUESTS.key;
    this.#tunnels.add(ofKey);
    this.#keys.add(key);
    this.#visitors.add(visitor);
    return undefined;
  }

  close({ tunnel, key }: Route, visitor: string): void {
    this.#tunnels.remove(`${key}/${tunnel}`);
    this.#keys.remove(key);
    this.#visitors.remove(visitor);
  }
}

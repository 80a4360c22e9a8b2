import { setTimeout as sleep } from "node:timers/promises";
import { percentile95 } from "./percentile.ts";
import type { Serve } from "./strict-backend.ts";
import type { Tunnel } from "./tunnel.ts";

const TARGET = "/bystander";
const PAUSE_MS = 5;
/** Fewer say nothing about the slowest of them. */
const MIN_VISITS = 20;

/** The case's service, and one that answers bystanders at once. */
export function besideBystanders(serve: Serve): Serve {
  return (asked) =>
    asked.target === TARGET
      ? asked.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved")
      : serve(asked);
}

/** A visitor beside whatever a case does: it visits again and again on one connection, and must be served each time. */
export class Bystander {
  readonly #times: number[] = [];
  readonly #visits: Promise<void>;
  #leaving = false;

  /** @param host of a tunnel whose service answers everything, or `besideBystanders` */
  constructor(tunnel: Tunnel, host = "app.localhost") {
    this.#visits = this.#visit(tunnel, host);
    // It may fail before the case asks.
    this.#visits.catch(() => {});
  }

  /**
   * The time in milliseconds within which 95 of 100 visits were answered.
   *
   * @throws if one of them was not served
   */
  async leave(): Promise<number> {
    this.#leaving = true;
    await this.#visits;
    return percentile95(this.#times);
  }

  async #visit(tunnel: Tunnel, host: string): Promise<void> {
    const visitor = await tunnel.visitor();
    while (!this.#leaving || this.#times.length < MIN_VISITS) {
      const startedAt = performance.now();
      const { status } = await visitor.request(`GET ${TARGET} HTTP/1.1\r\nHost: ${host}\r\n\r\n`).answer();
      if (status !== 200) throw new Error(`a bystander got ${status}`);
      this.#times.push(performance.now() - startedAt);
      await sleep(PAUSE_MS);
    }
    visitor.close();
  }
}

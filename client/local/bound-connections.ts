import { EarliestTimer } from "./earliest-timer.ts";
import type { ServiceTls } from "./service-tls.ts";
import type { ConnectionOwner, ServiceConnection } from "./service-connection.ts";

/** More than that, and whoever has asked least lately signs in again. */
const MAX_BOUND = 1_024;

/** Connections that are signed in, or about to be, each for one connection of a visitor (`Open.visitor_connection`). */
export class BoundConnections implements ConnectionOwner {
  /** By that number, those in use too; the one used least lately first. */
  readonly #bound = new Map<number, ServiceConnection>();
  readonly #sweeping = new EarliestTimer(() => this.#sweep());
  #closed = false;

  get size(): number {
    return this.#bound.size;
  }

  /**
   * The visitor's own, if it is not in use.
   * @param tls of the site that is asked for now: one that was made for another name is closed
   */
  take(visitor: number, tls?: ServiceTls): ServiceConnection | undefined {
    const connection = this.#bound.get(visitor);
    if (!connection || connection.idleUntilMs === 0) return undefined;
    if (connection.usable && connection.tls === tls && connection.idleUntilMs > performance.now()) {
      connection.idleUntilMs = 0;
      return connection;
    }
    this.end(visitor);
    return undefined;
  }

  /**
   * From now on the connection, which is in use, is this visitor's; one that was before is so no longer.
   * @returns whether it is; not if it was before
   */
  bind(connection: ServiceConnection, visitor: number): boolean {
    if (this.#closed || connection.boundTo !== 0) return this.#bound.get(visitor) === connection;
    this.end(visitor);
    connection.bindTo(visitor, this);
    this.#bound.set(visitor, connection);
    const [oldest] = this.#bound.keys();
    if (this.#bound.size > MAX_BOUND) this.end(oldest!);
    return true;
  }

  /** The visitor has gone. A connection in use is closed behind its answer. */
  end(visitor: number): void {
    const connection = this.#bound.get(visitor);
    this.#bound.delete(visitor);
    if (connection && connection.idleUntilMs > 0) connection.destroy();
  }

  /** Closes all of them; those in use behind their answers. */
  close(): void {
    this.#closed = true;
    this.#sweeping.clear();
    for (const visitor of this.#bound.keys()) this.end(visitor);
  }

  release(connection: ServiceConnection): void {
    const { boundTo } = connection;
    if (this.#bound.get(boundTo) !== connection) return connection.destroy();
    connection.idleUntilMs = performance.now() + connection.idleMs;
    this.#bound.delete(boundTo);
    this.#bound.set(boundTo, connection);
    this.#sweeping.by(connection.idleUntilMs);
  }

  forget(connection: ServiceConnection): void {
    if (this.#bound.get(connection.boundTo) === connection) this.#bound.delete(connection.boundTo);
  }

  #sweep(): void {
    const nowMs = performance.now();
    let nextMs = Infinity;
    for (const [visitor, { idleUntilMs }] of this.#bound) {
      if (idleUntilMs === 0) continue;
      if (idleUntilMs <= nowMs) this.end(visitor);
      else nextMs = Math.min(nextMs, idleUntilMs);
    }
    if (nextMs < Infinity) this.#sweeping.by(nextMs);
  }
}

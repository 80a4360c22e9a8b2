import { EarliestTimer } from "./earliest-timer.ts";
import type { ConnectionOwner, ServiceConnection } from "./service-connection.ts";

const MAX_IDLE = 128;
/**
 * More may lie idle for a moment: many answers end in the same turn, and the visitors' next requests come in the next ones. Closing
 * their connections in between took two fifths of the CPU at 256 requests at a time (measured). Only those of requests
 * that take idle ones, so that there are no more of them than requests at a time.
 */
const CROWD_IDLE_MS = 1_000;
const MAX_CROWD = 1_024;

/** Connections that wait for anybody's next exchange, the one used last first. */
export class IdleConnections implements ConnectionOwner {
  /** Given back in this turn of the event loop, and in the one before. */
  #released: ServiceConnection[] = [];
  #watched: ServiceConnection[] = [];
  #turning = false;

  readonly #idle: ServiceConnection[] = [];
  readonly #sweeping = new EarliestTimer(() => this.#sweep());
  #closed = false;
  readonly #maxIdle: number;

  constructor(maxIdle = MAX_IDLE) {
    this.#maxIdle = maxIdle;
  }

  get size(): number {
    return this.#idle.length;
  }

  /** Takes one out. */
  take(): ServiceConnection | undefined {
    const nowMs = performance.now();
    for (let last = this.#idle.pop(); last; last = this.#idle.pop()) {
      const isUsable = last.usable && last.idleUntilMs > nowMs;
      last.idleUntilMs = 0;
      if (isUsable) return last;
      last.destroy();
    }
    return undefined;
  }

  /** Closes all of them, and those that are given back from now on. */
  close(): void {
    this.#closed = true;
    this.#sweeping.clear();
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  release(connection: ServiceConnection): void {
    this.#released.push(connection);
    if (this.#turning) return;
    this.#turning = true;
    setImmediate(this.#turn);
  }

  forget(connection: ServiceConnection): void {
    // Most that close are not among them.
    if (connection.idleUntilMs === 0) return;
    const index = this.#idle.lastIndexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
  }

  /** What a service said or did behind its answer is seen in the next turn at the latest; before that nobody gets its connection. */
  readonly #turn = () => {
    for (const connection of this.#watched) this.#keep(connection);
    this.#watched = this.#released;
    this.#released = [];
    this.#turning = this.#watched.length > 0;
    if (this.#turning) setImmediate(this.#turn);
  };

  #keep(connection: ServiceConnection): void {
    const most = connection.mayCrowd ? MAX_CROWD : this.#maxIdle;
    if (this.#closed || !connection.usable || this.#idle.length >= most) {
      connection.destroy();
      return;
    }
    const idleMs =
      this.#idle.length < this.#maxIdle ? connection.idleMs : Math.min(connection.idleMs, CROWD_IDLE_MS);
    connection.idleUntilMs = performance.now() + idleMs;
    this.#idle.push(connection);
    this.#sweeping.by(connection.idleUntilMs);
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const connection of this.#idle.filter(({ idleUntilMs }) => idleUntilMs <= nowMs)) {
      this.forget(connection);
      connection.destroy();
    }
    if (this.#idle.length > 0)
      this.#sweeping.by(Math.min(...this.#idle.map(({ idleUntilMs }) => idleUntilMs)));
  }
}

import type { Log } from "../../runtime/log.ts";

const WARN_MS = 60_000;

/** Warns of what a flood may cause again and again: once a minute at most. */
export class SeldomWarning {
  readonly #log: Pick<Log, "warn">;
  #warnedAt = -Infinity;

  constructor(log: Pick<Log, "warn">) {
    this.#log = log;
  }

  warn(fields: Record<string, unknown>, message: string): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    this.#log.warn(fields, message);
  }
}

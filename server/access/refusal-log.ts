import type { Log } from "../../runtime/log.ts";
import { RecentMap } from "./recent-map.ts";

/** One line for each network in this time, */
const LINE_EACH_MS = 60_000;
/** and so many for all networks: whoever has many of them fills no disk either. */
const MAX_LINES = 60;
const MAX_REMEMBERED = 10_000;

export interface Refusal {
  peer: string;
  network: string;
  code: string;
  reason: string;
}

interface Quiet {
  loggedAt: number;
  /** Refusals since then. */
  count: number;
}

/** Says in the log who was refused, and not for every try; each one is there at level debug. */
export class RefusalLog {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #quiet = new RecentMap<string, Quiet>(MAX_REMEMBERED);
  #minuteStart = -Infinity;
  #lines = 0;

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  refused({ network, ...fields }: Refusal): void {
    const now = this.#now();
    const quiet = this.#quiet.get(network);
    if ((quiet && now - quiet.loggedAt < LINE_EACH_MS) || !this.#mayWrite(now)) {
      if (quiet) quiet.count++;
      this.#log.debug(fields, "client refused");
      return;
    }
    this.#quiet.set(network, { loggedAt: now, count: 0 });
    this.#log.warn({ ...fields, ...(quiet?.count && { unlogged: quiet.count }) }, "client refused");
  }

  #mayWrite(now: number): boolean {
    if (now - this.#minuteStart >= LINE_EACH_MS) {
      this.#minuteStart = now;
      this.#lines = 0;
    }
    return this.#lines++ < MAX_LINES;
  }
}

import type { Link } from "../../link/link.ts";

/** A connection over which a stream opens is asked this often whether it lives. */
const ASK_EACH_MS = 1_000;
/** More than the longest round trip; one that does not answer for so long is taken only if the others are no better. */
const SILENT_MS = 2_500;

/**
 * One of a session's connections, and whether its other end answers. Its probe (link/liveness.ts) takes up to 25 s to find
 * that out, in which visitors would go on landing on a dead one; so whoever opens a stream asks along, and who
 * comes later sees what became of it. No timer runs for that.
 */
export class Connection {
  readonly link: Link;
  #silent = false;
  #asking = false;
  #askedAt = -Infinity;
  /** What had arrived at the last look, and since when it has been no more. */
  #received = 0;
  #quietSince = 0;

  constructor(link: Link) {
    this.link = link;
  }

  look(now: number): void {
    if (this.link.received !== this.#received) {
      this.#received = this.link.received;
      this.#quietSince = now;
    }
    // The answer may wait behind data: as long as anything arrives, it lives.
    this.#silent = this.#asking && now - this.#quietSince > SILENT_MS;
  }

  isBetterThan(other: Connection): boolean {
    if (this.#silent !== other.#silent) return other.#silent;
    return this.link.streams < other.link.streams;
  }

  ask(now: number): void {
    if (this.#asking || now - this.#askedAt < ASK_EACH_MS) return;
    this.#asking = true;
    this.#askedAt = this.#quietSince = now;
    this.link.ping(() => {
      this.#asking = false;
    });
  }
}

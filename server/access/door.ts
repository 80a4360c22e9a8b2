import type { Log } from "../../runtime/log.ts";
import type { DoorLimits } from "./client-limits.ts";
import { GuessLimit } from "./guess-limit.ts";
import { Places } from "./places.ts";
import { RefusalLog } from "./refusal-log.ts";
import { RefusedHellos } from "./refused-hellos.ts";

/** What stands between the network and a session: how many may knock at once, and how often. */
export class Door {
  /** Calls that have not been let in yet. */
  readonly calls: Places;
  readonly guesses: GuessLimit;
  readonly refusedHellos: RefusedHellos;
  readonly refusals: RefusalLog;

  constructor(options: { limits: DoorLimits; log: Log; now: () => number }) {
    const { limits, log, now } = options;
    this.calls = new Places(limits.callsPerAddress, limits.calls);
    this.guesses = new GuessLimit(now);
    this.refusedHellos = new RefusedHellos(now);
    this.refusals = new RefusalLog(log, now);
  }
}

/** What clients may use of the server, so that one of them leaves the others theirs; as in the config (server/config/limits.ts). */
export interface SessionLimits {
  sessionsPerKey: number;
  sessionsPerAddress: number;
  /** Visitors that are served through one session. */
  streamsPerSession: number;
}

/** What those may use who have not been let in, or never will be. */
export interface DoorLimits {
  /** Calls of one address that have not been let in yet. */
  callsPerAddress: number;
  /** Calls of all addresses that have not been let in yet. */
  calls: number;
}

export const DOOR_LIMITS: Readonly<DoorLimits> = {
  // A thousand clients that start at once behind one address had up to that many on their way in; 256 turned 1,500 calls away.
  callsPerAddress: 1_024,
  calls: 4_096,
};

/** What clients may use of the server, so that one of them, or one who is none, leaves the others theirs. */
export interface ClientLimits {
  sessionsPerKey: number;
  sessionsPerAddress: number;
  /** Visitors that are served through one session. */
  streamsPerSession: number;
  /** TCP connections of one address to the gRPC port. */
  connectionsPerAddress: number;
  /** Calls of one address that have not been let in yet. */
  callsPerAddress: number;
  /** Calls of all addresses that have not been let in yet. */
  calls: number;
}

export const CLIENT_LIMITS: Readonly<ClientLimits> = {
  sessionsPerKey: 2_048,
  // A thousand machines behind one NAT, several times over.
  sessionsPerAddress: 4_096,
  streamsPerSession: 20_000,
  // A thousand clients with four connections each, and as many that are being replaced.
  connectionsPerAddress: 8_192,
  // A thousand clients that start at once behind one address had up to that many on their way in; 256 turned 1,500 calls away.
  callsPerAddress: 1_024,
  calls: 4_096,
};

import type { Place } from "../routing/place.ts";

/** Places that one client holds, or that are kept for its return. */
export interface Reservation {
  keyId: string;
  clientId: string;
  /** When the client left, in milliseconds since 1970; absent while it is there. */
  leftAt?: number | undefined;
  places: readonly Place[];
}

/** What a server that starts must know of the one that ran before. */
export interface Remembered {
  /** Later ones count where two have the same place. */
  reservations: Iterable<Reservation>;
  /** Where tunnels without a port of their own were last, by their identity (sessions/public-ports.ts). */
  lastPorts: Iterable<readonly [identity: string, port: number]>;
}

/** Keeps it: in a file today. */
export interface ReservationStore {
  /** Never throws: what cannot be read is nothing, and the log says so. */
  load(): Promise<Remembered>;
  /**
   * Replaces all of it. Both lists are read piece by piece, and may change meanwhile.
   *
   * @throws Error with a message for people
   */
  save(remembered: Remembered): Promise<void>;
}

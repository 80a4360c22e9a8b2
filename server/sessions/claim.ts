import type { Place } from "../routing/place.ts";
import type { Route } from "../routing/route.ts";
import type { Session } from "./session.ts";

/** The place of one tunnel, held by a session, or kept for a client that may come back. */
export interface Claim extends Route {
  readonly place: Place;
  /** By the client, other than what the server maps to its key. */
  readonly isAsked: boolean;
  /** As the session's client knows it. */
  readonly tunnelId: number;
  readonly keyId: string;
  readonly clientId: string;
  session: Session | undefined;
  /** When the session left; on the clock of the claims. */
  leftAt: number;
  /** How many of the place's names are still its own: ports may have gone to another client of the key since. */
  names: number;
}

import type { Route } from "../routing/route.ts";
import type { Session } from "./session.ts";

/** How long a name stays its key's after the client has left: nobody else may take it in the meantime. */
const RESERVED_MS = 10 * 60_000;
/** Names that are kept for one key; whoever leaves more behind loses the first of them. */
const MAX_RESERVED = 1_024;

interface Claim extends Route {
  readonly keyId: string;
  session: Session | undefined;
  /** When the session left; on the clock of `now`. */
  leftAt: number;
}

export type ClaimHolder = Readonly<Pick<Claim, "keyId" | "session">>;

/** Which public names are held, by whom, and which are kept for a client that may come back. */
export class Claims {
  readonly #claims = new Map<string, Claim>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Who holds the name, or held it until a short while ago. */
  holder(hostname: string): ClaimHolder | undefined {
    return this.#current(hostname);
  }

  /** Where visitors of exactly this name go; a route without `open` while the client is away. */
  route(hostname: string): Route | undefined {
    return this.#current(hostname);
  }

  take(session: Session): void {
    for (const tunnel of session.tunnels) {
      this.#claims.set(tunnel.hostname, {
        tunnel: tunnel.name,
        key: session.keyName,
        keyId: session.keyId,
        session,
        leftAt: 0,
        open: (request, handler) =>
          session.open({ tunnel: tunnel.id, kind: tunnel.kind, ...request }, handler),
      });
    }
  }

  /** The session serves its names no longer; they stay reserved for its key, and free for a client of that key. */
  withdraw(session: Session): void {
    for (const tunnel of session.tunnels) {
      const claim = this.#claims.get(tunnel.hostname);
      if (claim?.session !== session) continue;
      claim.open = undefined;
      claim.session = undefined;
      claim.leftAt = this.#now();
    }
    this.#forgetExpired();
    this.#forgetBeyondLimit(session.keyId);
  }

  #current(hostname: string): Claim | undefined {
    const claim = this.#claims.get(hostname);
    if (!claim || !this.#expired(claim)) return claim;
    this.#claims.delete(hostname);
    return undefined;
  }

  #forgetExpired(): void {
    for (const [hostname, claim] of this.#claims) {
      if (this.#expired(claim)) this.#claims.delete(hostname);
    }
  }

  #forgetBeyondLimit(keyId: string): void {
    const reserved = [...this.#claims].filter(([, claim]) => claim.keyId === keyId && !claim.session);
    if (reserved.length <= MAX_RESERVED) return;
    reserved.sort(([, a], [, b]) => a.leftAt - b.leftAt);
    for (const [hostname] of reserved.slice(0, -MAX_RESERVED)) this.#claims.delete(hostname);
  }

  #expired(claim: Claim): boolean {
    return claim.session === undefined && this.#now() - claim.leftAt > RESERVED_MS;
  }
}

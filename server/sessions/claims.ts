import { publicNamesOf } from "../routing/place.ts";
import type { Route } from "../routing/route.ts";
import type { Session } from "./session.ts";

/** How long a name stays its key's after the client has left: nobody else may take it in the meantime. */
const RESERVED_MS = 10 * 60_000;
/** A client that left this long ago is not coming back in a moment; between two tries it waits at most half of this. */
const RETURNING_MS = 30_000;
/** Names that are kept for one key; whoever leaves more behind loses the first of them. */
const MAX_RESERVED = 1_024;

interface Claim extends Route {
  readonly keyId: string;
  readonly clientId: string;
  session: Session | undefined;
  /** When the session left; on the clock of `now`. */
  leftAt: number;
}

export type ClaimHolder = Readonly<Pick<Claim, "keyId" | "clientId" | "session">>;

/** Which public names are held, by whom, and which are kept for a client that may come back. */
export class Claims {
  readonly #claims = new Map<string, Claim>();
  /** By name: who wants to know when it is served again. */
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #now: () => number;
  readonly #startedAt: number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#startedAt = now();
  }

  /** Who holds the name, or held it until a short while ago. */
  holder(name: string): ClaimHolder | undefined {
    return this.#current(name);
  }

  /** Where visitors of exactly this name go; a route without `open` while the client is away. */
  route(name: string): Route | undefined {
    const claim = this.#current(name);
    if (!claim || claim.session || this.#now() - claim.leftAt > RETURNING_MS) return claim;
    return { ...claim, whenBack: (callback) => this.#wait(name, callback) };
  }

  /** The route of a name whose client has not been here since the server started. */
  awayRoute(name: string, route: Route): Route {
    if (this.#now() - this.#startedAt > RETURNING_MS) return route;
    return { ...route, whenBack: (callback) => this.#wait(name, callback) };
  }

  take(session: Session): void {
    for (const tunnel of session.tunnels) {
      publicNamesOf(tunnel).forEach((name, portOffset) => {
        this.#claims.set(name, {
          tunnel: tunnel.name,
          key: session.keyName,
          keyId: session.keyId,
          clientId: session.clientId,
          hostHeader: tunnel.hostHeader,
          timeoutMs: tunnel.timeoutMs,
          proxyProtocol: tunnel.proxyProtocol,
          limits: tunnel.limits,
          session,
          leftAt: 0,
          open: ({ requestId, visitor, head, end, visitorConnection }, handler) =>
            session.open(
              {
                tunnel: tunnel.id,
                kind: tunnel.kind,
                requestId,
                visitor,
                head,
                end,
                portOffset,
                visitorConnection,
              },
              handler,
            ),
          visitorLeft: (visitorConnection) => session.visitorLeft(visitorConnection),
        });
      });
    }
    // The session gets its first connection in this turn of the event loop, and takes no streams before.
    setImmediate(() => this.#wake(session));
  }

  /** The session serves its names no longer; they stay reserved for its key, and free for a client of that key. */
  withdraw(session: Session): void {
    for (const name of session.publicNames) {
      const claim = this.#claims.get(name);
      if (claim?.session !== session) continue;
      claim.open = undefined;
      claim.visitorLeft = undefined;
      claim.session = undefined;
      claim.leftAt = this.#now();
    }
    this.#forgetExpired();
    this.#forgetBeyondLimit(session.keyId);
  }

  /** Keeps nothing for keys that are no more. */
  forget(keyIds: ReadonlySet<string>): void {
    for (const [name, claim] of this.#claims) {
      if (!claim.session && keyIds.has(claim.keyId)) this.#claims.delete(name);
    }
  }

  #wake(session: Session): void {
    for (const name of session.publicNames) {
      const callbacks = this.#waiting.get(name);
      this.#waiting.delete(name);
      for (const callback of callbacks ?? []) callback();
    }
  }

  #wait(name: string, callback: () => void): () => void {
    let callbacks = this.#waiting.get(name);
    if (!callbacks) this.#waiting.set(name, (callbacks = new Set()));
    callbacks.add(callback);
    return () => {
      callbacks.delete(callback);
      if (callbacks.size === 0 && this.#waiting.get(name) === callbacks) this.#waiting.delete(name);
    };
  }

  #current(name: string): Claim | undefined {
    const claim = this.#claims.get(name);
    if (!claim || !this.#expired(claim)) return claim;
    this.#claims.delete(name);
    return undefined;
  }

  #forgetExpired(): void {
    for (const [name, claim] of this.#claims) {
      if (this.#expired(claim)) this.#claims.delete(name);
    }
  }

  #forgetBeyondLimit(keyId: string): void {
    const reserved = [...this.#claims].filter(([, claim]) => claim.keyId === keyId && !claim.session);
    if (reserved.length <= MAX_RESERVED) return;
    reserved.sort(([, a], [, b]) => a.leftAt - b.leftAt);
    for (const [name] of reserved.slice(0, -MAX_RESERVED)) this.#claims.delete(name);
  }

  #expired(claim: Claim): boolean {
    return claim.session === undefined && this.#now() - claim.leftAt > RESERVED_MS;
  }
}

import { TunnelError } from "../../link/errors.ts";
import type { TunnelRequest } from "../../link/messages.ts";
import type { Log } from "../../runtime/log.ts";
import type { Key } from "../access/key-ring.ts";
import type { Route } from "../routing/route.ts";
import { Claims } from "./claims.ts";
import { nameTunnels, type NamingRules } from "./naming.ts";
import { Session } from "./session.ts";

export interface Registration {
  key: Key;
  clientId: string;
  wanted: TunnelRequest[];
  maxConnections: number;
}

/** The connected clients and the names they serve. */
export class Registry {
  readonly #rules: NamingRules;
  readonly #log: Log;
  readonly #claims: Claims;
  readonly #sessions = new Map<string, Session>();

  constructor(options: { rules: NamingRules; log: Log; now?: () => number }) {
    this.#rules = options.rules;
    this.#log = options.log;
    this.#claims = new Claims(options.now);
  }

  /**
   * Starts a session and gives it all its names, or none. Whoever held one of them with the same key ends.
   *
   * @throws TunnelError `name_refused`
   */
  register(registration: Registration): Session {
    const { key, clientId, wanted, maxConnections } = registration;
    const tunnels = nameTunnels(key, clientId, wanted, this.#rules);
    const replaced = new Set<Session>();
    for (const { hostname } of tunnels) {
      const holder = this.#claims.holder(hostname);
      if (!holder) continue;
      if (holder.keyId !== key.id) {
        throw new TunnelError(
          "name_refused",
          `The name ${hostname} is taken by another key. Choose another name.`,
        );
      }
      if (holder.session) replaced.add(holder.session);
    }
    for (const session of replaced) {
      session.end(
        new TunnelError(
          "replaced",
          "Another client has taken over these tunnels with the same key. Run one client for each, or ask for other names.",
        ),
      );
    }
    const session: Session = new Session({
      keyId: key.id,
      keyName: key.name,
      clientId,
      tunnels,
      maxConnections,
      onDraining: () => this.#claims.withdraw(session),
      onEnded: (reason) => this.#ended(session, reason),
    });
    this.#sessions.set(session.token, session);
    this.#claims.take(session);
    this.#log.info(
      { key: key.name, client: clientId, tunnels: tunnels.map(({ url }) => url) },
      "client online",
    );
    return session;
  }

  /** The session that a further connection of this client belongs to. */
  find(token: string, key: Key, clientId: string): Session | undefined {
    const session = this.#sessions.get(token);
    return session?.keyId === key.id && session.clientId === clientId ? session : undefined;
  }

  /** Where visitors of a hostname go: to who claims it, else to who claims whatever no other name takes. */
  findRoute(hostname: string): Route | undefined {
    return (
      this.#claims.route(hostname) ??
      this.#awayRoute(hostname) ??
      this.#claims.route("*") ??
      this.#awayRoute("*")
    );
  }

  /** Visitors that are being served. */
  get streams(): number {
    let streams = 0;
    for (const session of this.#sessions.values()) streams += session.streams;
    return streams;
  }

  endSessionsOfKeys(keyIds: ReadonlySet<string>, error: TunnelError): void {
    for (const session of this.#sessions.values()) {
      if (keyIds.has(session.keyId)) session.end(error);
    }
  }

  drain(graceMs: number): void {
    for (const session of this.#sessions.values()) session.drain(graceMs);
  }

  end(): void {
    for (const session of this.#sessions.values()) session.end();
  }

  /** A name that the config maps to a client that has not come yet. */
  #awayRoute(hostname: string): Route | undefined {
    const owner = this.#rules.ownerOf(hostname);
    const tunnel = owner?.tunnels.find((mapped) => mapped.hostname === hostname);
    return owner && tunnel && { tunnel: tunnel.name, key: owner.name, open: undefined };
  }

  #ended(session: Session, reason?: TunnelError): void {
    this.#sessions.delete(session.token);
    this.#claims.withdraw(session);
    this.#log.info(
      { key: session.keyName, client: session.clientId, reason: reason?.message ?? "it left" },
      "client offline",
    );
  }
}

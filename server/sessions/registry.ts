import { TunnelError } from "../../link/errors.ts";
import type { TunnelRequest } from "../../link/messages.ts";
import type { Log } from "../../runtime/log.ts";
import { Tally } from "../../runtime/tally.ts";
import { DOOR_LIMITS, type DoorLimits, type SessionLimits } from "../access/client-limits.ts";
import { Door } from "../access/door.ts";
import { namesOf, type Key } from "../access/key-ring.ts";
import { wildcardsOver } from "../routing/hostname.ts";
import { type PortKind, portName, publicNamesOf, tlsName } from "../routing/place.ts";
import type { Route } from "../routing/route.ts";
import { Claims } from "./claims.ts";
import { nameTunnels, type NamingRules, type SessionTunnel } from "./naming.ts";
import { type PortClaimant, type PortOpener, PublicPorts } from "./public-ports.ts";
import { Session } from "./session.ts";

export interface Registration {
  key: Key;
  clientId: string;
  wanted: TunnelRequest[];
  maxConnections: number;
  /** Where it comes from (runtime/ip-address.ts). */
  network: string;
}

/** The connected clients and the names they serve. */
export class Registry {
  readonly #rules: NamingRules;
  readonly #log: Log;
  readonly #claims: Claims;
  readonly #limits: SessionLimits;
  readonly #ports: PublicPorts;
  readonly #holdMs: number;
  readonly #now: () => number;
  readonly #sessions = new Map<string, Session>();
  readonly #perKey = new Tally();
  readonly #perNetwork = new Tally();
  /** What clients pass before they get here. */
  readonly door: Door;

  constructor(options: {
    rules: NamingRules;
    log: Log;
    limits: SessionLimits;
    /** Where visitors of ports arrive. */
    opener: PortOpener;
    /** How long a port stays open once its client has left: its visitors wait for the client to come back. */
    holdMs: number;
    /** What tests make small. */
    doorLimits?: Partial<DoorLimits>;
    now?: (() => number) | undefined;
  }) {
    this.#rules = options.rules;
    this.#log = options.log;
    this.#limits = options.limits;
    this.#now = options.now ?? (() => performance.now());
    this.#claims = new Claims(this.#now);
    this.#holdMs = options.holdMs;
    this.#ports = new PublicPorts({
      opener: options.opener,
      rules: this.#rules,
      mayHold: (name, who) => this.#mayHold(name, who),
      isHeld: (name) => this.#claims.holder(name)?.session !== undefined,
    });
    this.door = new Door({
      limits: { ...DOOR_LIMITS, ...options.doorLimits },
      log: this.#log,
      now: this.#now,
    });
  }

  /**
   * Names the tunnels that a client gets, and opens their ports. `register` has to follow with them, or `abandon`.
   *
   * @throws TunnelError `name_refused`, `port_taken`
   */
  async prepare({ key, clientId, wanted }: Registration): Promise<SessionTunnel[]> {
    const tunnels = nameTunnels(key, clientId, wanted, this.#rules);
    if (!tunnels.some((tunnel) => "port" in tunnel)) return tunnels;
    // Before anything is opened that another key has.
    this.#holdersOf(tunnels, key);
    return await this.#ports.open(tunnels, { keyId: key.id, clientId });
  }

  /** The client that these were prepared for has gone. */
  abandon(tunnels: readonly SessionTunnel[]): void {
    this.#ports.settle(tunnels.flatMap(publicNamesOf));
  }

  /**
   * Starts a session and gives it all its names, or none. Whoever held one of them ends: with the same key, or with another
   * to which the name is written as well.
   *
   * @param tunnels as `prepare` gave them
   * @throws TunnelError `name_refused`, `overloaded`
   */
  register(registration: Registration, tunnels: readonly SessionTunnel[]): Session {
    try {
      return this.#register(registration, tunnels);
    } finally {
      this.#ports.settle(tunnels.flatMap(publicNamesOf));
    }
  }

  #register(registration: Registration, tunnels: readonly SessionTunnel[]): Session {
    const { key, clientId, maxConnections, network } = registration;
    const replaced = this.#holdersOf(tunnels, key);
    this.#checkRoom(registration, replaced);
    for (const session of replaced) {
      session.end(
        new TunnelError(
          "replaced",
          "Another client has taken over these tunnels with a key that owns them too. Run one client for each, or ask for other names.",
        ),
      );
    }
    const session: Session = new Session({
      keyId: key.id,
      keyName: key.name,
      clientId,
      tunnels,
      maxConnections,
      network,
      maxStreams: this.#limits.streamsPerSession,
      now: this.#now,
      log: this.#log.child({ key: key.name, client: clientId }),
      onDraining: () => this.#claims.withdraw(session),
      onEnded: (reason) => this.#ended(session, reason),
    });
    this.#sessions.set(session.token, session);
    this.#perKey.add(session.keyId);
    this.#perNetwork.add(session.network);
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

  /** Where visitors of a hostname go: to who claims it, else the closest wildcard over it, else `*`. */
  findRoute(hostname: string): Route | undefined {
    return this.#closestRoute(hostname, (name) => name);
  }

  /** As `findRoute`, of those who arrive over TLS. */
  findTlsRoute(hostname: string): Route | undefined {
    return this.#closestRoute(hostname, tlsName);
  }

  /** Where visitors of a port go. */
  findPortRoute(kind: PortKind, port: number): Route | undefined {
    return this.#routeOf(portName(kind, port));
  }

  /** Visitors that are being served. */
  get streams(): number {
    let streams = 0;
    for (const session of this.#sessions.values()) streams += session.streams;
    return streams;
  }

  /** Ends the sessions of these keys, and keeps no name for them. */
  revoke(keyIds: ReadonlySet<string>, error: TunnelError): void {
    for (const session of this.#sessions.values()) {
      if (keyIds.has(session.keyId)) session.end(error);
    }
    this.#claims.forget(keyIds);
  }

  drain(graceMs: number): void {
    for (const session of this.#sessions.values()) session.drain(graceMs);
  }

  end(): void {
    for (const session of this.#sessions.values()) session.end();
  }

  #closestRoute(hostname: string, nameOf: (hostname: string) => string): Route | undefined {
    const route = this.#routeOf(nameOf(hostname));
    if (route) return route;
    for (const wildcard of wildcardsOver(hostname)) {
      const wild = this.#routeOf(nameOf(wildcard));
      if (wild) return wild;
    }
    return this.#routeOf(nameOf("*"));
  }

  #routeOf(name: string): Route | undefined {
    return this.#claims.route(name) ?? this.#awayRoute(name);
  }

  /** A name that the config maps to a client that has not come yet. */
  #awayRoute(name: string): Route | undefined {
    for (const owner of this.#rules.ownersOf(name)) {
      const tunnel = owner.tunnels.find((mapped) => publicNamesOf(mapped).includes(name));
      if (tunnel) return this.#claims.awayRoute(name, { tunnel: tunnel.name, key: owner.name });
    }
    return undefined;
  }

  /**
   * Who will have to go.
   *
   * @throws TunnelError `name_refused`
   */
  #holdersOf(tunnels: readonly SessionTunnel[], key: Key): Set<Session> {
    const own = namesOf(key);
    const holders = new Set<Session>();
    for (const tunnel of tunnels) {
      // A hostname is one key's, over HTTP and TLS.
      if (!("hostname" in tunnel)) continue;
      for (const name of [tunnel.hostname, tlsName(tunnel.hostname)]) {
        const holder = this.#claims.holder(name);
        if (holder && holder.keyId !== key.id && !own.has(name)) throw taken(tunnel.hostname);
      }
    }
    for (const name of tunnels.flatMap(publicNamesOf)) {
      const holder = this.#claims.holder(name);
      if (!holder) continue;
      // One key takes over from another where the server's owner has written the name to both.
      if (holder.keyId !== key.id && !own.has(name)) throw taken(name);
      if (holder.session) holders.add(holder.session);
    }
    return holders;
  }

  #mayHold(name: string, { keyId, clientId }: PortClaimant): boolean {
    const holder = this.#claims.holder(name);
    return holder === undefined || (holder.keyId === keyId && holder.clientId === clientId);
  }

  /** @throws TunnelError `overloaded`, if there is no room for one more in place of those that it replaces */
  #checkRoom({ key, network }: Registration, replaced: ReadonlySet<Session>): void {
    const { sessionsPerKey, sessionsPerAddress } = this.#limits;
    const leaving = [...replaced];
    const ofKey = this.#perKey.of(key.id) - leaving.filter((session) => session.keyId === key.id).length;
    if (ofKey >= sessionsPerKey) {
      throw new TunnelError(
        "overloaded",
        `${ofKey} clients are connected with this key, as many as one key may have (limits.sessions_per_key).`,
      );
    }
    const ofNetwork =
      this.#perNetwork.of(network) - leaving.filter((session) => session.network === network).length;
    if (ofNetwork >= sessionsPerAddress) {
      throw new TunnelError(
        "overloaded",
        `${ofNetwork} clients are connected from your address, as many as one address may have (limits.sessions_per_address).`,
      );
    }
  }

  #ended(session: Session, reason: string): void {
    this.#sessions.delete(session.token);
    this.#perKey.remove(session.keyId);
    this.#perNetwork.remove(session.network);
    this.#claims.withdraw(session);
    this.#log.info({ key: session.keyName, client: session.clientId, reason }, "client offline");
    setTimeout(() => this.#ports.closeUnheld(session.publicNames), this.#holdMs).unref();
  }
}

function taken(name: string): TunnelError {
  return new TunnelError("name_refused", `The name ${name} is taken by another key. Choose another name.`);
}

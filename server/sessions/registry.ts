import { TunnelError } from "../../link/errors.ts";
import type { TunnelRequest } from "../../link/messages.ts";
import type { Log } from "../../runtime/log.ts";
import { Tally } from "../../runtime/tally.ts";
import { Turnstile } from "../../runtime/turnstile.ts";
import { DOOR_LIMITS, type DoorLimits, type SessionLimits } from "../access/client-limits.ts";
import { Door } from "../access/door.ts";
import { namesOf } from "../access/key-names.ts";
import type { Key } from "../access/key.ts";
import type { Owner } from "../access/name-owners.ts";
import { wildcardsOver } from "../routing/hostname.ts";
import { hostName, type PortKind, portName, tlsName } from "../routing/place.ts";
import type { Route } from "../routing/route.ts";
import type { Remembered } from "../store/reservations.ts";
import { AskedByKeys, askedIn, type AskedLimits, checkAsked } from "./asked.ts";
import { Claims } from "./claims.ts";
import { nameTunnels, type NamingRules, type SessionTunnel } from "./naming.ts";
import { type PortClaimant, type PortOpener, PublicPorts } from "./public-ports.ts";
import { Session } from "./session.ts";

/** Clients whose tunnels are named in one turn of the event loop: a thousand may come at once, and visitors are served meanwhile. */
const HELLOS_PER_TURN = 4;

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
  readonly #limits: SessionLimits & AskedLimits;
  readonly #asked: AskedByKeys;
  readonly #ports: PublicPorts;
  readonly #holdMs: number;
  readonly #now: () => number;
  readonly #naming = new Turnstile(HELLOS_PER_TURN);
  readonly #sessions = new Map<string, Session>();
  readonly #perKey = new Tally();
  readonly #perNetwork = new Tally();
  /** What clients pass before they get here. */
  readonly door: Door;

  constructor(options: {
    rules: NamingRules;
    log: Log;
    limits: SessionLimits & AskedLimits;
    /** Where visitors of ports arrive. */
    opener: PortOpener;
    /** How long a port stays open once its client has left: its visitors wait for the client to come back. */
    holdMs: number;
    /** What tests make small. */
    doorLimits?: Partial<DoorLimits>;
    now?: (() => number) | undefined;
    /** What a restarted server is to remember has changed. */
    onChange?: () => void;
  }) {
    this.#rules = options.rules;
    this.#log = options.log;
    this.#limits = options.limits;
    this.#now = options.now ?? (() => performance.now());
    this.#asked = new AskedByKeys(options.limits);
    this.#claims = new Claims(this.#now, options.onChange);
    this.#holdMs = options.holdMs;
    this.#ports = new PublicPorts({
      opener: options.opener,
      rules: this.#rules,
      mayHold: (kind, port, who) => this.#mayHold(kind, port, who),
      isHeld: (kind, port) => this.#claims.portHolder(kind, port)?.session !== undefined,
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
   * @throws TunnelError `name_refused`, `name_taken`, `port_taken`, `overloaded`
   */
  async prepare({ key, clientId, wanted }: Registration): Promise<readonly SessionTunnel[]> {
    const asked = askedIn(wanted);
    checkAsked(asked, this.#limits);
    await this.#naming.pass();
    const tunnels = nameTunnels(key, clientId, wanted, this.#rules);
    let counted = false;
    try {
      return await this.#ports.open(tunnels, { keyId: key.id, clientId }, (settled) => {
        // Nothing is opened that another key has.
        const replaced = [...this.#holdersOf(settled, key)].filter(({ keyId }) => keyId === key.id);
        this.#asked.add(
          key.id,
          asked,
          replaced.map((session) => session.asked),
        );
        counted = true;
      });
    } catch (error) {
      if (counted) this.#asked.remove(key.id, asked);
      throw error;
    }
  }

  /** The client that these were prepared for has gone. */
  abandon({ key, wanted }: Registration, tunnels: readonly SessionTunnel[]): void {
    this.#asked.remove(key.id, askedIn(wanted));
    this.#ports.release(tunnels);
  }

  /**
   * Starts a session and gives it all its names, or none. Whoever held one of them ends: with the same key, or with another
   * to which the name is written as well.
   *
   * @param tunnels as `prepare` gave them
   * @throws TunnelError `name_refused`, `name_taken`, `overloaded`
   */
  register(registration: Registration, tunnels: readonly SessionTunnel[]): Session {
    try {
      const session = this.#register(registration, tunnels);
      this.#ports.keep(tunnels);
      return session;
    } catch (error) {
      this.abandon(registration, tunnels);
      throw error;
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
          `Another client has taken over these tunnels with ${session.keyId === key.id ? "the same key" : "a key that owns them too"}. Run one client for each, or ask for other names.`,
        ),
      );
    }
    const session: Session = new Session({
      keyId: key.id,
      keyName: key.name,
      clientId,
      tunnels,
      asked: askedIn(registration.wanted),
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
    const route = this.#claims.portRoute(kind, port);
    if (route) return route;
    const away = awayRoute(this.#rules.portOwners(kind, { from: port, to: port }));
    return away && this.#claims.awayPortRoute(kind, port, away);
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
    this.#ports.end();
  }

  /** What a server that starts in place of this one has to know. */
  get remembered(): Remembered {
    this.#claims.forgetExpired();
    return { reservations: this.#claims.reservations(), lastPorts: this.#ports.lastPorts };
  }

  /**
   * Takes over what the server before remembered, before clients come.
   *
   * @param keyName undefined for keys that are no more
   */
  restore({ reservations, lastPorts }: Remembered, keyName: (keyId: string) => string | undefined): void {
    this.#claims.restore(reservations, keyName);
    for (const [identity, port] of lastPorts) this.#ports.lastPorts.set(identity, port);
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
    const route = this.#claims.hostRoute(name);
    if (route) return route;
    const away = awayRoute(this.#rules.ownersOf(name));
    return away && this.#claims.awayHostRoute(name, away);
  }

  /**
   * Who will have to go.
   *
   * @throws TunnelError `name_refused`, `name_taken`
   */
  #holdersOf(tunnels: readonly SessionTunnel[], key: Key): Set<Session> {
    const own = namesOf(key);
    const holders = new Set<Session>();
    for (const tunnel of tunnels) {
      if (!("hostname" in tunnel)) continue;
      const { hostname } = tunnel;
      // A hostname is one key's, over HTTP and TLS.
      for (const name of [hostname, tlsName(hostname)]) {
        const holder = this.#claims.hostHolder(name);
        // One key takes over from another where the server's owner has written the name to both.
        if (holder && holder.keyId !== key.id && !own.hosts.has(name)) throw this.#taken(hostname);
      }
      const session = this.#claims.hostHolder(hostName(tunnel))?.session;
      if (session) holders.add(session);
    }
    for (const tunnel of tunnels) {
      if ("hostname" in tunnel) continue;
      const { kind } = tunnel;
      for (const { holder, from, to } of this.#claims.portHolders(tunnel)) {
        if (holder.session) holders.add(holder.session);
        if (holder.keyId === key.id) continue;
        for (let port = from; port <= to; port++)
          if (!own.ports[kind].has(port)) throw this.#taken(portName(kind, port));
      }
    }
    return holders;
  }

  #taken(name: string): TunnelError {
    const message = `The name ${name} is taken by another key.`;
    return this.#claims.isFilling
      ? new TunnelError(
          "name_taken",
          `${message} The server has just started, so this may change. Wait, or choose another name.`,
        )
      : new TunnelError("name_refused", `${message} Choose another name.`);
  }

  #mayHold(kind: PortKind, port: number, { keyId, clientId }: PortClaimant): boolean {
    const holder = this.#claims.portHolder(kind, port);
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
    this.#asked.remove(session.keyId, session.asked);
    this.#claims.withdraw(session);
    this.#log.info({ key: session.keyName, client: session.clientId, reason }, "client offline");
    this.#ports.closeLater(session.tunnels, this.#holdMs);
  }
}

/** The route of a name that is mapped to a client which has not come yet. */
function awayRoute(owners: readonly Owner[]): Route | undefined {
  for (const { key, tunnel } of owners) if (tunnel) return { tunnel: tunnel.name, key: key.name };
  return undefined;
}

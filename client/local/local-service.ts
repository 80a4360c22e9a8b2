import { DatagramBudget } from "../../link/datagram-queue.ts";
import type { TargetTls } from "../../link/messages.ts";
import type { Target } from "../../link/target.ts";
import { allowedLoopback } from "./allowed-addresses.ts";
import { type DatagramListener, DatagramSocket } from "./datagram-socket.ts";
import { type DialOptions, dialTarget } from "./dial-target.ts";
import { BoundConnections } from "./bound-connections.ts";
import { IdleConnections } from "./idle-connections.ts";
import { isListening, type Listeners } from "./listeners.ts";
import type { LocalRequest } from "./local-request.ts";
import { ServiceConnection } from "./service-connection.ts";
import { type ServiceSite, ServiceSites } from "./service-sites.ts";
import type { ServiceSocket } from "./service-socket.ts";
import { ServiceTls } from "./service-tls.ts";

/** An idle connection is closed after this; sooner if the service says that it will (see `idleTime`). */
const IDLE_MS = 5_000;
/** One that a visitor has signed in: a new one would ask for the password again. */
const BOUND_IDLE_MS = 60_000;
/** The service may close this much before its announced time, and its FIN needs a moment. */
const IDLE_MARGIN_MS = 1_000;

export interface LocalServiceOptions extends Pick<
  DialOptions,
  "target" | "consent" | "timeoutMs" | "resolve"
> {
  /** How an `https://` target is checked, if not by the authorities that Node.js knows. */
  targetTls?: TargetTls | undefined;
}

/**
 * A local service: where it is, whether it may be dialled, and the connections that lie idle.
 *
 * The connection policy: nothing queues, a request without an idle connection gets a new one. Only requests that may be
 * sent twice take idle ones, since the service may be closing them at that moment; all others, and upgrades, get a
 * fresh one. A connection goes back when request and answer are whole and both ends keep it alive; not behind a body, which
 * the service may have left unread for the next request to begin in.
 *
 * A connection that a visitor signs in is that visitor's, for all of its requests, and nobody else's.
 */
export class LocalService {
  readonly target: Target;
  readonly #options: DialOptions;
  readonly #idle = new IdleConnections();
  /** The only site, unless there are `#sites`. */
  readonly #own: ServiceSite;
  readonly #bound = new BoundConnections();
  /** Set if TLS asks for the visitors' own names. */
  readonly #sites: ServiceSites | undefined;
  readonly #datagrams = new DatagramBudget();

  /** @throws Error if `targetTls` cannot be used */
  constructor({ targetTls, ...options }: LocalServiceOptions) {
    const { target } = options;
    this.target = target;
    const tls = "tls" in target ? ServiceTls.to(target, targetTls) : undefined;
    this.#options = tls ? { ...options, tls } : options;
    this.#own = { options: this.#options, idle: this.#idle };
    if (tls && targetTls?.serverNameOfVisitor) this.#sites = new ServiceSites(this.#options, tls);
  }

  get idle(): number {
    return this.#sites?.idle ?? this.#idle.size;
  }

  /** Connections that are bound to a visitor, in use or idle. */
  get bound(): number {
    return this.#bound.size;
  }

  /** The connection for a request. */
  connectionFor(request: LocalRequest): ServiceConnection {
    const { visitor, upgrade, repeatable, signsIn } = request;
    const { options, idle } = this.#site(request);
    const bound = visitor === 0 ? undefined : this.#bound.take(visitor, options.tls);
    if (bound) return bound;
    if (upgrade) return new ServiceConnection({ ...options, allowHalfOpen: true }, idle);
    // A sign-in takes several requests, and an idle connection may be near its end.
    if (!repeatable || signsIn) return this.fresh(request);
    const connection = idle.take() ?? this.fresh(request);
    connection.mayCrowd = true;
    return connection;
  }

  /** A new connection, which may lie idle later. */
  fresh(request: Pick<LocalRequest, "host">): ServiceConnection {
    const { options, idle } = this.#site(request);
    return new ServiceConnection(options, idle);
  }

  /** Makes a connection, which is in use, the visitor's own. @returns whether it is */
  bind(connection: ServiceConnection, visitor: number): boolean {
    return this.#bound.bind(connection, visitor);
  }

  /** A visitor's connection has ended, and its own one here with it. */
  visitorLeft(visitor: number): void {
    this.#bound.end(visitor);
  }

  /** A new connection for bytes of any kind, to the port so far behind the target's. */
  dial(portOffset: number): ServiceSocket {
    return dialTarget({ ...this.#options, target: this.#at(portOffset), allowHalfOpen: true });
  }

  /** A new socket for datagrams, to the port so far behind the target's. */
  dialDatagrams(portOffset: number, listener: DatagramListener): DatagramSocket {
    const { consent, resolve } = this.#options;
    const target = this.#at(portOffset);
    return new DatagramSocket({ target, consent, resolve, budget: this.#datagrams, listener });
  }

  /** Whether the consent leaves it out wherever its name may lead: nothing needs to be looked up. */
  get refused(): boolean {
    const { target } = this;
    const { consent } = this.#options;
    if ("host" in target) return !consent.mayAllow(target.host, target.port);
    try {
      return !consent.judgeSocket(target.path).allowed;
    } catch {
      // It may be dialled, but there is nothing.
      return false;
    }
  }

  /** Whether somebody listens for it on this machine, as far as that shows. */
  isAmong(listeners: Listeners): boolean {
    const { target } = this;
    if ("path" in target) return false;
    const here = allowedLoopback(target, this.#options.consent);
    return here.some((address) => isListening(listeners, address, target.port));
  }

  /** A new connection on which nothing is said, not even TLS: whether somebody takes it. */
  knock(timeoutMs: number): ServiceSocket {
    const { target, consent, resolve } = this.#options;
    return dialTarget({ target, consent, resolve, timeoutMs });
  }

  /** Closes what is idle, and what becomes so. */
  close(): void {
    this.#idle.close();
    this.#bound.close();
    this.#sites?.close();
  }

  #site({ host }: Pick<LocalRequest, "host">): ServiceSite {
    return this.#sites?.of(host) ?? this.#own;
  }

  #at(portOffset: number): Target {
    const { target } = this;
    return "path" in target ? target : { ...target, port: target.port + portOffset };
  }
}

/**
 * How long a connection may lie idle behind an answer with this `Keep-Alive` field; 0: not at all. One that is bound to a visitor has a
 * moment in any case, since a sign-in takes several requests.
 * @param keepAlive such as `timeout=5, max=100`
 */
export function idleTime(keepAlive: string | undefined, isBound = false): number {
  const mostMs = isBound ? BOUND_IDLE_MS : IDLE_MS;
  if (keepAlive === undefined) return mostMs;
  const seconds = /(?:^|[\s,])timeout=(\d+)/i.exec(keepAlive)?.[1];
  if (seconds === undefined) return mostMs;
  const saidMs = Number(seconds) * 1_000;
  const leastMs = isBound ? Math.min(saidMs, IDLE_MARGIN_MS) : 0;
  return Math.max(leastMs, Math.min(mostMs, saidMs - IDLE_MARGIN_MS));
}

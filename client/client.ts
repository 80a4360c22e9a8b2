import { formatTargetRange } from "../link/byte-target.ts";
import { TunnelError } from "../link/errors.ts";
import type { Kind, TargetTls, Tunnel, TunnelRequest, Welcome } from "../link/messages.ts";
import { MAX_PORT } from "../link/port-range.ts";
import { formatTarget, parseTarget, type Target } from "../link/target.ts";
import { UnreadBudget } from "../link/unread-budget.ts";
import type { Log } from "../runtime/log.ts";
import { NameLookup, type Resolve } from "../runtime/name-lookup.ts";
import { formatAddress } from "../runtime/net-address.ts";
import { Backoff } from "./connection/backoff.ts";
import type { ServerAddress } from "./connection/connect.ts";
import { ClientSession, STEADY_MS, type ClientTuning } from "./connection/session.ts";
import { consentTo, type Consent } from "./local/consent.ts";
import { LocalService } from "./local/local-service.ts";
import {
  serveStream,
  type FinishedExchange,
  type FinishedRelay,
  type LocalTunnel,
} from "./local/serve-stream.ts";

/** What visitors may have sent that the local services have not read: less than a server's, since one machine's take it. */
const UNREAD_LIMIT_BYTES = 128 * 1024 * 1024;

/** A tunnel that the client asks for, the target being its own choice. */
export interface WantedTunnel {
  name?: string | undefined;
  kind: Kind;
  /** Of HTTP and TLS: a hostname, a subdomain, or neither: a name that stays the same for this client and port. */
  hostname?: string | undefined;
  subdomain?: string | undefined;
  target: Target;
  /** How an `https://` target is checked, if not by the authorities that Node.js knows. */
  targetTls?: TargetTls | undefined;
  /** What the local service gets as Host, or `target` for the target's own; if left out, what the visitor sent. */
  hostHeader?: string | undefined;
  /** How long an answer's head may take; if left out, the server's own limit. */
  timeoutMs?: number | undefined;
  /** Of TCP and UDP: the public port, or the first of several; if left out, any free one, the same each time. */
  port?: number | undefined;
  /** How many ports, one behind the other, in public and at the target; 1 if left out. */
  ports?: number | undefined;
  /** Of TCP and TLS: the version in which the local service is told who visits; if left out, it is not. */
  proxyProtocol?: 1 | 2 | undefined;
}

export interface ClientOptions {
  server: ServerAddress;
  /** Random, and the same each time the client runs. */
  clientId: string;
  /** None: the tunnels that the server maps to the key. */
  tunnels: WantedTunnel[];
  /** Which targets the server may name. */
  consent: Consent;
  log: Log;
  /** What tests make short. */
  tuning?: ClientTuning;
}

/** A client that serves its tunnels, and comes back whenever the server is lost. */
export class TunnelClient {
  readonly #options: ClientOptions;
  readonly #backoff = new Backoff();
  readonly #unreadBudget = new UnreadBudget(UNREAD_LIMIT_BYTES);
  readonly #names = new NameLookup();
  readonly #stopping = new AbortController();
  #session: ClientSession | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /**
   * Serves until `stop`, or until the signal cuts everything.
   *
   * @throws TunnelError a permanent one; all others are logged, and tried again
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const ended = AbortSignal.any([signal, this.#stopping.signal]);
    while (!ended.aborted) {
      try {
        await this.#runSession(signal);
      } catch (error) {
        if (ended.aborted) break;
        if (!(error instanceof TunnelError) || error.permanent) throw error;
        const retryMs = this.#backoff.next();
        log.warn({ reason: error.message, code: error.code, retryMs }, "offline; trying again");
        await this.#backoff.wait(retryMs, ended);
      }
    }
  }

  /** Takes no new streams, lets open ones finish for at most `graceMs`. `run` ends then. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    await this.#session?.stop(graceMs);
  }

  async #runSession(signal: AbortSignal): Promise<void> {
    const { server, clientId, tunnels, log, tuning } = this.#options;
    const served = new Map<number, LocalTunnel>();
    let onlineAt = Number.POSITIVE_INFINITY;
    const session = new ClientSession({
      server,
      clientId,
      wanted: tunnels.map(toRequest),
      tuning,
      unreadBudget: this.#unreadBudget,
      names: this.#names,
      onOnline: (welcome: Welcome) => {
        onlineAt = performance.now();
        this.#serve(served, welcome.tunnels);
        log.info(
          {
            server: formatAddress(addressOf(server)),
            proxy: server.proxy && formatAddress(server.proxy),
            version: welcome.version,
          },
          "online",
        );
        this.#announce(welcome.tunnels);
      },
      onTunnels: (changed) => {
        this.#serve(served, changed);
        this.#announce(changed);
      },
      onStream: (stream, open) =>
        serveStream(stream, open, {
          tunnels: served,
          finished: (exchange) => this.#logExchange(exchange),
          finishedRelay: (relay) => this.#logRelay(relay),
        }),
      onServerDrain: () => log.info("the server is about to stop; open requests may finish"),
      onConnectionTrouble: (error) => log.debug({ reason: error.message }, "one of the connections was lost"),
    });
    this.#session = session;
    try {
      await session.run(signal);
    } finally {
      if (performance.now() - onlineAt >= STEADY_MS) this.#backoff.reset();
      else if (onlineAt !== Number.POSITIVE_INFINITY) this.#backoff.ease();
      withdraw(served);
    }
  }

  /** Fills the map of what is served; it stays the same map, since streams look into it. */
  #serve(served: Map<number, LocalTunnel>, tunnels: Tunnel[]): void {
    withdraw(served);
    for (const tunnel of tunnels) {
      const wanted = tunnel.request === undefined ? undefined : this.#options.tunnels[tunnel.request];
      const resolve = this.#names.target;
      const service = wanted
        ? typedService(wanted, resolve)
        : mappedService(tunnel, this.#options.consent, resolve);
      if (service instanceof LocalService) {
        served.set(tunnel.id, { name: tunnel.name, kind: tunnel.kind, ports: tunnel.ports || 1, service });
      } else {
        this.#options.log.warn(
          { tunnel: tunnel.name, target: tunnel.target },
          `the server names an odd target: ${service}`,
        );
      }
    }
  }

  #logExchange(exchange: FinishedExchange): void {
    const { method, target, status, failure, detail, requestId, visitor, tunnel, ms } = exchange;
    const durationMs = Math.round(ms);
    const fields = { method, target, status, failure, detail, requestId, visitor, tunnel, durationMs };
    if (failure === undefined || failure === "CANCELLED") this.#options.log.info(fields, "request");
    else this.#options.log.warn(fields, "request failed");
  }

  #logRelay({ ms, ...relay }: FinishedRelay): void {
    const { failure } = relay;
    const fields = { ...relay, durationMs: Math.round(ms) };
    if (failure === undefined || failure === "CANCELLED" || failure === "CONNECTION_LOST")
      this.#options.log.info(fields, "connection");
    else this.#options.log.warn(fields, "connection failed");
  }

  #announce(tunnels: Tunnel[]): void {
    for (const tunnel of tunnels) {
      const { name, url } = tunnel;
      this.#options.log.info({ tunnel: name, url, target: wholeTarget(tunnel) }, "serving");
    }
  }
}

function typedService({ target, targetTls, ports }: WantedTunnel, resolve: Resolve): LocalService {
  return new LocalService({ target, targetTls, consent: consentTo(target, ports), resolve });
}

/** What the server said comes from elsewhere; a string says what is wrong with it. */
function mappedService(tunnel: Tunnel, consent: Consent, resolve: Resolve): LocalService | string {
  const target = parseTarget(tunnel.target);
  if (typeof target === "string") return target;
  if ("port" in target && target.port + (tunnel.ports ?? 0) > MAX_PORT + 1)
    return `expected ${tunnel.ports} ports from ${target.port} on, of which the last is at most ${MAX_PORT}`;
  try {
    return new LocalService({ target, targetTls: tunnel.targetTls ?? undefined, consent, resolve });
  } catch (error) {
    return (error as Error).message;
  }
}

/** As people read it: of several ports the last one too. */
function wholeTarget({ target, ports }: Tunnel): string {
  const first = parseTarget(target);
  return typeof first === "string" ? target : formatTargetRange({ target: first, ports: ports || 1 });
}

function withdraw(served: Map<number, LocalTunnel>): void {
  for (const { service } of served.values()) service.close();
  served.clear();
}

function toRequest(tunnel: WantedTunnel): TunnelRequest {
  return {
    name: tunnel.name ?? "",
    kind: tunnel.kind,
    hostname: tunnel.hostname ?? "",
    subdomain: tunnel.subdomain ?? "",
    target: formatTarget(tunnel.target),
    hostHeader: tunnel.hostHeader ?? "",
    timeoutMs: tunnel.timeoutMs ?? 0,
    port: tunnel.port ?? 0,
    ports: tunnel.ports ?? 0,
    proxyProtocol: tunnel.proxyProtocol ?? 0,
  };
}

function addressOf({ key, host, port }: ServerAddress): { host: string; port: number } {
  return { host: host ?? key.host, port: port ?? key.port };
}

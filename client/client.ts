import { WIDE_STATUSES } from "../link/contract.ts";
import { TunnelError } from "../link/errors.ts";
import type { TunnelRequest, Welcome } from "../link/messages.ts";
import { formatTarget } from "../link/target.ts";
import { UnreadBudget } from "../link/unread-budget.ts";
import type { Log } from "../runtime/log.ts";
import { NameLookup } from "../runtime/name-lookup.ts";
import { formatAddress } from "../runtime/net-address.ts";
import { Backoff } from "./connection/backoff.ts";
import type { ServerAddress } from "./connection/connect.ts";
import { ClientSession, STEADY_MS, type ClientTuning } from "./connection/session.ts";
import type { Consent } from "./local/consent.ts";
import { serveStream, type FinishedExchange, type FinishedRelay } from "./local/serve-stream.ts";
import { ServedTunnels } from "./served-tunnels.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";

/** What visitors may have sent that the local services have not read: less than a server's, since one machine's take it. */
const UNREAD_LIMIT_BYTES = 128 * 1024 * 1024;

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
  /** Why the client is offline, as it was said last. */
  #saidReason: string | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /**
   * Serves until `stop`, or until the signal cuts everything.
   *
   * @throws TunnelError a permanent one; all others are logged, and tried again
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log, server } = this.#options;
    const ended = AbortSignal.any([signal, this.#stopping.signal]);
    log.info(reachedAt(server), "connecting");
    while (!ended.aborted) {
      try {
        await this.#runSession(signal);
      } catch (error) {
        if (ended.aborted) break;
        if (!(error instanceof TunnelError) || error.permanent) throw error;
        const retryMs = this.#backoff.next();
        this.#sayOffline(error, retryMs);
        await this.#backoff.wait(retryMs, ended);
      }
    }
  }

  /** Takes no new streams, lets open ones finish for at most `graceMs`. `run` ends then. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    await this.#session?.stop(graceMs);
  }

  /** A reason that has been said since the client was online is not said again. */
  #sayOffline({ message, code }: TunnelError, retryMs: number): void {
    const reason = message === this.#saidReason ? undefined : message;
    this.#saidReason = message;
    const retrySeconds = Math.round(retryMs / 100) / 10;
    this.#options.log.warn({ reason, code, retrySeconds }, "offline; trying again");
  }

  async #runSession(signal: AbortSignal): Promise<void> {
    const { server, clientId, tunnels, consent, log, tuning } = this.#options;
    const served = new ServedTunnels({
      wanted: tunnels,
      consent,
      resolve: this.#names.target,
      log,
      onStates: (states) => session.sayStates(states),
      lookPauseMs: tuning?.lookPauseMs,
    });
    let onlineAt = Number.POSITIVE_INFINITY;
    let wideStatuses = false;
    const session = new ClientSession({
      server,
      clientId,
      wanted: tunnels.map(toRequest),
      tuning,
      unreadBudget: this.#unreadBudget,
      names: this.#names,
      onOnline: (welcome: Welcome) => {
        onlineAt = performance.now();
        wideStatuses = welcome.features?.includes(WIDE_STATUSES) ?? false;
        this.#saidReason = undefined;
        log.info({ ...reachedAt(server), version: welcome.version }, "online");
        served.replace(welcome.tunnels);
      },
      onTunnels: (changed) => served.replace(changed),
      onStream: (stream, open) =>
        serveStream(stream, open, {
          tunnels: served.byId,
          wideStatuses,
          finished: (exchange) => this.#logExchange(exchange),
          finishedRelay: (relay) => this.#logRelay(relay),
        }),
      onVisitorLeft: (visitor) => served.visitorLeft(visitor),
      onServerDrain: () => log.info("the server is about to stop; open requests may finish"),
      onConnectionTrouble: (error) => log.debug({ reason: error.message }, "one of the connections was lost"),
    });
    this.#session = session;
    try {
      await session.run(signal);
    } finally {
      if (performance.now() - onlineAt >= STEADY_MS) this.#backoff.reset();
      else if (onlineAt !== Number.POSITIVE_INFINITY) this.#backoff.ease();
      served[Symbol.dispose]();
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

/** For the log. */
function reachedAt(server: ServerAddress): { server: string; proxy: string | undefined } {
  return {
    server: formatAddress(addressOf(server)),
    proxy: server.proxy && formatAddress(server.proxy),
  };
}

function addressOf({ key, host, port }: ServerAddress): { host: string; port: number } {
  return { host: host ?? key.host, port: port ?? key.port };
}

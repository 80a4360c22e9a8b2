import { allowRuleFor, formatTargetRange, type TargetRange } from "../link/byte-target.ts";
import type { Tunnel, TunnelState } from "../link/messages.ts";
import { MAX_PORT } from "../link/port-range.ts";
import { parseTarget } from "../link/target.ts";
import type { Log } from "../runtime/log.ts";
import type { Resolve } from "../runtime/name-lookup.ts";
import { cutBytes } from "../runtime/printable.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";
import type { Consent } from "./local/consent.ts";
import { consentTo } from "./local/consent.ts";
import { LocalService } from "./local/local-service.ts";
import type { LocalTunnel } from "./local/serve-stream.ts";
import { type Looks, TargetLooks } from "./target-looks.ts";

/** Longest `TunnelState.reason`; the server ends the link for a longer one (link/batch-limits.ts). */
const MAX_REASON_BYTES = 256;

/**
 * The tunnels of a session as the client serves them: those that it asked for lead where its own user wrote, whatever the
 * server says of them; all others where the consent allows.
 */
export class ServedTunnels implements Disposable {
  /** By `Tunnel.id`. Always the same map, since streams look into it. */
  readonly byId = new Map<number, LocalTunnel>();
  readonly #wanted: readonly WantedTunnel[];
  readonly #consent: Consent;
  readonly #resolve: Resolve | undefined;
  readonly #log: Log;
  readonly #looks: TargetLooks;

  constructor(options: {
    wanted: readonly WantedTunnel[];
    /** For what the server names. */
    consent: Consent;
    /** Looks up the names of targets. */
    resolve?: Resolve | undefined;
    log: Log;
    /** Told, in a later turn, once all that were given have been looked at. */
    onStates: (states: TunnelState[]) => void;
    lookPauseMs?: number | undefined;
  }) {
    this.#wanted = options.wanted;
    this.#consent = options.consent;
    this.#resolve = options.resolve;
    this.#log = options.log;
    this.#looks = new TargetLooks((looks) => {
      this.#warnOf(looks);
      options.onStates(statesOf(looks));
    }, options.lookPauseMs);
  }

  /** Serves these from now on, in place of those before. */
  replace(tunnels: readonly Tunnel[]): void {
    this.#withdraw();
    for (const tunnel of tunnels) {
      const wanted = tunnel.request === undefined ? undefined : this.#wanted[tunnel.request];
      const served = wanted
        ? typedTunnel(tunnel, wanted, this.#resolve)
        : mappedTunnel(tunnel, this.#consent, this.#resolve);
      if (typeof served === "string") {
        const { name, target } = tunnel;
        this.#log.warn({ tunnel: name, target }, `the server names an odd target: ${served}`);
        continue;
      }
      this.byId.set(tunnel.id, served);
      if (served.service.refused) this.#warnNotAllowed(served);
      else this.#log.info({ tunnel: served.name, url: tunnel.url, target: whereOf(served) }, "serving");
    }
    this.#looks.ask(this.byId);
  }

  /** @param visitor the number of the visitor's connection, which has ended */
  visitorLeft(visitor: number): void {
    for (const { service } of this.byId.values()) service.visitorLeft(visitor);
  }

  [Symbol.dispose](): void {
    this.#looks[Symbol.dispose]();
    this.#withdraw();
  }

  #withdraw(): void {
    for (const { service } of this.byId.values()) service.close();
    this.byId.clear();
  }

  #warnOf(looks: Looks): void {
    for (const { tunnel, look } of looks.values()) {
      const { answer, allowed, failure } = look;
      if (answer === "NO_ANSWER") this.#warnNoAnswer(tunnel, failure?.detail);
      // If the target is refused whatever it resolves to, a warning was given at the start.
      else if (!allowed && !tunnel.service.refused) this.#warnNotAllowed(tunnel);
    }
  }

  #warnNotAllowed(tunnel: LocalTunnel): void {
    const target = whereOf(tunnel);
    this.#log.warn(
      { tunnel: tunnel.name, target },
      `not serving ${target}, which the server names and this client does not allow: ${visitorsGet(tunnel)}. ` +
        `To allow it: --allow ${allowRuleFor(rangeOf(tunnel))}`,
    );
  }

  #warnNoAnswer(tunnel: LocalTunnel, detail: string | undefined): void {
    const target = whereOf(tunnel);
    this.#log.warn(
      { tunnel: tunnel.name, target, detail },
      `nothing answers at ${target} yet: ${visitorsGet(tunnel)} until the service runs`,
    );
  }
}

function typedTunnel({ name }: Tunnel, wanted: WantedTunnel, resolve: Resolve | undefined): LocalTunnel {
  const { kind, target, targetTls, ports = 1 } = wanted;
  return {
    name,
    kind,
    ports,
    service: new LocalService({ target, targetTls, consent: consentTo(target, ports), resolve }),
  };
}

/** What the server said comes from elsewhere; a string says what is wrong with it. */
function mappedTunnel(tunnel: Tunnel, consent: Consent, resolve: Resolve | undefined): LocalTunnel | string {
  const target = parseTarget(tunnel.target);
  if (typeof target === "string") return target;
  const ports = tunnel.ports || 1;
  if ("port" in target && target.port + ports > MAX_PORT + 1)
    return `expected ${ports} ports from ${target.port} on, of which the last is at most ${MAX_PORT}`;
  try {
    const service = new LocalService({ target, targetTls: tunnel.targetTls ?? undefined, consent, resolve });
    return { name: tunnel.name, kind: tunnel.kind, ports, service };
  } catch (error) {
    return (error as Error).message;
  }
}

function statesOf(looks: Looks): TunnelState[] {
  return Array.from(looks, ([tunnel, { look }]) => ({
    tunnel,
    allowed: look.allowed,
    answer: look.answer,
    reason: cutBytes(look.failure?.publicDetail ?? "", MAX_REASON_BYTES),
  }));
}

function rangeOf({ service, ports }: LocalTunnel): TargetRange {
  return { target: service.target, ports };
}

/** As people read it: of several ports the last one too. */
function whereOf(tunnel: LocalTunnel): string {
  return formatTargetRange(rangeOf(tunnel));
}

function visitorsGet({ kind }: LocalTunnel): string {
  return kind === "HTTP" ? "its visitors get a 502" : "its visitors are cut off";
}

import { allowRuleFor, formatTargetRange, type TargetRange } from "../../link/byte-target.ts";
import { TunnelError } from "../../link/errors.ts";
import type { TunnelState } from "../../link/messages.ts";
import { parseTarget } from "../../link/target.ts";
import type { Log } from "../../runtime/log.ts";
import { cut } from "../../runtime/printable.ts";
import type { SessionTunnel } from "./naming.ts";

/** What a client may say for people. */
const MAX_REASON = 256;

/** What a client found out about the tunnels that the server maps to it. What is wrong goes to the log, once a session. */
export class ClientStates {
  readonly #tunnels: readonly SessionTunnel[];
  readonly #log: Log;
  readonly #told = new Set<string>();

  constructor(tunnels: readonly SessionTunnel[], log: Log) {
    this.#tunnels = tunnels;
    this.#log = log;
  }

  /** @throws TunnelError `protocol` */
  heard(states: readonly TunnelState[]): void {
    if (states.length > this.#tunnels.length)
      throw new TunnelError("protocol", `the states of ${states.length} tunnels, more than the client has`);
    // What the client asked for is its own affair, and stands in its own log.
    const mapped = this.#tunnels.filter(({ request }) => request === undefined);
    const byId = new Map(mapped.map((tunnel) => [tunnel.id, tunnel]));
    for (const state of states) {
      const tunnel = byId.get(state.tunnel);
      if (tunnel) this.#heard(tunnel, state);
    }
  }

  #heard(tunnel: SessionTunnel, { allowed, answer, reason }: TunnelState): void {
    const trouble = allowed ? answer : "NOT_ALLOWED";
    if (trouble !== "NOT_ALLOWED" && trouble !== "NO_ANSWER") return;
    const once = `${tunnel.id} ${trouble}`;
    const range = rangeOf(tunnel);
    if (!range || this.#told.has(once)) return;
    this.#told.add(once);
    const target = formatTargetRange(range);
    const fields = { tunnel: tunnel.name, target, reason: cut(reason, MAX_REASON) || undefined };
    if (allowed) return this.#log.info(fields, `nothing answers the client at ${target} yet`);
    const rule = allowRuleFor(range);
    this.#log.warn(fields, `the client does not allow ${target}: start it with --allow ${rule}`);
  }
}

function rangeOf(tunnel: SessionTunnel): TargetRange | undefined {
  const target = parseTarget(tunnel.target);
  if (typeof target === "string") return undefined;
  return { target, ports: "ports" in tunnel ? tunnel.ports : 1 };
}

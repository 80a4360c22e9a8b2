import { TunnelError } from "../../link/errors.ts";
import type { TunnelRequest } from "../../link/messages.ts";

/** How many hostnames and ports clients ask for themselves; what the server maps to their key is its owner's choice. */
export interface Asked {
  names: number;
  ports: number;
}

/** As in the config (server/config/limits.ts). */
export interface AskedLimits {
  namesPerKey: number;
  portsPerKey: number;
}

export function askedIn(wanted: readonly TunnelRequest[]): Asked {
  const asked = { names: 0, ports: 0 };
  for (const { kind, ports } of wanted) {
    if (kind === "TCP" || kind === "UDP") asked.ports += ports || 1;
    else asked.names++;
  }
  return asked;
}

/**
 * One client asks for more than all clients of its key may have.
 *
 * @throws TunnelError `name_refused`, since that will not change
 */
export function checkAsked(asked: Asked, limits: AskedLimits): void {
  const over = limitReached(asked, limits);
  if (!over) return;
  throw new TunnelError(
    "name_refused",
    `The client asks for ${over.asked} ${over.what}; all clients of one key may have ${over.limit} (${over.option}). Ask for fewer.`,
  );
}

/** What clients of each key have asked for: those that are connected, and those on their way. */
export class AskedByKeys {
  readonly #limits: AskedLimits;
  readonly #keys = new Map<string, Asked>();

  constructor(limits: AskedLimits) {
    this.#limits = limits;
  }

  /**
   * Counts what one more client asks for, in place of what will end for it.
   *
   * @throws TunnelError `overloaded`, since others may leave
   */
  add(keyId: string, asked: Asked, replaced: readonly Asked[]): void {
    const sum = { ...(this.#keys.get(keyId) ?? { names: 0, ports: 0 }) };
    count(sum, asked, 1);
    const left = { ...sum };
    for (const each of replaced) count(left, each, -1);
    const over = limitReached(left, this.#limits);
    if (over) {
      throw new TunnelError(
        "overloaded",
        `With this client, all clients of this key would have ${over.asked} ${over.what}; they may have ${over.limit} (${over.option}).`,
      );
    }
    this.#keys.set(keyId, sum);
  }

  remove(keyId: string, asked: Asked): void {
    const sum = this.#keys.get(keyId);
    if (!sum) return;
    count(sum, asked, -1);
    if (sum.names === 0 && sum.ports === 0) this.#keys.delete(keyId);
  }
}

function limitReached({ names, ports }: Asked, { namesPerKey, portsPerKey }: AskedLimits) {
  if (names > namesPerKey)
    return { what: "names", asked: names, limit: namesPerKey, option: "limits.names_per_key" };
  if (ports > portsPerKey)
    return { what: "ports", asked: ports, limit: portsPerKey, option: "limits.ports_per_key" };
  return undefined;
}

function count(sum: Asked, { names, ports }: Asked, by: 1 | -1): void {
  sum.names += by * names;
  sum.ports += by * ports;
}

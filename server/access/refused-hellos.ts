import { TunnelError } from "../../link/errors.ts";
import { RecentMap } from "./recent-map.ts";
import { Tries } from "./tries.ts";

/** What 75 clients of one network use up that are refused all the time, and back off as ours do: a few percent of one core. */
const FROM_ONE_NETWORK = { tries: 60, eachMs: 100 };
/** The limit for a key that is used in many networks. */
const OF_ALL = { tries: 300, eachMs: 25 };
const MAX_REMEMBERED = 10_000;

/**
 * Slows clients with a right key that are refused again and again: to name their tunnels costs more than to say no. Only refusals
 * count, by key and network, and by key over all networks.
 */
export class RefusedHellos {
  readonly #now: () => number;
  readonly #fromNetworks = new RecentMap<string, Tries>(MAX_REMEMBERED);
  readonly #ofKeys = new RecentMap<string, Tries>(MAX_REMEMBERED);

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * To be asked before a Hello is looked at.
   *
   * @throws TunnelError `overloaded`
   */
  check(keyId: string, network: string): void {
    const now = this.#now();
    const tries = [this.#fromNetworks.get(`${keyId} ${network}`), this.#ofKeys.get(keyId)];
    const waitMs = Math.max(...tries.map((each) => each?.waitMs(now) ?? 0));
    if (waitMs === 0) return;
    throw new TunnelError(
      "overloaded",
      `Clients with this key were refused too often, so the server has not looked at what this one asks for. Try again in ${Math.ceil(waitMs / 1000)} s.`,
    );
  }

  refused(keyId: string, network: string): void {
    const now = this.#now();
    triesOf(this.#fromNetworks, `${keyId} ${network}`, FROM_ONE_NETWORK).use(now);
    triesOf(this.#ofKeys, keyId, OF_ALL).use(now);
  }
}

function triesOf(
  remembered: RecentMap<string, Tries>,
  name: string,
  { tries, eachMs }: typeof OF_ALL,
): Tries {
  const found = remembered.get(name) ?? new Tries(tries, eachMs);
  remembered.set(name, found);
  return found;
}

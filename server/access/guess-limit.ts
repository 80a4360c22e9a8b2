import { RecentMap } from "./recent-map.ts";
import { Tries } from "./tries.ts";

/** So many wrong keys in a row are looked at, so that who mistypes is told at once; */
const TRIES = 10;
/** and then one each: 43,200 a day, of secrets that have 128 bits. */
const TRY_EACH_MS = 2_000;
/** Networks, and key ids, whose wrong tries are remembered. */
const MAX_REMEMBERED = 10_000;
/** How long a network counts as one of a key's own after that key's right secret has come from there. */
const OWN_MS = 24 * 3_600_000;
/** A key's own networks that are remembered: as many as it may have sessions. */
const MAX_OWN = 2_048;

/** Why no secret is looked at now. */
export interface TooManyGuesses {
  of: "network" | "key";
  /** Until the next one will be. */
  waitMs: number;
}

/** A network that has shown a key's right secret, and its wrong tries with this key since. */
interface Own {
  at: number;
  tries: Tries;
}

/**
 * Slows the guessing of keys: for each network that tries come from, and for each key id over all networks, so that
 * many machines guess no faster than one. Only failures count. Key ids that no key has count like the others, so that
 * nobody learns which exist.
 *
 * Who knows the id of a key could use up its tries and keep its owner out. So a network from which the right secret
 * came within a day has tries of its own with that key, which neither strangers nor its neighbours use up.
 *
 * What is remembered is bounded, and forgetting is no way around it: a count is pushed out by 10,000 failures of other
 * networks, or with other key ids, each of which cost a try of its own, and gives ten back. Own networks are only
 * remembered for keys that exist, and those of one key are pushed out by that key alone.
 */
export class GuessLimit {
  readonly #now: () => number;
  readonly #networks = new RecentMap<string, Tries>(MAX_REMEMBERED);
  readonly #keys = new RecentMap<string, Tries>(MAX_REMEMBERED);
  readonly #own = new RecentMap<string, RecentMap<string, Own>>(MAX_REMEMBERED);

  constructor(now: () => number) {
    this.#now = now;
  }

  /** To be asked before a secret is looked at, and again before anyone learns whether it was right. */
  tooMany(keyId: string, network: string): TooManyGuesses | undefined {
    const now = this.#now();
    const own = this.#ownTries(keyId, network);
    const ofNetworkMs = (own ?? this.#networks.get(network))?.waitMs(now) ?? 0;
    if (ofNetworkMs > 0) return { of: "network", waitMs: ofNetworkMs };
    const ofKeyMs = own ? 0 : (this.#keys.get(keyId)?.waitMs(now) ?? 0);
    return ofKeyMs > 0 ? { of: "key", waitMs: ofKeyMs } : undefined;
  }

  failed(keyId: string, network: string): void {
    const now = this.#now();
    const own = this.#ownTries(keyId, network);
    if (own) return own.use(now);
    use(this.#networks, network, now);
    use(this.#keys, keyId, now);
  }

  succeeded(keyId: string, network: string): void {
    let networks = this.#own.get(keyId);
    networks ??= new RecentMap(MAX_OWN);
    this.#own.set(keyId, networks);
    networks.set(network, { at: this.#now(), tries: networks.get(network)?.tries ?? newTries() });
  }

  #ownTries(keyId: string, network: string): Tries | undefined {
    const own = this.#own.get(keyId)?.get(network);
    return own && this.#now() - own.at < OWN_MS ? own.tries : undefined;
  }
}

function newTries(): Tries {
  return new Tries(TRIES, TRY_EACH_MS);
}

function use(remembered: RecentMap<string, Tries>, name: string, now: number): void {
  const tries = remembered.get(name) ?? newTries();
  tries.use(now);
  remembered.set(name, tries);
}

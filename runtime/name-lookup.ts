import { type LookupAddress, lookup as systemLookup } from "node:dns";

/** As `dns.lookup`, for all addresses of a name. */
export type Resolve = (
  host: string,
  options: { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** For so long a name's addresses are taken as they were; */
const FOUND_MS = 30_000;
/** and a name without any for one that still has none. */
const FAILED_MS = 10_000;
/** The one that was looked up least lately is forgotten first. */
const MAX_KNOWN = 1_024;

interface Known {
  error: NodeJS.ErrnoException | null;
  addresses: LookupAddress[];
  untilMs: number;
}

type Callback = Parameters<Resolve>[2];

/**
 * Looks names up for the whole program, by the system's getaddrinfo, which knows /etc/hosts and mDNS. libuv runs two of them at a time
 * for the whole process (half of its four threads), and a name whose DNS server is silent takes one for ten seconds and longer. So
 * targets share one of the two, one name after the other, and the other one is the server's: whatever names visitors ask for, the
 * client finds its server.
 */
export class NameLookup {
  readonly #lookup: Resolve;
  readonly #now: () => number;
  readonly #known = new Map<string, Known>();
  /** Targets' names whose turn has not come, and who waits for them. */
  readonly #waiting = new Map<string, Callback[]>();
  #running: { host: string; callbacks: Callback[] } | undefined;
  readonly #ofServers = new Map<string, Promise<string[]>>();

  /** What tests replace. */
  constructor({
    lookup = systemLookup,
    now = () => performance.now(),
  }: { lookup?: Resolve; now?: () => number } = {}) {
    this.#lookup = lookup;
    this.#now = now;
  }

  /** Addresses of a target's name, in a later turn. */
  readonly target: Resolve = (host, _options, callback) => {
    const known = this.#known.get(host);
    if (known && this.#now() < known.untilMs) return answer(known, callback);
    if (this.#running?.host === host) {
      this.#running.callbacks.push(callback);
      return;
    }
    const callbacks = this.#waiting.get(host) ?? [];
    this.#waiting.set(host, callbacks);
    // While others are looked up, an address of a minute ago is better than none.
    if (this.#running && known && !known.error) answer(known, callback);
    else callbacks.push(callback);
    this.#runNext();
  };

  /** Addresses of the server's name, always afresh: it may have moved. Whoever asks while it is being looked up gets the same answer. */
  server(host: string): Promise<string[]> {
    const running = this.#ofServers.get(host);
    if (running) return running;
    const found = new Promise<string[]>((resolve, reject) => {
      this.#lookup(host, { all: true }, (error, addresses) => {
        this.#ofServers.delete(host);
        if (error) reject(error);
        else resolve(addresses.map(({ address }) => address));
      });
    });
    this.#ofServers.set(host, found);
    return found;
  }

  #runNext(): void {
    if (this.#running) return;
    const host = this.#next();
    if (host === undefined) return;
    this.#running = { host, callbacks: this.#waiting.get(host)! };
    this.#waiting.delete(host);
    this.#lookup(host, { all: true }, (error, addresses) => {
      const { callbacks } = this.#running!;
      this.#running = undefined;
      const known = { error, addresses, untilMs: this.#now() + (error ? FAILED_MS : FOUND_MS) };
      this.#remember(host, known);
      for (const callback of callbacks) callback(error, addresses);
      this.#runNext();
    });
  }

  /** In the order they were asked for, but those that failed the last time behind all others. */
  #next(): string | undefined {
    const hosts = [...this.#waiting.keys()];
    return hosts.find((host) => !this.#known.get(host)?.error) ?? hosts[0];
  }

  #remember(host: string, known: Known): void {
    this.#known.delete(host);
    this.#known.set(host, known);
    if (this.#known.size <= MAX_KNOWN) return;
    const [oldest] = this.#known.keys();
    this.#known.delete(oldest!);
  }
}

function answer({ error, addresses }: Known, callback: Callback): void {
  process.nextTick(callback, error, addresses);
}

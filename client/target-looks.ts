/** Looks at the local services of a session's tunnels once they are known, and again when they have changed. */
import { setTimeout as delay } from "node:timers/promises";
import { isIP } from "node:net";
import { readListeners } from "./local/listeners.ts";
import { type Look, lookAt } from "./local/look.ts";
import type { LocalTunnel } from "./local/serve-stream.ts";

/** However often the server changes its mapping, the local services are not bothered more often. */
const PAUSE_MS = 5_000;
/** For all of them together; what has had no turn by then is not looked at. */
const ALL_MS = 10_000;
/** Connections at a time, and one more to a service whose name has to be looked up. */
const AT_ONCE = 3;

/** By `Tunnel.id`. */
export type Looks = ReadonlyMap<number, { tunnel: LocalTunnel; look: Look }>;

export class TargetLooks implements Disposable {
  readonly #ended = new AbortController();
  readonly #onLooked: (looks: Looks) => void;
  readonly #pauseMs: number;
  #asked: ReadonlyMap<number, LocalTunnel> | undefined;
  #looking = false;
  #notBefore = 0;

  /** @param pauseMs what tests make short */
  constructor(onLooked: (looks: Looks) => void, pauseMs = PAUSE_MS) {
    this.#onLooked = onLooked;
    this.#pauseMs = pauseMs;
  }

  /** Looks at these in a later turn, instead of those that have not been looked at yet. */
  ask(tunnels: ReadonlyMap<number, LocalTunnel>): void {
    this.#asked = new Map(tunnels);
    if (!this.#looking) void this.#run();
  }

  /** Nothing is told from here on. */
  [Symbol.dispose](): void {
    this.#asked = undefined;
    this.#ended.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#ended;
    this.#looking = true;
    while (this.#asked) {
      await delay(Math.max(0, this.#notBefore - performance.now()), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      const tunnels = this.#asked;
      this.#asked = undefined;
      const looks = await lookAtAll(tunnels, signal);
      if (signal.aborted) return;
      this.#notBefore = performance.now() + this.#pauseMs;
      this.#onLooked(looks);
    }
    this.#looking = false;
  }
}

async function lookAtAll(tunnels: ReadonlyMap<number, LocalTunnel>, ended: AbortSignal): Promise<Looks> {
  const looks = new Map<number, { tunnel: LocalTunnel; look: Look }>();
  const named: [number, LocalTunnel][] = [];
  const others: [number, LocalTunnel][] = [];
  for (const [id, tunnel] of tunnels) {
    const { kind, service } = tunnel;
    const allowed = !service.refused;
    looks.set(id, { tunnel, look: { allowed, answer: "NOT_LOOKED_AT" } });
    // Over UDP there is nothing to connect to.
    if (!allowed || kind === "UDP") continue;
    (hasName(service) ? named : others).push([id, tunnel]);
  }
  const listeners = await readListeners();
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), ALL_MS);
  const signal = AbortSignal.any([ended, over.signal]);
  const lookAtEach = async (left: IterableIterator<[number, LocalTunnel]>): Promise<void> => {
    for (const [id, tunnel] of left) {
      if (signal.aborted) return;
      looks.set(id, { tunnel, look: await lookAt(tunnel.service, { listeners, signal }) });
    }
  };
  // All take the next one from the same list. Names go one by one: the system resolves few at a time, and the server's is one of them.
  const left = others.values();
  await Promise.all([lookAtEach(named.values()), ...Array.from({ length: AT_ONCE }, () => lookAtEach(left))]);
  clearTimeout(timer);
  return looks;
}

function hasName({ target }: LocalTunnel["service"]): boolean {
  return "host" in target && isIP(target.host) === 0;
}

import { hostName, type Place, type PortKind } from "../routing/place.ts";

type Callbacks = Set<() => void>;

/** Who wants to know when a public name is served again. */
export class Waiting {
  readonly #hosts = new Map<string, Callbacks>();
  readonly #ports: Record<PortKind, Map<number, Callbacks>> = { TCP: new Map(), UDP: new Map() };

  /** Returns how to stop waiting. */
  atHost(name: string, callback: () => void): () => void {
    return wait(this.#hosts, name, callback);
  }

  atPort(kind: PortKind, port: number, callback: () => void): () => void {
    return wait(this.#ports[kind], port, callback);
  }

  /** Calls back whoever waits for any of these places. */
  wake(places: readonly Place[]): void {
    for (const place of places) {
      if ("hostname" in place) {
        wake(this.#hosts, hostName(place));
        continue;
      }
      const { kind, port, ports } = place;
      const waiting = this.#ports[kind];
      if (waiting.size === 0) continue;
      for (let each = port; each < port + ports; each++) wake(waiting, each);
    }
  }
}

function wait<K>(waiting: Map<K, Callbacks>, name: K, callback: () => void): () => void {
  let callbacks = waiting.get(name);
  if (!callbacks) waiting.set(name, (callbacks = new Set()));
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size === 0 && waiting.get(name) === callbacks) waiting.delete(name);
  };
}

function wake<K>(waiting: Map<K, Callbacks>, name: K): void {
  const callbacks = waiting.get(name);
  if (!callbacks) return;
  waiting.delete(name);
  for (const callback of callbacks) callback();
}

import type { PortRange } from "../../link/port-range.ts";
import { hostName, type PortKind, tlsName } from "../routing/place.ts";
import { labelsBehind, wildcardsOver } from "../routing/hostname.ts";
import type { Key, KeyTunnel } from "./key.ts";

/** A key to which a public name is written. */
export interface Owner {
  key: Key;
  /** The tunnel that is mapped there, if it is not only a name that the key's clients may ask for. */
  tunnel?: KeyTunnel | undefined;
}

/** The same for ports, one behind the other. */
export type PortOwner = Owner & PortRange;

/** Which public names are written to which keys. Those of keys that come first stand first. */
export class NameOwners {
  /** By public name. */
  readonly #hosts = new Map<string, Owner[]>();
  #wildcardLabels = 0;
  readonly #ports: Readonly<Record<PortKind, PortOwners>>;

  constructor(keys: Iterable<Key>) {
    const ports: Record<PortKind, PortOwner[]> = { TCP: [], UDP: [] };
    for (const key of keys) {
      for (const tunnel of key.tunnels) {
        if ("hostname" in tunnel) this.#addHost(hostName(tunnel), { key, tunnel });
        else if (tunnel.port > 0)
          ports[tunnel.kind].push({ key, tunnel, from: tunnel.port, to: tunnel.port + tunnel.ports - 1 });
      }
      for (const hostname of key.hostnames) {
        this.#addHost(hostname, { key });
        this.#addHost(tlsName(hostname), { key });
      }
      for (const range of key.ports ?? []) {
        ports.TCP.push({ key, ...range });
        ports.UDP.push({ key, ...range });
      }
    }
    this.#ports = { TCP: new PortOwners(ports.TCP), UDP: new PortOwners(ports.UDP) };
  }

  /** @param name a hostname, or one behind `tls:` */
  of(name: string): readonly Owner[] {
    return this.#hosts.get(name) ?? [];
  }

  /** Whose a hostname is: of those that it is written to, or else of the closest wildcard over it with all that is beneath. */
  over(hostname: string): readonly Owner[] {
    const owners = this.#hosts.get(hostname);
    if (owners) return owners;
    for (const wildcard of wildcardsOver(hostname, this.#wildcardLabels)) {
      const ofAll = this.#hosts.get(wildcard);
      if (ofAll) return ofAll;
    }
    return [];
  }

  /** Those of any port of the range, in the order of their ports. */
  ofPorts(kind: PortKind, range: PortRange): readonly PortOwner[] {
    return this.#ports[kind].over(range);
  }

  #addHost(name: string, owner: Owner): void {
    if (name.startsWith("*")) this.#wildcardLabels = Math.max(this.#wildcardLabels, labelsBehind(name));
    const owners = this.#hosts.get(name);
    if (!owners) this.#hosts.set(name, [owner]);
    // The tunnel at a hostname is added before the hostname.
    else if (owners.at(-1)!.key !== owner.key) owners.push(owner);
  }
}

/** Ranges that may overlap, to be found by a range: an interval tree, laid out in an array. */
class PortOwners {
  /** By first port: the middle one is the root, and the middle of each half the root of what is beneath. */
  readonly #owners: readonly PortOwner[];
  /** For each the last port of it and of all beneath it. */
  readonly #reach: number[];

  constructor(owners: readonly PortOwner[]) {
    this.#owners = owners.toSorted((a, b) => a.from - b.from);
    this.#reach = owners.map(() => 0);
    this.#measure(0, owners.length);
  }

  over(range: PortRange): PortOwner[] {
    const found: PortOwner[] = [];
    this.#find(range, 0, this.#owners.length, found);
    return found;
  }

  #measure(start: number, end: number): number {
    if (start === end) return 0;
    const root = (start + end) >> 1;
    const beneath = Math.max(this.#measure(start, root), this.#measure(root + 1, end));
    return (this.#reach[root] = Math.max(this.#owners[root]!.to, beneath));
  }

  #find(range: PortRange, start: number, end: number, found: PortOwner[]): void {
    const root = (start + end) >> 1;
    if (start === end || this.#reach[root]! < range.from) return;
    this.#find(range, start, root, found);
    const owner = this.#owners[root]!;
    if (owner.from > range.to) return;
    if (owner.to >= range.from) found.push(owner);
    this.#find(range, root + 1, end, found);
  }
}

import type { PortRange } from "../../link/port-range.ts";
import { placeOption, readPortRange, tunnelHostname, tunnelPorts } from "./config-tunnels.ts";
import { list, record, type Report, type Unchecked } from "./config-unchecked.ts";
import type { PortKind } from "../routing/place.ts";

/** That no hostname and no port is claimed twice. Tunnels last: what a key lists is that key's, wherever in the file it stands. */
export function checkClaims(keys: readonly Unchecked[], domain: unknown, report: Report): void {
  const hostnames = new HostnameClaims(report);
  const ports = new PortClaims(report);
  keys.forEach((key, i) => {
    hostnames.list(list(key["hostnames"]), i);
    ports.list(list(key["ports"]), i);
  });
  keys.forEach((key, i) => {
    list(key["tunnels"]).forEach((each, j) => {
      const tunnel = record(each);
      const at = ["keys", i, "tunnels", j, placeOption(tunnel)];
      const owner = { key: i, place: `keys[${i}].tunnels[${j}]` };
      const hostname = tunnelHostname(tunnel, domain);
      if (hostname !== undefined) hostnames.tunnel(hostname, String(tunnel["type"]), owner, at);
      const taken = tunnelPorts(tunnel);
      if (typeof taken !== "object" || taken.place.port === 0) return;
      const { kind, port, ports: count } = taken.place;
      ports.tunnel(kind, { from: port, to: port + count - 1 }, owner, at);
    });
  });
}

interface Owner {
  /** Its index. */
  key: number;
  /** Where in the file. */
  place: string;
}

/** Which hostname is whose. Messages name places and no hostnames, which may come from the environment. */
class HostnameClaims {
  readonly #report: Report;
  readonly #listed = new Map<string, Owner>();
  /** By hostname, and by the kind of tunnel: a key may have a hostname for both. */
  readonly #served = new Map<string, Map<string, Owner>>();

  constructor(report: Report) {
    this.#report = report;
  }

  list(hostnames: unknown[], key: number): void {
    hostnames.forEach((hostname, i) => {
      if (typeof hostname !== "string") return;
      const first = this.#listed.get(hostname);
      if (first) this.#taken(["keys", key, "hostnames", i], first);
      else this.#listed.set(hostname, { key, place: `keys[${key}].hostnames[${i}]` });
    });
  }

  /** @param type `http` or `tls` */
  tunnel(hostname: string, type: string, owner: Owner, at: PropertyKey[]): void {
    const served = this.#served.get(hostname) ?? new Map<string, Owner>();
    const listed = this.#listed.get(hostname);
    const first =
      served.get(type) ?? [...served.values(), listed].find((other) => other && other.key !== owner.key);
    if (first) return this.#taken(at, first);
    served.set(type, owner);
    this.#served.set(hostname, served);
  }

  #taken(at: PropertyKey[], { place }: Owner): void {
    this.#report(at, `this hostname is taken by ${place}: a hostname is given once`);
  }
}

/** Which public port is whose. */
class PortClaims {
  readonly #report: Report;
  /** For TCP and UDP alike. */
  readonly #listed = new Map<number, Owner>();
  readonly #served: Record<PortKind, Map<number, Owner>> = { TCP: new Map(), UDP: new Map() };

  constructor(report: Report) {
    this.#report = report;
  }

  list(ports: unknown[], key: number): void {
    ports.forEach((text, i) => {
      const range = readPortRange(text);
      if (!range) return;
      const owner = { key, place: `keys[${key}].ports[${i}]` };
      this.#take(range, this.#listed, owner, ["keys", key, "ports", i], (port) => this.#listed.get(port));
    });
  }

  tunnel(kind: PortKind, range: PortRange, owner: Owner, at: PropertyKey[]): void {
    const served = this.#served[kind];
    this.#take(range, served, owner, at, (port) => {
      const listed = this.#listed.get(port);
      return served.get(port) ?? (listed && listed.key !== owner.key ? listed : undefined);
    });
  }

  /** All of them, or none and a problem. */
  #take(
    { from, to }: PortRange,
    ports: Map<number, Owner>,
    owner: Owner,
    at: PropertyKey[],
    ownerOf: (port: number) => Owner | undefined,
  ): void {
    for (let port = from; port <= to; port++) {
      const first = ownerOf(port);
      if (first) {
        return this.#report(at, `port ${port} is taken by ${first.place}: a port is given once`);
      }
    }
    for (let port = from; port <= to; port++) ports.set(port, owner);
  }
}

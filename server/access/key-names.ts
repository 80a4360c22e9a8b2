import { hostName, type PortKind, tlsName } from "../routing/place.ts";
import { labelsBehind } from "../routing/hostname.ts";
import type { Key } from "./key.ts";

/**
 * The public names that are written to one key, beside its `ports`: a hostname for HTTP and TLS alike, and those of its tunnels.
 * One key takes over from another at them; at ports that it may ask for among many, it does not.
 */
export interface KeyNames {
  /** Hostnames, and hostnames behind `tls:`. */
  hosts: ReadonlySet<string>;
  /** Wildcards under which its clients may ask for any hostname, and how many labels the longest of them has. */
  wildcards: ReadonlySet<string>;
  wildcardLabels: number;
  ports: Readonly<Record<PortKind, ReadonlySet<number>>>;
}

/** A key is asked about at each Hello, and may have tens of thousands of ports. */
const known = new WeakMap<Key, KeyNames>();

export function namesOf(key: Key): KeyNames {
  let names = known.get(key);
  if (!names) known.set(key, (names = collect(key)));
  return names;
}

function collect({ hostnames, tunnels }: Key): KeyNames {
  const hosts = new Set([...hostnames, ...hostnames.map(tlsName)]);
  const ports: Record<PortKind, Set<number>> = { TCP: new Set(), UDP: new Set() };
  for (const tunnel of tunnels) {
    if ("hostname" in tunnel) hosts.add(hostName(tunnel));
    else if (tunnel.port > 0) for (let i = 0; i < tunnel.ports; i++) ports[tunnel.kind].add(tunnel.port + i);
  }
  const wildcards = new Set(hostnames.filter((name) => name.startsWith("*.")));
  return { hosts, wildcards, wildcardLabels: Math.max(0, ...[...wildcards].map(labelsBehind)), ports };
}

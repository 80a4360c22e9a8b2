import type { PortRange } from "../../link/port-range.ts";
import type { ConfiguredKey } from "../config/config.ts";
import { formatPortRange, placeInWords } from "../routing/place.ts";
import type { StoredKey } from "../store/key-file.ts";
import { targetInWords } from "./target-words.ts";

/** A key as people and scripts may see it. */
export interface ShownKey {
  id: string;
  name: string;
  source: "config" | "keys.json";
  hostnames: readonly string[];
  ports: readonly PortRange[];
  tunnels: readonly ShownTunnel[];
  /** ISO 8601; absent for a key of the config. */
  created?: string;
}

export interface ShownTunnel {
  name: string;
  type: "http" | "tls" | "tcp" | "udp";
  /** Of a tunnel with a hostname. */
  hostname?: string;
  /** Of a tunnel with ports: the first, 0 for any free one, and how many. */
  port?: number;
  ports?: number;
  target: string;
}

/** Names the fields one by one: a secret or its hash is not among them. */
export function shownKey(
  key: (ConfiguredKey & { id: string; created?: string }) | StoredKey,
  source: ShownKey["source"],
): ShownKey {
  const { id, name, hostnames, ports = [], created } = key;
  const tunnels = key.tunnels.map((tunnel): ShownTunnel => {
    const { name, kind, target } = tunnel;
    const type = kind.toLowerCase() as ShownTunnel["type"];
    if ("hostname" in tunnel) return { name, type, hostname: tunnel.hostname, target };
    return { name, type, port: tunnel.port, ports: tunnel.ports, target };
  });
  return { id, name, source, hostnames, ports, tunnels, ...(created !== undefined && { created }) };
}

/** One tunnel in a list: `web`, `mail (tls)`, `ssh (tcp 2222)`, `game (udp)` at any free port. */
export function tunnelInBrief({ name, type, port = 0, ports = 1 }: ShownTunnel): string {
  if (type === "http") return name;
  if (port === 0) return `${name} (${type})`;
  return `${name} (${type} ${formatPortRange({ from: port, to: port + ports - 1 })})`;
}

/** `web: app.example.com -> 127.0.0.1:3000`, `ssh: tcp port 2222 -> 127.0.0.1:22`. */
export function tunnelInWords({ name, type, hostname, port = 0, ports = 1, target }: ShownTunnel): string {
  const place = hostname ?? placeInWords({ kind: type === "udp" ? "UDP" : "TCP", port, ports });
  const kind = type === "http" ? "" : `${type} `;
  return `${name}: ${kind}${place} -> ${targetInWords(target, ports)}`;
}

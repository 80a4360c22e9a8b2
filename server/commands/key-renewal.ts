import { formatPortRange } from "../routing/place.ts";
import { ANY_PORT, KIND_IN_FRONT } from "./key-tunnel.ts";
import type { ShownKey, ShownTunnel } from "./shown-key.ts";
import { targetInWords } from "./target-words.ts";

/** The commands, as a shell takes them, that put a new key with the same rights in a stored key's place. */
export function renewalLine(
  key: Pick<ShownKey, "name" | "hostnames" | "ports" | "tunnels">,
  { dataDir, configFile }: { dataDir: string; configFile: string | undefined },
): string {
  const place = [...(configFile === undefined ? [] : ["--config", configFile]), "--data-dir", dataDir];
  const mapped = new Set(key.tunnels.map(({ hostname }) => hostname));
  const own = key.hostnames.filter((hostname) => !mapped.has(hostname));
  const rights = [
    ...own.flatMap((hostname) => ["--hostname", hostname]),
    ...key.ports.flatMap((range) => ["--port", formatPortRange(range)]),
    ...key.tunnels.flatMap((tunnel) => ["--tunnel", `${tunnel.name}=${targetOf(tunnel)}${placeOf(tunnel)}`]),
  ];
  const revoke = ["tunnel-server", "key", "revoke", key.name, ...place];
  const create = ["tunnel-server", "key", "create", "--name", key.name, ...rights, ...place];
  return `${shellLine(revoke)} && ${shellLine(create)}`;
}

/** With the kind before it, unless it goes without saying. */
function targetOf({ type, target, ports }: ShownTunnel): string {
  if (type === "http" && !KIND_IN_FRONT.test(target)) return target;
  return `${type}:${targetInWords(target, ports)}`;
}

function placeOf({ hostname, port = 0, ports = 1, target }: ShownTunnel): string {
  if (hostname !== undefined) return `@${hostname}`;
  if (port > 0) return `@${formatPortRange({ from: port, to: port + ports - 1 })}`;
  // What stands behind the last "@" is read as the place.
  return target.includes("@") ? `@${ANY_PORT}` : "";
}

function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

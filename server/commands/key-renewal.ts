/** What a new key needs to stand in an old one's place. */
export interface RenewableKey {
  name: string;
  hostnames: readonly string[];
  tunnels: readonly { name: string; hostname?: string; target: string }[];
}

/** The commands, as a shell takes them, that put a new key with the same rights in a stored key's place. */
export function renewalLine(
  key: RenewableKey,
  { dataDir, configFile }: { dataDir: string; configFile: string | undefined },
): string {
  const place = [...(configFile === undefined ? [] : ["--config", configFile]), "--data-dir", dataDir];
  const mapped = new Set(key.tunnels.map(({ hostname }) => hostname));
  const own = key.hostnames.filter((hostname) => !mapped.has(hostname));
  const rights = [
    ...own.flatMap((hostname) => ["--hostname", hostname]),
    ...key.tunnels.flatMap(({ name, target, hostname }) => ["--tunnel", `${name}=${target}@${hostname}`]),
  ];
  const revoke = ["tunnel-server", "key", "revoke", key.name, ...place];
  const create = ["tunnel-server", "key", "create", "--name", key.name, ...rights, ...place];
  return `${shellLine(revoke)} && ${shellLine(create)}`;
}

function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

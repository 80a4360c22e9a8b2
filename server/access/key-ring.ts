import { createHash, timingSafeEqual } from "node:crypto";
import { stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { TunnelError } from "../../link/errors.ts";
import type { PortRange } from "../../link/port-range.ts";
import type { Log } from "../../runtime/log.ts";
import type { PortKind } from "../routing/place.ts";
import { keyFileIn, readKeyFile, type StoredKey } from "../store/key-file.ts";
import { configKeyId, configKeySecret } from "./config-key.ts";
import type { Key, KeyTunnel } from "./key.ts";
import { NameOwners, type Owner, type PortOwner } from "./name-owners.ts";

/** A key as the config has it. */
export interface ConfigKey {
  name: string;
  secret: string;
  hostnames: readonly string[];
  ports?: readonly PortRange[] | undefined;
  tunnels: readonly KeyTunnel[];
}

interface Entry {
  key: Key;
  secretHash: Buffer;
}

/** Half of the second within which a revoked key's sessions must end. */
const POLL_MS = 500;
/** Some editors remove a file for a moment when they save it; that is not a wish to revoke every key. */
const MISSING_FILE_RECHECK_MS = 200;
/** What an unknown key is compared with, so that it takes as long as a known one. */
const NOBODY = Buffer.alloc(32);

/**
 * The keys that may come in: those of the config, and those of keys.json as it is at the last `refresh`. While
 * keys.json cannot be read or understood, its last good content counts.
 */
export class KeyRing {
  readonly #file: string;
  readonly #log: Log;
  readonly #fromConfig: ReadonlyMap<string, Entry>;
  readonly #onRevoked = new Set<(keyIds: ReadonlySet<string>) => void>();
  #entries: ReadonlyMap<string, Entry>;
  #owners: NameOwners;
  /** What tells one state of the file from another; `undefined` until it was read for the first time. */
  #stamp: string | undefined;
  #problem: string | undefined;
  #refreshing: Promise<void> = Promise.resolve();
  #nextRefresh: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();

  constructor(options: { dataDir: string; configKeys: readonly ConfigKey[]; log: Log }) {
    this.#file = keyFileIn(options.dataDir);
    this.#log = options.log;
    this.#fromConfig = new Map(options.configKeys.map(configEntry).map((entry) => [entry.key.id, entry]));
    this.#entries = this.#fromConfig;
    this.#owners = ownersIn(this.#entries);
  }

  /** The key, if id and secret belong together. An unknown id and a wrong secret look and take the same. */
  authenticate(keyId: Uint8Array, secret: Uint8Array): Key | undefined {
    const entry = this.#entries.get(Buffer.from(keyId).toString("hex"));
    const matches = timingSafeEqual(sha256(secret), entry?.secretHash ?? NOBODY);
    return matches ? entry?.key : undefined;
  }

  byId(id: string): Key | undefined {
    return this.#entries.get(id)?.key;
  }

  /**
   * The keys that a hostname is written to, as one they may claim or as that of a tunnel; the config's come first. Several while
   * one key takes over from another.
   *
   * @param name a hostname, or one behind `tls:`
   */
  ownersOf(name: string): readonly Owner[] {
    return this.#owners.of(name);
  }

  /** The same, or else those of the closest wildcard over a hostname. */
  ownersOver(hostname: string): readonly Owner[] {
    return this.#owners.over(hostname);
  }

  /** Those that ports of a range are written to, in the order of the ports. */
  portOwners(kind: PortKind, range: PortRange): readonly PortOwner[] {
    return this.#owners.ofPorts(kind, range);
  }

  /** `listener` gets the ids of keys whose sessions must end. Returns how to stop that. */
  onRevoked(listener: (keyIds: ReadonlySet<string>) => void): () => void {
    this.#onRevoked.add(listener);
    return () => this.#onRevoked.delete(listener);
  }

  /** Takes over what keys.json says now; cheap if it has not changed. Never throws: what is wrong is logged. */
  refresh(): Promise<void> {
    // A look that has begun may have missed what the caller knows of; one that waits to begin serves all who ask.
    this.#nextRefresh ??= this.#refreshing.then(() => {
      this.#nextRefresh = undefined;
      return (this.#refreshing = this.#load());
    });
    return this.#nextRefresh;
  }

  /** Looks at keys.json twice a second from now on. */
  watch(): void {
    this.#timer ??= setInterval(() => void this.refresh(), POLL_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#closing.abort();
    this.#onRevoked.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #load(): Promise<void> {
    try {
      const stamp = await this.#stampOfFile();
      if (stamp === this.#stamp) return;
      // Taken before reading: what changes in between is read again next time.
      const stored = await readKeyFile(this.#file);
      this.#stamp = stamp;
      this.#takeOver(stored);
      if (this.#problem !== undefined) this.#log.info({ file: this.#file }, "keys.json can be read again");
      this.#problem = undefined;
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      const problem = (error as Error).message;
      if (problem === this.#problem) return;
      this.#problem = problem;
      this.#log.error(
        { file: this.#file, error },
        "keys.json is not usable: the keys that were last read stay valid",
      );
    }
  }

  async #stampOfFile(): Promise<string> {
    const stamp = await stampOf(this.#file);
    if (stamp !== MISSING || this.#stamp === undefined || this.#stamp === MISSING) return stamp;
    await delay(MISSING_FILE_RECHECK_MS, undefined, { signal: this.#closing.signal });
    return await stampOf(this.#file);
  }

  #takeOver(stored: StoredKey[]): void {
    const entries = new Map(this.#fromConfig);
    const configNames = new Set([...this.#fromConfig.values()].map(({ key }) => key.name));
    for (const entry of stored.map(storedEntry)) {
      if (configNames.has(entry.key.name) || entries.has(entry.key.id)) {
        this.#log.warn(
          { key: entry.key.name, file: this.#file },
          "a key of keys.json has the name of a key in the config: the config's counts, revoke the other",
        );
      } else {
        entries.set(entry.key.id, entry);
      }
    }
    const before = this.#entries;
    this.#entries = entries;
    this.#owners = ownersIn(entries);
    const revoked = new Set(
      [...before.keys()].filter((id) => !isStillGood(before.get(id)!, entries.get(id))),
    );
    if (revoked.size === 0) return;
    this.#log.info({ keys: [...revoked].map((id) => before.get(id)!.key.name) }, "keys revoked");
    for (const listener of this.#onRevoked) listener(revoked);
  }
}

export function keyRevoked(): TunnelError {
  return new TunnelError(
    "key_revoked",
    "The access key has been revoked. Ask the server's owner for a new one.",
  );
}

const MISSING = "missing";

async function stampOf(file: string): Promise<string> {
  try {
    const { mtimeNs, ctimeNs, size, ino } = await stat(file, { bigint: true });
    return [mtimeNs, ctimeNs, size, ino].join(" ");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return MISSING;
    throw error;
  }
}

function configEntry({ name, secret, hostnames, ports, tunnels }: ConfigKey): Entry {
  return {
    key: { id: configKeyId(name).toString("hex"), name, hostnames, ports, tunnels, source: "config" },
    secretHash: sha256(configKeySecret(secret)),
  };
}

function storedEntry({ id, name, secretSha256, hostnames, ports, tunnels }: StoredKey): Entry {
  return {
    key: { id, name, hostnames, ports, tunnels, source: "store" },
    secretHash: Buffer.from(secretSha256, "hex"),
  };
}

function ownersIn(entries: ReadonlyMap<string, Entry>): NameOwners {
  return new NameOwners([...entries.values()].map(({ key }) => key));
}

/** A key whose secret was replaced lets nobody stay who showed the old one. */
function isStillGood(before: Entry, after: Entry | undefined): boolean {
  return after !== undefined && after.secretHash.equals(before.secretHash);
}

function sha256(data: Uint8Array): Buffer {
  return createHash("sha256").update(data).digest();
}

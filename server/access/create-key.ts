import { createHash, randomBytes } from "node:crypto";
import { encodeAccessKey } from "../../link/access-key.ts";
import type { PortRange } from "../../link/port-range.ts";
import { keyFileIn, type MappedTunnel, type StoredKey, updateKeyFile } from "../store/key-file.ts";

/** There is a key of this name already. */
export class NameTaken extends Error {
  override readonly name = "NameTaken";
}

/**
 * Makes a key, stores its hash in keys.json, and returns it with the token, which nothing can show again.
 *
 * @param options.pin the server's `spkiPin`; absent where authorities vouch for it, or without TLS
 * @param options.namesInConfig the names of the config's keys, which this one must not take
 * @throws NameTaken, KeyFileError
 */
export async function createKey(options: {
  dataDir: string;
  name: string;
  hostnames?: string[];
  ports?: PortRange[];
  tunnels?: MappedTunnel[];
  host: string;
  port: number;
  pin?: Buffer | undefined;
  namesInConfig?: readonly string[];
}): Promise<{ key: StoredKey; token: string }> {
  const {
    dataDir,
    name,
    hostnames = [],
    ports = [],
    tunnels = [],
    host,
    port,
    pin,
    namesInConfig = [],
  } = options;
  if (namesInConfig.includes(name)) {
    throw new NameTaken(`the config has a key called "${name}" already: choose another name`);
  }
  const keyId = randomBytes(8);
  const secret = randomBytes(16);
  const token = encodeAccessKey({ keyId, secret, ...(pin && { pin }), host, port });
  const key: StoredKey = {
    id: keyId.toString("hex"),
    name,
    secretSha256: createHash("sha256").update(secret).digest("hex"),
    // As in the config: who maps a hostname to a key grants it.
    hostnames: [
      ...new Set([
        ...hostnames,
        ...tunnels.flatMap((tunnel) => ("hostname" in tunnel ? [tunnel.hostname] : [])),
      ]),
    ],
    ...(ports.length > 0 && { ports }),
    tunnels,
    created: new Date().toISOString(),
  };
  await updateKeyFile(keyFileIn(dataDir), (keys) => {
    if (keys.some((other) => other.name === name)) {
      throw new NameTaken(
        `there is a key called "${name}" already: choose another name, or revoke that one first`,
      );
    }
    return [...keys, key];
  });
  return { key, token };
}

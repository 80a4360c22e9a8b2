import { createKey } from "../../server/access/create-key.ts";
import { readOwnPin } from "../../server/grpc/certificate.ts";
import type { MappedTunnel } from "../../server/store/key-file.ts";
import type { Tunnel } from "./tunnel.ts";

/** A further key of a tunnel's server, as `tunnel-server key create` makes it; returns the token. */
export async function makeKey(
  tunnel: Tunnel,
  name: string,
  rights: { hostnames?: string[]; tunnels?: MappedTunnel[] } = {},
): Promise<string> {
  const { directory: dataDir, relay } = tunnel;
  const pin = await readOwnPin(dataDir);
  const { token } = await createKey({ dataDir, name, ...rights, host: "127.0.0.1", port: relay.port, pin });
  return token;
}

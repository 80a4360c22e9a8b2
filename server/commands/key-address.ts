import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { type NetAddress, parseServerAddress } from "../../runtime/net-address.ts";
import { quoted } from "../../runtime/printable.ts";
import { globalAddresses, isGlobalAddress } from "../access/public-address.ts";
import type { ServerConfig } from "../config/config.ts";
import { CommandError } from "../../runtime/command-error.ts";

/** What to write where the address cannot be told from this machine. */
const REMEDY =
  "Pass --public-address HOST:PORT as clients reach the gRPC port, or set grpc.public_address in the config.";

/**
 * The address that goes into access keys: `option`, else that of the config, else this machine's one global address
 * with the gRPC port. A private address comes only from somebody who typed it.
 *
 * @param option as typed with --public-address
 * @throws CommandError
 */
export function addressForKeys(
  option: string | undefined,
  grpc: ServerConfig["grpc"],
  interfaces = networkInterfaces(),
): NetAddress {
  if (option !== undefined) {
    const parsed = parseServerAddress(option);
    if (typeof parsed === "string")
      throw new CommandError(2, `--public-address: ${parsed}, got ${quoted(option)}`);
    return parsed;
  }
  if (grpc.publicAddress) return grpc.publicAddress;
  return { host: globalHost(grpc.listen.host, interfaces), port: knownPort(grpc.listen.port) };
}

function globalHost(
  listenHost: string | undefined,
  interfaces: ReturnType<typeof networkInterfaces>,
): string {
  if (listenHost !== undefined && !/^(?:0\.0\.0\.0|::)$/.test(listenHost)) {
    if (isGlobalAddress(listenHost)) return listenHost;
    throw unknownAddress(`grpc.listen is ${quoted(listenHost)}, which clients elsewhere cannot reach.`);
  }
  const addresses = globalAddresses(interfaces).filter(
    (address) => listenHost !== "0.0.0.0" || isIP(address) === 4,
  );
  if (addresses.length === 0) throw unknownAddress("This machine has no public address of its own.");
  if (addresses.length > 1) {
    throw unknownAddress(`This machine has several public addresses: ${addresses.slice(0, 8).join(", ")}.`);
  }
  return addresses[0]!;
}

function knownPort(port: number): number {
  if (port === 0)
    throw unknownAddress("grpc.listen takes any free port, which is known only to the running server.");
  return port;
}

function unknownAddress(why: string): CommandError {
  return new CommandError(2, `The address for the access key is not known. ${why} ${REMEDY}`);
}

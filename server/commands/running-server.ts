/** The server that may be running here, and whose data directory it uses: `key create` must not make keys for another one. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { connect } from "node:tls";
import { spkiPin } from "../../link/access-key.ts";
import type { ListenAddress } from "../../runtime/net-address.ts";
import { stateDirectory } from "../../runtime/state-directory.ts";
import { CERTIFICATE_FILE, CERTIFICATE_NAME } from "../grpc/certificate.ts";

/** Over loopback; a server that is too busy to answer within this is not compared. */
const ANSWER_WITHIN_MS = 2_000;

/** Where the data directory of a server that answers here is, as far as that can be told. */
export interface OtherServer {
  /** Undefined: none of the usual places. */
  directory: string | undefined;
}

/**
 * Looks whether a server that answers at `listen` has another certificate than the data directory, and so uses another one.
 *
 * @param pin of the certificate in the data directory, if there is one
 * @returns undefined if it is the same, or nobody answers who is known as tunnel-server
 */
export async function otherServerAt(
  { host, port }: ListenAddress,
  pin: Buffer | undefined,
): Promise<OtherServer | undefined> {
  if (port === 0) return undefined;
  const isEverywhere = host === undefined || host === "::" || host === "0.0.0.0";
  const running = await pinOfServerAt({ host: isEverywhere ? "127.0.0.1" : host, port });
  if (!running || pin?.equals(running)) return undefined;
  for (const directory of usualDirectories()) {
    if (await mayHold(directory, running)) return { directory };
  }
  return { directory: undefined };
}

/** Undefined if what answers there, if anything does, has no certificate as tunnel-server makes them. */
function pinOfServerAt(address: { host: string; port: number }): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    // Nothing is sent, and nothing believed: the certificate is only compared.
    const socket = connect({ ...address, ALPNProtocols: ["h2"], rejectUnauthorized: false });
    socket.setTimeout(ANSWER_WITHIN_MS, () => socket.destroy());
    socket.once("error", () => socket.destroy());
    socket.once("close", () => resolve(undefined));
    socket.once("secureConnect", () => {
      const certificate = socket.getPeerX509Certificate();
      resolve(certificate?.subject === CERTIFICATE_NAME ? spkiPin(certificate) : undefined);
      socket.destroy();
    });
  });
}

/** The data directories of root, and of the user who called sudo. */
function usualDirectories(): string[] {
  const { SUDO_USER: user } = process.env;
  return [stateDirectory(undefined, {}, 0), stateDirectory(), ...(user ? [userDirectory(user)] : [])];
}

function userDirectory(user: string): string {
  return stateDirectory(undefined, { HOME: path.join("/home", user) }, 1);
}

/** One that this user may not look into may be it: that is how `sudo` is forgotten. */
async function mayHold(directory: string, pin: Buffer): Promise<boolean> {
  try {
    return spkiPin(await readFile(path.join(directory, CERTIFICATE_FILE), "utf8")).equals(pin);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EACCES";
  }
}

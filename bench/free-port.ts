import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";

const TRIES = 20;

/** A port of 127.0.0.1 that nobody listens on at the moment, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  return await listenOnce("127.0.0.1", 0);
}

/**
 * A loopback address with this port free at the moment, for programs whose port cannot be chosen. Drawn at random: two that are
 * started at the same time hardly get the same one.
 *
 * @throws if there is none, as when something listens on the port at all addresses
 */
export async function freeLoopbackAddress(port: number): Promise<string> {
  for (let tries = 1; ; tries++) {
    const host = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
    try {
      await listenOnce(host, port);
      return host;
    } catch (error) {
      if (tries === TRIES)
        throw new Error(`port ${port} is taken at all loopback addresses that were tried`, { cause: error });
    }
  }
}

/** @returns the port */
async function listenOnce(host: string, port: number): Promise<number> {
  const server = createServer();
  server.listen(port, host);
  await once(server, "listening");
  const { port: taken } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return taken;
}

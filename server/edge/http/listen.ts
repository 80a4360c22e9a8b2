import type { Server } from "node:net";

export interface Address {
  host: string;
  port: number;
}

/** A flood of visitors waits in the system's queue and is not refused; the system may allow less. */
const BACKLOG = 4096;

/**
 * Listens, on all addresses (IPv6 and IPv4) if no host is given. Gives the address that it has become.
 *
 * @throws Error that names the option and says what to do
 */
export async function listen(
  server: Server,
  options: { host?: string | undefined; port: number },
): Promise<Address> {
  const { host, port } = options;
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(explain(error, host, port));
    server.once("error", failed);
    // Node itself takes 0.0.0.0 where there is no IPv6.
    server.listen({ port, backlog: BACKLOG, ...(host === undefined ? {} : { host }) }, () => {
      server.off("error", failed);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("http.listen: not a TCP address");
  return { host: address.address, port: address.port };
}

function explain(error: NodeJS.ErrnoException, host: string | undefined, port: number): Error {
  const place = host === undefined ? `port ${port}` : `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return new Error(`http.listen: ${reason(error, place)}`, { cause: error });
}

function reason(error: NodeJS.ErrnoException, place: string): string {
  switch (error.code) {
    case "EADDRINUSE":
      return `${place} is in use by another program. Stop that program, or set http.listen (--http-listen) to another port (0 for a free one).`;
    case "EACCES":
      return `${place} may not be used by this user. Set http.listen (--http-listen) to a port from 1024 up, or give the program the right (CAP_NET_BIND_SERVICE).`;
    case "EADDRNOTAVAIL":
      return `${place} is no address of this machine. Set http.listen (--http-listen) to one that is, or to a port alone for all addresses.`;
    case "ENOTFOUND":
      return `the host of ${place} cannot be found. Set http.listen (--http-listen) to an address of this machine, or to a port alone.`;
    default:
      return `cannot listen on ${place}: ${error.message}`;
  }
}

import { createServer, type Server, type Socket } from "node:net";

const KIB = 1024;
/** A flood of visitors waits in the system's queue and is not refused; the system may allow less. */
const BACKLOG = 4096;
/** A visitor who vanished without a word is noticed, be the connection ever so quiet. */
const KEEP_ALIVE_MS = 60_000;

/**
 * Listens for visitors, on all addresses (IPv6 and IPv4) if no host is given. Their sockets come paused.
 *
 * @throws NodeJS.ErrnoException
 */
export async function listenForVisitors(options: {
  host?: string | undefined;
  port: number;
  onVisitor: (socket: Socket) => void;
  /** One could not be taken. Descriptors may have run out; who is there goes on. */
  onTrouble: (error: Error) => void;
}): Promise<Server> {
  const { host, port, onVisitor, onTrouble } = options;
  const server = createServer({
    allowHalfOpen: true,
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    highWaterMark: 64 * KIB,
  });
  server.on("connection", onVisitor);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // Node itself takes 0.0.0.0 where there is no IPv6.
    server.listen({ port, backlog: BACKLOG, ...(host !== undefined && { host }) }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", onTrouble);
  return server;
}

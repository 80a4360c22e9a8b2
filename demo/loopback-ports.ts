import { once } from "node:events";
import net from "node:net";

/**
 * The loopback address to listen on: the preferred port, or port 0 (a free one) if something answers there. Both
 * loopback addresses count: a browser may take `demo.localhost` for ::1 first, and must not meet a stranger there.
 */
export async function listenAddress(preferredPort: number): Promise<string> {
  const taken = (await isListening("127.0.0.1", preferredPort)) || (await isListening("::1", preferredPort));
  return `127.0.0.1:${taken ? 0 : preferredPort}`;
}

export async function isListening(host: string, port: number): Promise<boolean> {
  const socket = net.connect({ host, port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

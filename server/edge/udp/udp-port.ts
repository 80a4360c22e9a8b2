import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { lookup as systemLookup } from "node:dns";
import { isIP, isIPv4 } from "node:net";

/**
 * One socket takes the datagrams of all visitors, and the system drops what comes while the event loop is busy: 30 ms at 1 Gbit/s.
 * Linux grants at most net.core.rmem_max and wmem_max, 208 KiB unless somebody has raised them.
 */
const BUFFER_BYTES = 4 * 1024 * 1024;
/** What may wait for the system to take it. */
const UNSENT_BYTES = 1024 * 1024;
/** Without IPv6: the kernel does not know it (socket(2)), or has no address of it (ipv6(7)). */
const NO_IPV6 = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"]);

export interface UdpPortOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host: string | undefined;
  port: number;
  onDatagram: (datagram: Buffer, from: RemoteInfo) => void;
  /** Something is wrong with the socket, which goes on all the same. */
  onError: (error: Error) => void;
}

/** A public UDP port. */
export class UdpPort {
  readonly port: number;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.port = socket.address().port;
  }

  /** @throws NodeJS.ErrnoException */
  static async open(options: UdpPortOptions): Promise<UdpPort> {
    const { host } = options;
    if (host !== undefined) return new UdpPort(await bind(options, host, isIPv4(host) ? "udp4" : "udp6"));
    try {
      return new UdpPort(await bind(options, "::", "udp6"));
    } catch (error) {
      if (!NO_IPV6.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      return new UdpPort(await bind(options, "0.0.0.0", "udp4"));
    }
  }

  /**
   * `false`: dropped, since too much waits.
   *
   * @param sent told, with an error, of what the system did not take either
   */
  send(datagram: Buffer, to: RemoteInfo, sent: (error: Error | null) => void): boolean {
    if (this.#socket.getSendQueueSize() > UNSENT_BYTES) return false;
    this.#socket.send(datagram, to.port, to.address, sent);
    return true;
  }

  close(): void {
    this.#socket.close();
  }
}

async function bind(
  { port, onDatagram, onError }: UdpPortOptions,
  address: string,
  type: "udp4" | "udp6",
): Promise<Socket> {
  const socket = createSocket({ type, lookup });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ port, address, exclusive: true }, () => {
      socket.off("error", reject);
      resolve();
    });
  }).catch((error: unknown) => {
    socket.close();
    throw error;
  });
  socket.on("error", onError);
  socket.on("message", onDatagram);
  try {
    socket.setRecvBufferSize(BUFFER_BYTES);
    socket.setSendBufferSize(BUFFER_BYTES);
  } catch {
    // Not every system cuts what it does not allow; then it keeps its own.
  }
  return socket;
}

/** An address, as visitors have it, needs no look-up; Node's own takes a turn for it all the same. */
function lookup(
  host: string,
  options: object,
  callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  const family = isIP(host);
  if (family === 0) systemLookup(host, options, callback);
  else callback(null, host, family);
}

import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";

/** A socket for datagrams on a free port, with what came to it. */
export class DatagramPeer implements AsyncDisposable {
  readonly received: { datagram: Buffer; from: RemoteInfo }[] = [];
  readonly socket: Socket;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setRecvBufferSize(1024 * 1024);
    socket.on("message", (datagram, from) => {
      this.received.push({ datagram, from });
      for (const look of this.#waiting) look();
    });
  }

  static async open({ host = "127.0.0.1", port = 0 } = {}): Promise<DatagramPeer> {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.bind(port, host);
    await once(socket, "listening").catch((error: unknown) => {
      socket.close();
      throw error;
    });
    return new DatagramPeer(socket);
  }

  /** A service that answers each datagram; with the same, if nothing else is said. */
  static async service(
    answer: (datagram: Buffer) => Buffer | string | undefined = (datagram) => datagram,
    options: { host?: string; port?: number } = {},
  ): Promise<DatagramPeer> {
    const service = await DatagramPeer.open(options);
    service.socket.on("message", (datagram, { port, address }) => {
      const said = answer(datagram);
      if (said !== undefined) service.socket.send(said, port, address);
    });
    return service;
  }

  get port(): number {
    return this.socket.address().port;
  }

  /** As text. */
  get heard(): string[] {
    return this.received.map(({ datagram }) => datagram.toString("latin1"));
  }

  send(datagram: Buffer | string, port: number, host = "127.0.0.1"): void {
    this.socket.send(datagram, port, host);
  }

  /** Resolves with the datagram that came as number `count`. */
  async next(count = 1): Promise<Buffer> {
    await this.until(() => this.received.length >= count);
    return this.received[count - 1]!.datagram;
  }

  /** Looks whenever a datagram comes. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await new Promise<void>((resolve) => this.socket.close(resolve));
  }
}

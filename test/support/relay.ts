import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/**
 * `pass`: bytes go through. `hold`: nothing does, and both ends see open sockets, as in a partition; what was sent
 * arrives once the relay passes again. `refuse`: new connections are reset, open ones pass.
 */
export type RelayMode = "pass" | "hold" | "refuse";

/** One connection through a relay. */
export class RelayedConnection {
  readonly #near: Socket;
  readonly #far: Socket;
  #held = false;
  /** Bytes that came from either end. */
  bytes = 0;

  constructor(near: Socket, far: Socket, delayMs: number) {
    this.#near = near;
    this.#far = far;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("data", (chunk: Buffer) => {
        this.bytes += chunk.length;
        if (delayMs === 0) to.write(chunk);
        else setTimeout(() => to.write(chunk), delayMs);
      });
      from.on("end", () => to.end());
      from.on("error", () => to.resetAndDestroy());
      from.on("close", () => to.destroySoon());
    }
  }

  /** A black hole: both sockets stay open, and nothing passes any more. */
  hold(): void {
    this.#held = true;
    this.#near.pause();
    this.#far.pause();
  }

  /** Passes on what was held. */
  release(): void {
    this.#held = false;
    this.#near.resume();
    this.#far.resume();
  }

  get held(): boolean {
    return this.#held;
  }

  /** Both ends see a reset. */
  cut(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }

  destroy(): void {
    this.#near.destroy();
    this.#far.destroy();
  }
}

/** A TCP relay on loopback that stands for the network between two ends, and does to them what networks do. */
export class Relay implements AsyncDisposable {
  readonly port: number;
  /** Those that are open, the oldest first. */
  readonly connections = new Set<RelayedConnection>();
  /** All that were ever accepted, refused ones too. */
  accepted = 0;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #delayMs: number;
  readonly #waiting = new Set<() => void>();
  #mode: RelayMode = "pass";

  private constructor(server: Server, targetPort: number, delayMs: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    this.#delayMs = delayMs;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket: Socket) => this.#accept(socket));
  }

  /** @param options.delayMs each way */
  static async to(targetPort: number, options: { delayMs?: number } = {}): Promise<Relay> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Relay(server, targetPort, options.delayMs ?? 0);
  }

  get mode(): RelayMode {
    return this.#mode;
  }

  set mode(mode: RelayMode) {
    this.#mode = mode;
    for (const connection of this.connections) {
      if (mode === "hold") connection.hold();
      else if (mode === "pass") connection.release();
    }
  }

  /** Both ends of every open connection see a reset. */
  cut(): void {
    for (const connection of this.connections) connection.cut();
  }

  /** Resolves once so many have been accepted, ever. */
  acceptedSoFar(count: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.accepted < count) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(near: Socket): void {
    near.setNoDelay(true);
    this.accepted++;
    if (this.#mode === "refuse") {
      near.on("error", () => {});
      near.resetAndDestroy();
    } else {
      const far = connect({ port: this.#targetPort, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
      const connection = new RelayedConnection(near, far, this.#delayMs);
      this.connections.add(connection);
      near.once("close", () => this.connections.delete(connection));
      if (this.#mode === "hold") connection.hold();
    }
    for (const look of this.#waiting) look();
  }
}

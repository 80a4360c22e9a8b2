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
  #halfOpen = false;
  /** Bytes that came from either end. */
  bytes = 0;

  /** @param delayMs asked for each piece */
  constructor(near: Socket, far: Socket, delayMs: () => number) {
    this.#near = near;
    this.#far = far;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      const way = new DelayedWay(delayMs);
      from.on("data", (chunk: Buffer) => {
        this.bytes += chunk.length;
        way.pass(() => {
          if (!to.write(chunk)) from.pause();
        });
      });
      to.on("drain", () => {
        if (!this.#held) from.resume();
      });
      from.on("end", () => way.pass(() => to.end()));
      from.on("error", () => {
        if (!this.#halfOpen) to.resetAndDestroy();
      });
      from.on("close", () => {
        if (!this.#halfOpen) to.destroySoon();
      });
    }
  }

  /** One end sees a reset; the other one's connection stays open, and nobody is there any more. */
  halfOpen(staysOpen: "near" | "far"): void {
    this.#halfOpen = true;
    this.hold();
    (staysOpen === "near" ? this.#far : this.#near).resetAndDestroy();
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

/** What passes one way: everything in its order, after the delay of the moment when it came. */
class DelayedWay {
  readonly #delayMs: () => number;
  readonly #waiting: { dueMs: number; deed: () => void }[] = [];

  constructor(delayMs: () => number) {
    this.#delayMs = delayMs;
  }

  pass(deed: () => void): void {
    const delayMs = this.#delayMs();
    if (delayMs === 0 && this.#waiting.length === 0) return deed();
    this.#waiting.push({ dueMs: performance.now() + delayMs, deed });
    if (this.#waiting.length === 1) this.#wait();
  }

  #wait(): void {
    const [next] = this.#waiting;
    if (!next) return;
    setTimeout(
      () => {
        this.#waiting.shift();
        next.deed();
        this.#wait();
      },
      Math.max(0, next.dueMs - performance.now()),
    );
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
  readonly #target: { host: string; port: number };
  /** Each way. */
  delayMs: number;
  readonly #waiting = new Set<() => void>();
  #mode: RelayMode = "pass";

  private constructor(server: Server, target: { host: string; port: number }, delayMs: number) {
    this.#server = server;
    this.#target = target;
    this.delayMs = delayMs;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket: Socket) => this.#accept(socket));
  }

  /** @param options.host of the target; 127.0.0.1 if left out */
  static async to(targetPort: number, options: { delayMs?: number; host?: string } = {}): Promise<Relay> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { delayMs = 0, host = "127.0.0.1" } = options;
    return new Relay(server, { host, port: targetPort }, delayMs);
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
      const far = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
      const connection = new RelayedConnection(near, far, () => this.delayMs);
      this.connections.add(connection);
      const over = (): void => {
        if (near.closed && far.closed) this.connections.delete(connection);
      };
      near.once("close", over);
      far.once("close", over);
      if (this.#mode === "hold") connection.hold();
    }
    for (const look of this.#waiting) look();
  }
}

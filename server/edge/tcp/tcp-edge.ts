import type { Server } from "node:net";
import type { Route } from "../../routing/route.ts";
import { listenForVisitors } from "./listener.ts";
import { Visitors, type VisitorsOptions } from "./visitors.ts";

export interface TcpEdgeOptions extends VisitorsOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  findRoute: (port: number) => Route | undefined;
}

/** Where visitors of TCP ports arrive. */
export class TcpEdge {
  readonly #options: TcpEdgeOptions;
  readonly #visitors: Visitors;
  readonly #listeners = new Map<number, Server>();
  #stopping = false;

  constructor(options: TcpEdgeOptions) {
    this.#options = options;
    this.#visitors = new Visitors(options);
  }

  /** Connections of visitors. */
  get connections(): number {
    return this.#visitors.size;
  }

  /**
   * Opens a port.
   *
   * @throws NodeJS.ErrnoException
   */
  async open(port: number): Promise<void> {
    const { host, findRoute } = this.#options;
    const listener = await listenForVisitors({
      host,
      port,
      onVisitor: (socket) => this.#visitors.take(socket, { kind: "TCP", find: () => findRoute(port) }),
      onTrouble: (error) =>
        this.#visitors.warnings.warn({ port, error }, "a visitor's connection could not be taken"),
    });
    if (this.#stopping) {
      listener.close();
      throw new Error("the server is stopping");
    }
    this.#listeners.set(port, listener);
  }

  /** Takes no new visitors at a port. */
  close(port: number): void {
    this.#listeners.get(port)?.close();
    this.#listeners.delete(port);
  }

  /** Takes no new visitors, lets those who are there go on for so long, then cuts them. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const port of this.#listeners.keys()) this.close(port);
    await this.#visitors.leave(graceMs);
  }
}

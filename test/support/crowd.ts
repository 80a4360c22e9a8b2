import { connect, type Socket } from "node:net";

/** Whoever is turned away tries again so much later: enough to be a flood, and little enough for a busy machine. */
const AGAIN_MS = 1_000;

/** So many who come to a port at once from one of the loopback's addresses, stay, and come again when they are cut. */
export class Crowd implements Disposable {
  /** How often one of them was cut or turned away. */
  turnedAway = 0;
  readonly port: number;
  readonly #sockets = new Set<Socket>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #place: { port: number; localAddress: string; says: string | Buffer };

  constructor(
    count: number,
    place: {
      port: number;
      localAddress: string;
      /** First of all. */
      says?: string | Buffer;
    },
  ) {
    this.port = place.port;
    this.#place = { says: "", ...place };
    for (let i = 0; i < count; i++) this.#come();
  }

  #come(): void {
    const { says, ...place } = this.#place;
    const socket = connect({ host: "127.0.0.1", ...place });
    this.#sockets.add(socket);
    socket.on("error", () => {}).resume();
    if (says.length > 0) socket.write(says);
    socket.once("close", () => {
      if (!this.#sockets.delete(socket)) return;
      this.turnedAway++;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#come();
      }, AGAIN_MS);
      this.#timers.add(timer);
    });
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer);
    const sockets = [...this.#sockets];
    this.#sockets.clear();
    for (const socket of sockets) socket.destroy();
  }
}

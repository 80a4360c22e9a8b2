import { Owned } from "../owned.ts";
import type { Program } from "../program.ts";
import type { Contender, ContenderKind, Entrance } from "../contender.ts";

export interface TunnelParts {
  kind: ContenderKind;
  entrance: Entrance;
  server: Program;
  startClient: () => Program;
}

/** A server and a client, started one after the other. */
export class Tunnel implements Contender {
  readonly kind: ContenderKind;
  readonly entrance: Entrance;
  readonly server: Program;
  readonly #startClient: () => Program;
  #client: Program;

  constructor({ kind, entrance, server, startClient }: TunnelParts) {
    this.kind = kind;
    this.entrance = entrance;
    this.server = server;
    this.#startClient = startClient;
    this.#client = startClient();
  }

  get client(): Program {
    return this.#client;
  }

  stopClient(): Promise<void> {
    return this.#client[Symbol.asyncDispose]();
  }

  startClient(): void {
    this.#client = this.#startClient();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using both = new Owned();
    both.own(this.server);
    both.own(this.#client);
  }
}

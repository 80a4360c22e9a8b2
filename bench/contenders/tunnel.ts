import { join } from "node:path";
import type { Contender, ContenderKind, Entrance, StartOptions } from "../contender.ts";
import { Owned } from "../owned.ts";
import { Program, type ProgramOptions } from "../program.ts";

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

type Command = Omit<ProgramOptions, "logFile">;

/** A tunnel whose two commands are known before either runs. */
export interface TunnelPlan {
  kind: ContenderKind;
  entrance: Entrance;
  server: Command & {
    /** What it says once clients can come. */
    ready: RegExp;
  };
  client: Command;
}

/** Each program runs at its end of the road. @throws if the server does not get ready; it has ended then */
export async function startTunnel(
  { kind, entrance, server: { ready, ...serverCommand }, client }: TunnelPlan,
  { road, directory, signal }: StartOptions,
): Promise<Tunnel> {
  const server = new Program({
    ...serverCommand,
    command: [...road.atServer, ...serverCommand.command],
    logFile: join(directory, "server.log"),
  });
  try {
    await server.said(ready, signal);
    return new Tunnel({
      kind,
      entrance,
      server,
      startClient: () =>
        new Program({
          ...client,
          command: [...road.atClient, ...client.command],
          logFile: join(directory, "client.log"),
        }),
    });
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** A port at the server's end, by which visitors go straight to the local service. */
export function portEntrance(port: number): Entrance {
  return { host: "127.0.0.1", port, hostname: "bench.localhost" };
}

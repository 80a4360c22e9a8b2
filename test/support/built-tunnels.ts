import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  createKeyByCommand,
  startClientProcess,
  startServerProcess,
  type Program,
  type RunningServer,
} from "./processes.ts";
import { lastingDirectory } from "./temporary-directory.ts";

/** The built programs as a person starts them: a server with a certificate of its own, and a client for each service. */
export class BuiltTunnels implements AsyncDisposable {
  readonly #directory: AsyncDisposable & { path: string };
  readonly #server: RunningServer;
  readonly #token: string;
  readonly #clients: Program[] = [];

  private constructor(directory: AsyncDisposable & { path: string }, server: RunningServer, token: string) {
    this.#directory = directory;
    this.#server = server;
    this.#token = token;
  }

  /** @param domain what subdomains live under */
  static async start(domain: string): Promise<BuiltTunnels> {
    const directory = await lastingDirectory();
    const config = join(directory.path, "config.yaml");
    await writeFile(
      config,
      `http: { listen: "127.0.0.1:0", domain: ${domain} }\ngrpc: { listen: "127.0.0.1:0" }\n`,
    );
    const server = await startServerProcess(directory.path, ["--config", config]);
    return new BuiltTunnels(directory, server, await createKeyByCommand(directory.path, server.grpcPort));
  }

  /** Brings a port of this machine to a subdomain; returns the address that the client prints. */
  async serve(port: number, subdomain: string, flags: string[] = []): Promise<string> {
    const client = startClientProcess(
      { token: this.#token, dataDir: join(this.#directory.path, subdomain), tls: true },
      ["http", String(port), "--subdomain", subdomain, ...flags],
    );
    this.#clients.push(client);
    const { url } = await client.logged("serving");
    return String(url);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
    await this.#directory[Symbol.asyncDispose]();
  }
}

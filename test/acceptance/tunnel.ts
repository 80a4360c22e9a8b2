import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  createKeyByCommand,
  ownLoopbackAddress,
  startClientProcess,
  startServerProcess,
  type Program,
  type RunningServer,
} from "../support/processes.ts";
import { Relay } from "../support/relay.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { MARK, MarkedVisitor, Marks } from "./marked-visitor.ts";
import { PROBE_TARGET, StrictBackend } from "./strict-backend.ts";
import { within } from "./within.ts";

export interface TunnelOptions {
  /** The server's config file. */
  config?: string;
  /** Further arguments of the client. */
  clientArgs?: string[];
  /** Arguments of `key create`, beside its name and address. */
  keyArgs?: string[];
}

/** A request that is not answered by then has met a wedge. */
const PROBE_MS = 5_000;
/** For what a program has written to get here; a case may have turned its log off. */
const LOG_MS = 1_000;
const HOST = "app.localhost";

type Directory = Awaited<ReturnType<typeof lastingDirectory>>;

const FAULT = /"level":"(?:error|fatal)"/;
const LOST_SESSION = /"message":"(?:client offline|offline; trying again)"/;

/** A server and a client as real processes with TLS between them, on a way that can be hurt, and a strict local service. */
export class Tunnel implements AsyncDisposable {
  readonly backend: StrictBackend;
  /** The client's way to the server. */
  readonly relay: Relay;
  readonly token: string;
  /** Where visitors go. */
  readonly address: { host: string; port: number };
  server: RunningServer;
  client: Program;
  readonly #options: TunnelOptions;
  readonly #directory: Directory;
  #marks = new Marks("start");
  #visitors: MarkedVisitor[] = [];
  #cases = 0;
  #probes = 0;
  #allowed: RegExp[] = [];
  #replaced = false;
  #outputSeen = new Map<Program, number>();

  private constructor(parts: {
    options: TunnelOptions;
    backend: StrictBackend;
    relay: Relay;
    directory: Directory;
    token: string;
    server: RunningServer;
    client: Program;
    host: string;
  }) {
    this.#options = parts.options;
    this.#directory = parts.directory;
    this.backend = parts.backend;
    this.relay = parts.relay;
    this.token = parts.token;
    this.server = parts.server;
    this.client = parts.client;
    this.address = { host: parts.host, port: parts.server.httpPort };
  }

  static async start(options: TunnelOptions = {}): Promise<Tunnel> {
    const directory = await lastingDirectory();
    const backend = await StrictBackend.start();
    // An address of its own, so that a server that is restarted finds its ports free.
    const host = ownLoopbackAddress();
    if (options.config !== undefined) await writeFile(join(directory.path, "config.yaml"), options.config);
    const server = await startServer(directory.path, options, { host, http: 0, grpc: 0 });
    const relay = await Relay.to(server.grpcPort, { host });
    const token = await createKeyByCommand(directory.path, relay.port, options.keyArgs);
    const client = startClient({ directory: directory.path, token, options, port: backend.target.port });
    await client.logged("serving");
    return new Tunnel({ options, backend, relay, directory, token, server, client, host });
  }

  /** A visitor; gone at the end of the case. */
  async visitor(): Promise<MarkedVisitor> {
    const visitor = await MarkedVisitor.visit(this.address, this.#marks);
    this.#visitors.push(visitor);
    return visitor;
  }

  /** A new visitor that has sent these requests, marked. */
  async request(...requests: string[]): Promise<MarkedVisitor> {
    return (await this.visitor()).request(...requests);
  }

  /** The field that a request needs which is made otherwise than by a visitor of ours. */
  mark(): Record<string, string> {
    return { [MARK]: this.#marks.next() };
  }

  /** This case expects anomalies, or lines in the logs, that would be charged to it. */
  allow(...patterns: RegExp[]): void {
    this.#allowed.push(...patterns);
  }

  /** This case hurts the processes: behind it there are new ones, whatever has become of these. */
  replace(): void {
    this.#replaced = true;
  }

  /** Resolves when a request is served again. */
  async served(withinMs: number): Promise<void> {
    const until = performance.now() + withinMs;
    let last: unknown;
    while (performance.now() < until) {
      last = await this.#probe(until - performance.now());
      if (last === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`not served again within ${withinMs} ms: ${String(last)}`);
  }

  /** A server on the same ports; the one before has ended. */
  async startServer(): Promise<void> {
    await this.server.exited;
    const { httpPort: http, grpcPort: grpc } = this.server;
    this.server = await startServer(this.directory, this.#options, { host: this.address.host, http, grpc });
  }

  /** A client with the same id and key; the one before has ended. */
  async startClient(): Promise<void> {
    await this.client.exited;
    const { directory, token } = this;
    this.client = startClient({ directory, token, options: this.#options, port: this.backend.target.port });
    await this.client.logged("serving");
  }

  /** Of both programs: keys.json, the certificate, the client's id. */
  get directory(): string {
    return this.#directory.path;
  }

  begin(): void {
    this.#marks = new Marks(`${process.pid}.${++this.#cases}`);
    this.#allowed = [];
    this.#replaced = false;
    this.#outputSeen.clear();
    for (const program of [this.server, this.client])
      this.#outputSeen.set(program, program.output().lastIndexOf("\n") + 1);
    this.backend.begin(this.#marks);
  }

  /** Everything that the case has done to the processes or to the local service; nothing if all is well. */
  async charges(): Promise<string[]> {
    const charges: string[] = [];
    this.backend.endCase();
    for (const visitor of this.#visitors.splice(0)) visitor.close();
    if (!this.#replaced) {
      this.relay.mode = "pass";
      this.relay.delayMs = 0;
      await this.backend.up();
      for (const [name, program] of Object.entries({ server: this.server, client: this.client }))
        if (hasEnded(program))
          charges.push(`the ${name} ended: ${program.child.exitCode ?? program.child.signalCode}`);
      if (charges.length === 0) {
        const outcome = await this.#probe(PROBE_MS);
        if (outcome === 200) await this.#logsRead();
        else charges.push(`a plain request behind the case: ${String(outcome)}`);
      }
    }
    for (const program of new Set([...this.#outputSeen.keys(), this.server, this.client])) {
      const lines = wholeLines(program.output().slice(this.#outputSeen.get(program)));
      // What is no line of a log is a stack or a warning.
      charges.push(...lines.filter((line) => FAULT.test(line) || !line.startsWith("{")));
      if (!this.#replaced) charges.push(...lines.filter((line) => LOST_SESSION.test(line)));
    }
    charges.push(...this.backend.anomalies);
    return charges.filter((charge) => !this.#allowed.some((pattern) => pattern.test(charge)));
  }

  get replaced(): boolean {
    return this.#replaced;
  }

  /** The end of what both programs have said. */
  get lastWords(): string {
    const [server, client] = [this.server, this.client].map((program) => program.output().slice(-2_000));
    return `server:\n${server}\nclient:\n${client}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await this.relay[Symbol.asyncDispose]();
    await this.backend[Symbol.asyncDispose]();
    await this.#directory[Symbol.asyncDispose]();
  }

  /** Lines come in order: with those of the last probe, all of the case's have come. */
  async #logsRead(): Promise<void> {
    const line = `${PROBE_TARGET}?${this.#probes}"`;
    await within(LOG_MS, Promise.all([this.server.printed(line), this.client.printed(line)])).catch(() => {});
  }

  /** The status, or what happened in its place. */
  async #probe(withinMs: number): Promise<number | string> {
    let visitor: MarkedVisitor | undefined;
    const visit = async (): Promise<number> => {
      visitor = await MarkedVisitor.visit(this.address, this.#marks);
      visitor.request(
        `GET ${PROBE_TARGET}?${++this.#probes} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
      );
      return (await visitor.answer()).status;
    };
    try {
      return await within(withinMs, visit());
    } catch (error) {
      return String(error);
    } finally {
      visitor?.close();
    }
  }
}

function startServer(
  directory: string,
  { config }: TunnelOptions,
  { host, http, grpc }: { host: string; http: number; grpc: number },
): Promise<RunningServer> {
  const listen = ["--http-listen", `${host}:${http}`, "--grpc-listen", `${host}:${grpc}`];
  const file = config === undefined ? [] : ["--config", join(directory, "config.yaml")];
  return startServerProcess(directory, [...file, ...listen]);
}

function startClient(options: {
  directory: string;
  token: string;
  options: TunnelOptions;
  port: number;
}): Program {
  const { directory, token, port } = options;
  const args = ["http", String(port), "--subdomain", "app", ...(options.options.clientArgs ?? [])];
  return startClientProcess({ token, dataDir: directory, tls: true }, args);
}

function hasEnded({ child }: Program): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function wholeLines(output: string): string[] {
  return output
    .slice(0, output.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "");
}

import { startWorld, type World } from "./world.ts";
import { RawBackend, type RawConnection } from "./raw-backend.ts";
import { RawVisitor } from "./raw-visitor.ts";

/** A request as the local service got it, byte for byte. */
export interface ServiceRequest {
  /** "GET / HTTP/1.1" */
  line: string;
  /** Names and values in turn, one character a byte. */
  fields: string[];
  connection: RawConnection;
  /** Reads the body as the head frames it. */
  body(): Promise<{ bytes: Buffer; framing: "none" | "length" | "chunked"; trailers: string[] }>;
}

export type Serve = (request: ServiceRequest) => Promise<void> | void;

/** A whole tunnel between raw visitors and a local service whose every byte is the test's. */
export class TunnelledService implements AsyncDisposable {
  readonly world: World;
  readonly backend: RawBackend;
  /** Heads that have arrived since `serve` was called. */
  requests: ServiceRequest[] = [];
  #serve: Serve = () => {};
  readonly #visitors: RawVisitor[] = [];

  private constructor(world: World, backend: RawBackend) {
    this.world = world;
    this.backend = backend;
  }

  static async start(tls: "auto" | "off" = "off"): Promise<TunnelledService> {
    const started: { service?: TunnelledService } = {};
    const backend = await RawBackend.start(async (connection) => {
      for (;;) {
        const request = readHead(await connection.head(), connection);
        const service = started.service!;
        service.requests.push(request);
        await service.#serve(request);
      }
    });
    const world = await startWorld({ tls, service: backend.target });
    return (started.service = new TunnelledService(world, backend));
  }

  /** What the local service does with each request from now on. */
  serve(serve: Serve): void {
    this.requests = [];
    this.#serve = serve;
  }

  /** Answers every request from now on alike, its body read first. */
  answer(answer: string | Buffer): void {
    this.serve(async (request) => {
      await request.body();
      await request.connection.send(answer);
    });
  }

  async visitor(): Promise<RawVisitor> {
    const visitor = await RawVisitor.connect(this.world.httpPort);
    this.#visitors.push(visitor);
    return visitor;
  }

  /** A new visitor that has sent this. */
  async send(...parts: (string | Buffer)[]): Promise<RawVisitor> {
    return (await this.visitor()).send(...parts);
  }

  /** Ends the visitors of one test. */
  closeVisitors(): void {
    for (const visitor of this.#visitors.splice(0)) visitor.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeVisitors();
    await this.world[Symbol.asyncDispose]();
    await this.backend[Symbol.asyncDispose]();
  }
}

function readHead(head: string, connection: RawConnection): ServiceRequest {
  const [line, ...lines] = head.slice(0, -4).split("\r\n");
  const fields = rawFields(...lines);
  return { line: line!, fields, connection, body: () => readBody(fields, connection) };
}

async function readBody(
  fields: string[],
  connection: RawConnection,
): Promise<{ bytes: Buffer; framing: "none" | "length" | "chunked"; trailers: string[] }> {
  const valueOf = (wanted: string): string | undefined =>
    fields.find((_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === wanted);
  const length = valueOf("content-length");
  if (valueOf("transfer-encoding") === "chunked")
    return { framing: "chunked", ...(await readChunks(connection)) };
  if (length === undefined) return { framing: "none", bytes: Buffer.alloc(0), trailers: [] };
  return { framing: "length", bytes: Buffer.from(await connection.take(Number(length))), trailers: [] };
}

async function readChunks(connection: RawConnection): Promise<{ bytes: Buffer; trailers: string[] }> {
  const chunks: Buffer[] = [];
  for (;;) {
    const size = parseInt(await connection.takeUntil("\r\n"), 16);
    if (Number.isNaN(size)) throw new Error("no chunk size");
    if (size === 0) break;
    chunks.push(Buffer.from(await connection.take(size)));
    await connection.takeUntil("\r\n");
  }
  const trailers: string[] = [];
  for (
    let line = await connection.takeUntil("\r\n");
    line !== "\r\n";
    line = await connection.takeUntil("\r\n")
  ) {
    trailers.push(line.slice(0, -2));
  }
  return { bytes: Buffer.concat(chunks), trailers: rawFields(...trailers) };
}

/** Names and values in turn, of lines as on the wire: "Name: value". */
export function rawFields(...lines: string[]): string[] {
  return lines
    .flatMap((line) => line.split("\r\n"))
    .flatMap((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    });
}

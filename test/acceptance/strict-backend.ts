import type { Server } from "node:http";
import { ConnectionOver, RawBackend, type RawConnection } from "../support/raw-backend.ts";
import { MARK, type Marks } from "./marked-visitor.ts";
import { RequestAudit, type AuditedRequest } from "./request-audit.ts";

export interface ServiceRequest {
  readonly line: string;
  readonly method: string;
  readonly target: string;
  /** Names and values in turn, one character a byte; the case's mark is taken out. */
  readonly fields: string[];
  readonly connection: RawConnection;
  /** The body, when it has come whole. */
  readonly body: () => Promise<ReceivedBody>;
  /** Bytes of the body and the connection count from now on, and are not kept. */
  readonly count: () => void;
  /** Octets of the body so far. */
  readonly bodyBytes: number;
}

export interface ReceivedBody {
  bytes: Buffer;
  framing: "none" | "length" | "chunked";
  trailers: string[];
}

export type Serve = (request: ServiceRequest) => unknown;

/** Asked for after each case; answered here, whatever the case has the service do. */
export const PROBE_TARGET = "/acceptance-probe";
const PROBE_ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalive";
/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/**
 * The local service of a case. It reads whatever reaches it strictly, and lists by itself what a local service must never
 * see: `anomalies`. What it answers is the case's.
 */
export class StrictBackend implements AsyncDisposable {
  readonly anomalies: string[] = [];
  /** Those of this case, less probes. */
  requests: ServiceRequest[] = [];
  readonly #backend: RawBackend;
  #serve: Serve = () => {};
  #marks: Marks | undefined;
  #seen = new Map<string, number>();
  #handedTo: Server | undefined;
  #ending = false;
  #audits: { connection: RawConnection; audit: RequestAudit }[] = [];

  private constructor(backend: RawBackend) {
    this.#backend = backend;
  }

  static async start(): Promise<StrictBackend> {
    const started: { backend?: StrictBackend } = {};
    const backend = await RawBackend.start((connection) => started.backend!.#watch(connection));
    return (started.backend = new StrictBackend(backend));
  }

  get target(): { host: string; port: number } {
    return this.#backend.target;
  }

  /** Connections of this case, in the order in which they came. */
  get connections(): RawConnection[] {
    return this.#audits.map(({ connection }) => connection);
  }

  /** What the service does with each request from now on. A throw is charged to the case. */
  serve(serve: Serve): void {
    this.#serve = serve;
  }

  /** Answers every request from now on alike, its body read first. */
  answer(answer: string | Buffer): void {
    this.serve(async (request) => {
      await request.body();
      await request.connection.send(answer);
    });
  }

  /** The next request; nothing is answered by itself from now on. */
  next(): Promise<ServiceRequest> {
    return new Promise((resolve) => this.serve(resolve));
  }

  /**
   * New connections go to a server of node:http, or whatever listens to it, and are audited all the same until one is
   * upgraded. `undefined`: back to `serve`.
   */
  handOver(server: Server | undefined): void {
    this.#handedTo = server;
    this.#closeConnections();
  }

  /** Nothing listens any more; open connections stay. */
  down(): Promise<void> {
    return this.#backend.down();
  }

  /** Listens again, on the same port. */
  up(): Promise<void> {
    return this.#backend.up();
  }

  /** What the case has left open is about to be cut: a FIN within a message says nothing from now on. */
  endCase(): void {
    this.#ending = true;
    if (this.#handedTo) this.handOver(undefined);
  }

  /** A new case: nothing of an earlier one is left, and its connections say nothing more. */
  begin(marks: Marks): void {
    this.#closeConnections();
    this.#ending = false;
    this.#serve = () => {};
    this.#handedTo = undefined;
    this.#marks = marks;
    this.#seen.clear();
    this.anomalies.length = 0;
    this.requests = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend[Symbol.asyncDispose]();
  }

  #closeConnections(): void {
    for (const { audit, connection } of this.#audits.splice(0)) {
      audit.stop();
      connection.close();
    }
    // With all the bytes that they have kept.
    this.#backend.connections.length = 0;
  }

  #watch(connection: RawConnection): void {
    const server = this.#handedTo;
    const audit = new RequestAudit(connection, {
      request: (request, headEnd) => {
        this.#check(request);
        connection.skipTo(headEnd);
        const asked = asServiceRequest(request, connection);
        const probe = request.target.startsWith(PROBE_TARGET);
        if (!probe) this.requests.push(asked);
        if (!server) {
          void this.#run(() => (probe ? connection.send(PROBE_ANSWER) : this.#serve(asked)));
          return;
        }
        request.keep = false;
        if (request.fields.some((name, k) => k % 2 === 0 && name.toLowerCase() === "upgrade")) audit.stop();
      },
      anomaly: (anomaly) => this.anomalies.push(anomaly),
      cutShort: (anomaly) => {
        if (!this.#ending) this.anomalies.push(anomaly);
      },
    });
    this.#audits.push({ connection, audit });
    if (!server) return;
    connection.count();
    server.emit("connection", connection.socket);
    // node:http has its parser read the handle itself, past everybody else, until somebody asks for data.
    connection.socket.on("data", () => {});
  }

  #check({ line, method, fields }: AuditedRequest): void {
    const at = fields.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === MARK.toLowerCase());
    const mark = at < 0 ? undefined : fields.splice(at, 2)[1]!;
    if (mark === undefined) this.anomalies.push(`a request that nobody sent: ${line}`);
    else if (!this.#marks?.owns(mark)) this.anomalies.push(`a request of another case: ${line}`);
    else {
      const times = (this.#seen.get(mark) ?? 0) + 1;
      this.#seen.set(mark, times);
      if (times > (IDEMPOTENT.has(method) ? 2 : 1)) this.anomalies.push(`a request sent twice: ${line}`);
    }
  }

  /** A connection that ends under its script is the case's to notice at the other end; whatever else is thrown is a failure. */
  async #run(deed: () => unknown): Promise<void> {
    try {
      // Behind whatever else this arrival of bytes sets off.
      await Promise.resolve();
      await deed();
    } catch (error) {
      if (!(error instanceof ConnectionOver))
        this.anomalies.push(`the case's service threw: ${String(error)}`);
    }
  }
}

function asServiceRequest(request: AuditedRequest, connection: RawConnection): ServiceRequest {
  const { line, method, target, fields } = request;
  return {
    line,
    method,
    target,
    fields,
    connection,
    async body() {
      await connection.until(() => request.complete);
      return { bytes: Buffer.concat(request.body), framing: request.framing, trailers: request.trailers };
    },
    count() {
      request.keep = false;
      request.body = [];
      connection.count();
    },
    get bodyBytes() {
      return request.bodyBytes;
    },
  };
}

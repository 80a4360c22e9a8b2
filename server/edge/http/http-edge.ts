import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Log } from "../../../runtime/log.ts";
import type { Route } from "../../routing/route.ts";
import { logAccess } from "./access-log.ts";
import { refusalForClientError, type ClientError } from "./client-error.ts";
import { errorBytes } from "./error-page.ts";
import { listen, type Address } from "./listen.ts";
import { malformedRequest, NO_CONNECT, type Refusal } from "./refusals.ts";
import { checkRequest } from "./request-check.ts";
import { newRequestId } from "./request-id.ts";
import { protocolsToOffer, visitUpgrade } from "./upgrade.ts";
import { Visit, type VisitContext } from "./visit.ts";
import { VisitorConnection } from "./visitor-connection.ts";

export interface HttpEdgeOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  /** 0 for any free one. */
  port: number;
  /** Stands in for the host of an HTTP/1.0 request that names none. */
  domain: string;
  /** By normalised hostname. */
  findRoute: (hostname: string) => Route | undefined;
  log: Pick<Log, "info">;
  /** How long the head of an answer may take after the last byte of the request; 2 minutes. */
  responseTimeoutMs?: number | undefined;
  /** How long a request's head may take; a minute. */
  headTimeoutMs?: number | undefined;
  /** How long a connection may wait for its next request; 75 seconds. */
  keepAliveMs?: number | undefined;
  /** How long a visitor may take to read an answer that ends its connection; 5 seconds. */
  lingerMs?: number | undefined;
  /** Of a request's head; 32 KiB. */
  maxHeadBytes?: number | undefined;
  /** Of a request's head, and of its trailers; 256. */
  maxFields?: number | undefined;
}

/** Where visitors arrive over HTTP. */
export interface HttpEdge {
  readonly address: Address;
  /** Connections of visitors, upgraded ones too. */
  readonly connections: number;
  /** Takes no new visitors, lets requests finish for so long, then cuts them. */
  stop(graceMs: number): Promise<void>;
}

const KIB = 1024;

/** @throws Error that says which option to change if the port cannot be listened on */
export async function startHttpEdge(options: HttpEdgeOptions): Promise<HttpEdge> {
  const { log, keepAliveMs = 75_000, headTimeoutMs = 60_000, maxHeadBytes = 32 * KIB } = options;
  const rules = { maxFields: options.maxFields ?? 256, defaultHost: options.domain };
  const limits = {
    strayBytes: maxHeadBytes + 128 * KIB,
    lingerMs: options.lingerMs ?? 5_000,
    lingerBytes: 4 * KIB * KIB,
  };
  let stopping = false;
  const context: VisitContext = {
    findRoute: options.findRoute,
    log,
    responseTimeoutMs: options.responseTimeoutMs ?? 120_000,
    get stopping() {
      return stopping;
    },
  };
  const connections = new Map<Socket, VisitorConnection>();
  let onEmptied: (() => void) | undefined;

  const server = createServer({
    insecureHTTPParser: false,
    maxHeaderSize: maxHeadBytes,
    headersTimeout: headTimeoutMs,
    connectionsCheckingInterval: Math.min(5_000, headTimeoutMs),
    // It would cut long uploads.
    requestTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    // Missing and doubled Hosts get a page of ours.
    requireHostHeader: false,
    noDelay: true,
    // A visitor who vanished without a word is noticed, be the connection ever so quiet.
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    highWaterMark: 64 * KIB,
  });
  // Node would drop further fields without a word; they are counted in the check.
  server.maxHeadersCount = 0;

  server.on("connection", (socket: Socket) => {
    const connection = new VisitorConnection({
      socket,
      limits,
      onFlood: () => refuse(connection, malformedRequest("What was sent is no HTTP request.")),
      onClosed: () => {
        connections.delete(socket);
        if (connections.size === 0) onEmptied?.();
      },
    });
    connections.set(socket, connection);
    if (stopping) connection.stop();
  });

  const visit = (request: IncomingMessage, response: ServerResponse): void => {
    const connection = connections.get(request.socket);
    if (!connection) return;
    const checked = checkRequest(request, rules);
    connection.take(new Visit({ context, connection, request, response, checked }));
  };
  server.on("request", visit);
  // Whether to go on is for the local service to say.
  server.on("checkContinue", visit);
  server.on("checkExpectation", visit);

  server.on("upgrade", (request: IncomingMessage, socket: Socket, early: Buffer) => {
    const connection = connections.get(socket);
    if (!connection) return;
    const checked = checkRequest(request, rules);
    const protocols = "sentence" in checked ? [] : protocolsToOffer(checked);
    if ("sentence" in checked || protocols.length > 0) {
      visitUpgrade({ context, connection, request, checked, protocols, early });
    } else {
      visitWithoutUpgrade(request, early, connection);
    }
  });

  /** Gives the request back to node's parser as one that asks for no upgrade. */
  const visitWithoutUpgrade = (
    request: IncomingMessage,
    early: Buffer,
    connection: VisitorConnection,
  ): void => {
    const { socket } = connection;
    connection.take({
      begin() {
        connection.abandon();
        socket.unshift(Buffer.concat([headWithoutUpgrade(request), early]));
        server.emit("connection", socket);
      },
      received: true,
      answered: true,
      writable() {},
      broken() {},
      visitorLeft() {},
    });
  };

  server.on("connect", (request: IncomingMessage, socket: Socket) => {
    const connection = connections.get(socket);
    if (connection) refuse(connection, NO_CONNECT, request);
  });

  server.on("clientError", (error: ClientError, socket: Socket) => {
    // The visitor has left in the middle of a request: the connection hears of that itself.
    if (error.code === "HPE_INVALID_EOF_STATE") return;
    const refusal = refusalForClientError(error);
    const connection = connections.get(socket);
    if (refusal && connection) refuse(connection, refusal);
    else socket.destroy();
  });

  /** Answers what is no request, or none that can be carried, and ends the connection behind the answer. */
  const refuse = (connection: VisitorConnection, refusal: Refusal, request?: IncomingMessage): void => {
    const { socket, visitor } = connection;
    const startedAt = performance.now();
    connection.refuse(refusal, {
      begin() {
        const requestId = newRequestId();
        const bytes = errorBytes(refusal, requestId, request?.headers.accept);
        socket.write(bytes);
        connection.linger();
        logAccess(log, {
          requestId,
          visitor,
          method: request?.method,
          host: request?.headers.host,
          target: request?.url,
          status: refusal.status,
          bytesIn: 0,
          bytesOut: bytes.length,
          startedAt,
          failure: refusal.code,
        });
      },
      received: false,
      answered: true,
      writable() {},
      broken() {},
      visitorLeft() {},
    });
  };

  const address = await listen(server, options);

  return {
    address,
    get connections() {
      return connections.size;
    },
    async stop(graceMs) {
      stopping = true;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      const emptied = new Promise<void>((resolve) => {
        onEmptied = resolve;
        if (connections.size === 0) resolve();
      });
      for (const connection of connections.values()) connection.stop();
      const timer = setTimeout(() => {
        for (const socket of connections.keys()) socket.destroy();
      }, graceMs);
      // Node says `closed` before the last connections have told their visits.
      await Promise.all([closed, emptied]);
      clearTimeout(timer);
    },
  };
}

/** The head as it came, blank line and all, less its Upgrade fields. */
function headWithoutUpgrade(request: IncomingMessage): Buffer {
  const { method, url, httpVersion, rawHeaders } = request;
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() !== "upgrade") head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  }
  return Buffer.from(`${head}\r\n`, "latin1");
}

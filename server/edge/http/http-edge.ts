import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Log } from "../../../runtime/log.ts";
import type { Route } from "../../routing/route.ts";
import { refusalForClientError, type ClientError } from "./client-error.ts";
import { listen, type Address } from "./listen.ts";
import { refuseInput } from "./refused-input.ts";
import { malformedRequest, NO_CONNECT } from "./refusals.ts";
import { checkRequest } from "./request-check.ts";
import { protocolsToOffer, visitUpgrade } from "./upgrade.ts";
import { Visit, type VisitContext } from "./visit.ts";
import { VisitorConnection } from "./visitor-connection.ts";
import { serveWithoutUpgrade } from "./without-upgrade.ts";

export interface HttpEdgeOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  /** 0 for any free one. */
  port: number;
  /** Stands in for the host of an HTTP/1.0 request that names none. */
  domain: string;
  /** By normalised hostname. */
  findRoute: (hostname: string) => Route | undefined;
  log: Pick<Log, "info" | "warn">;
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
  /** Of a request's head; 256. */
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
const FLOOD = malformedRequest("What was sent is no HTTP request.");

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
      onFlood: () => refuseInput(connection, FLOOD, log),
      onClosed: () => {
        connections.delete(socket);
        if (connections.size === 0) onEmptied?.();
      },
    });
    connections.set(socket, connection);
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
      serveWithoutUpgrade(server, connection, request, early);
    }
  });

  server.on("connect", (request: IncomingMessage, socket: Socket) => {
    const connection = connections.get(socket);
    if (connection) refuseInput(connection, NO_CONNECT, log, request);
  });

  server.on("clientError", (error: ClientError, socket: Socket) => {
    // The visitor has left in the middle of a request: the connection hears of that itself.
    if (error.code === "HPE_INVALID_EOF_STATE") return;
    const refusal = refusalForClientError(error);
    const connection = connections.get(socket);
    if (refusal && connection) refuseInput(connection, refusal, log);
    else socket.destroy();
  });

  const address = await listen(server, options);
  let warnedAt = -Infinity;
  server.on("error", (error) => {
    // Descriptors may have run out; what is open goes on, and a line a minute is enough.
    if (performance.now() - warnedAt < 60_000) return;
    warnedAt = performance.now();
    log.warn({ error }, "a visitor's connection could not be taken");
  });

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

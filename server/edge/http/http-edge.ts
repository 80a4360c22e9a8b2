import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Descriptor, DescriptorParty } from "../../../runtime/descriptor-budget.ts";
import { plainAddress } from "../../../runtime/ip-address.ts";
import type { Log } from "../../../runtime/log.ts";
import { Tally } from "../../../runtime/tally.ts";
import type { Route } from "../../routing/route.ts";
import { LOOK_MS } from "../reset-probe.ts";
import { SeldomWarning } from "../seldom-warning.ts";
import { refusalForClientError, type ClientError } from "./client-error.ts";
import { listen, type Address } from "./listen.ts";
import { peerOf, type Peer } from "./forwarding.ts";
import { refuseInput } from "./refused-input.ts";
import { OpenRequests, type RequestLimits } from "./open-requests.ts";
import { NO_CONNECT } from "./refusals.ts";
import { checkRequest } from "./request-check.ts";
import { TrustedProxies } from "./trusted-proxies.ts";
import { protocolsToOffer, visitUpgrade } from "./upgrade.ts";
import { Visit, type VisitContext } from "./visit.ts";
import { type ConnectionNumbers, type ConnectionOwner, VisitorConnection } from "./visitor-connection.ts";
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
  /** Whose X-Forwarded-* are believed: addresses and ranges. */
  trustedProxies: readonly string[];
  numbers: ConnectionNumbers;
  /** How long a request waits for a client that may come back. */
  holdMs: number;
  /** How long the head of an answer may take after the last byte of the request. */
  timeoutMs: number;
  limits: EdgeLimits;
  /** What visitors share with those of other edges. */
  descriptors: DescriptorParty;
  /** How long a visitor may take to read an answer that ends its connection; 5 seconds. */
  lingerMs?: number | undefined;
  /** How often to look who has left; `LOOK_MS`. */
  lookMs?: number | undefined;
}

/** As in the config (server/config/limits.ts). */
export interface EdgeLimits extends RequestLimits {
  headBytes: number;
  headFields: number;
  headTimeoutMs: number;
  idleTimeoutMs: number;
  stalledTimeoutMs: number;
  bodyBytes: number;
  connections: number;
  connectionsPerVisitor: number;
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
  const { log, limits, descriptors, holdMs, timeoutMs } = options;
  const { headTimeoutMs, stalledTimeoutMs } = limits;
  const rules = { maxFields: limits.headFields, defaultHost: options.domain };
  const connectionLimits = {
    strayBytes: limits.headBytes + 128 * KIB,
    lingerMs: options.lingerMs ?? 5_000,
    lingerBytes: 4 * KIB * KIB,
  };
  const proxies = new TrustedProxies(options.trustedProxies);
  const warnings = new SeldomWarning(log);
  let stopping = false;
  const context: VisitContext = {
    findRoute: options.findRoute,
    log,
    proxies,
    requests: new OpenRequests(limits),
    bodyBytes: limits.bodyBytes,
    holdMs,
    timeoutMs,
    idleSeconds: Math.floor(limits.idleTimeoutMs / 1000),
    get stopping() {
      return stopping;
    },
  };
  const connections = new Map<Socket, VisitorConnection>();
  const connectionsOf = new Tally();
  let onEmptied: (() => void) | undefined;

  const server = createServer({
    insecureHTTPParser: false,
    maxHeaderSize: limits.headBytes,
    headersTimeout: headTimeoutMs,
    connectionsCheckingInterval: Math.min(5_000, headTimeoutMs),
    // It would cut long uploads.
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTimeoutMs,
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

  const owner: ConnectionOwner = {
    flooded: (connection, refusal) => refuseInput(connection, refusal, log),
    closed: (connection) => {
      connections.delete(connection.socket);
      connectionsOf.remove(connection.peer.network);
      if (connections.size === 0) onEmptied?.();
    },
  };
  const warnOf = (option: string, visitor: string): void =>
    warnings.warn({ visitor }, `a visitor's connection was closed: limits.${option}`);
  /** Undefined: there is no room for one more of this visitor's, not even if an idle connection is closed for it. */
  const admit = ({ address, network }: Peer, trusted: boolean): Descriptor | undefined => {
    if (!trusted && connectionsOf.of(network) >= limits.connectionsPerVisitor) {
      warnOf("connections_per_visitor", address);
      return undefined;
    }
    if (connections.size >= limits.connections) {
      warnOf("connections", address);
      if (!descriptors.closeSpare()) return undefined;
    }
    return descriptors.take(trusted ? undefined : network);
  };
  server.on("connection", (socket: Socket) => {
    const peer = peerOf(plainAddress(socket.remoteAddress ?? "") ?? "0.0.0.0");
    const trusted = proxies.trusts(peer.address);
    // One that goes back to a parser (without-upgrade.ts) is here already.
    const before = connections.get(socket);
    const descriptor = before?.descriptor ?? admit(peer, trusted);
    if (!descriptor) {
      socket.destroy();
      return;
    }
    if (!before) connectionsOf.add(peer.network);
    connections.set(
      socket,
      new VisitorConnection({
        socket,
        peer,
        trusted,
        descriptor,
        limits: connectionLimits,
        owner,
        numbers: options.numbers,
        before,
      }),
    );
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
  // Descriptors may have run out; what is open goes on.
  server.on("error", (error) => warnings.warn({ error }, "a visitor's connection could not be taken"));
  const stallTimer = setInterval(() => {
    const now = performance.now();
    for (const connection of connections.values()) connection.cutIfStalled(now, stalledTimeoutMs);
  }, stalledTimeoutMs / 10);
  const lookTimer = setInterval(() => {
    for (const connection of connections.values()) connection.look();
  }, options.lookMs ?? LOOK_MS);

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
        for (const connection of connections.values()) connection.cutOff();
      }, graceMs);
      // Node says `closed` before the last connections have told their visits.
      await Promise.all([closed, emptied]);
      clearTimeout(timer);
      clearInterval(stallTimer);
      clearInterval(lookTimer);
    },
  };
}

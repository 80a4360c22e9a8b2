import { createServer, type AddressInfo, type Server as TcpServer, type Socket } from "node:net";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { resetSocket } from "../../link/reset-socket.ts";
import type { DescriptorParty } from "../../runtime/descriptor-budget.ts";
import { networkOf } from "../../runtime/ip-address.ts";
import { carrierService } from "../../link/contract.ts";
import { CallCarrier } from "./call-carrier.ts";
import { clientTls } from "./client-tls.ts";
import { onHttp2Session, widenStreamWindows } from "./http2-windows.ts";
import { TcpConnection } from "./tcp-connection.ts";

/** A client opens one call a connection; a few more do no harm. */
const MAX_CALLS_PER_CONNECTION = 8;
/** A TCP connection on which nobody calls is closed, and one that does not even finish its TLS handshake. */
const MAX_IDLE_MS = 20_000;
/** HTTP/2 pings; the probe through the link (link/liveness.ts) is the judge of what is dead. */
const KEEPALIVE_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 30_000;
/** A flood of clients, as after a restart, waits in the system's queue; the system may allow less. */
const BACKLOG = 4096;

export interface GrpcServer {
  readonly port: number;
  /** Takes no new connections. */
  stopListening(): void;
  /** Ends those that are open once their calls have; resolves when they are gone. */
  disconnect(): Promise<void>;
  /** Cuts all that is left. */
  close(): void;
}

export interface GrpcServerOptions {
  /** undefined: all addresses, IPv6 and IPv4 */
  host: string | undefined;
  port: number;
  /** PEM; undefined: no TLS */
  certificate: { cert: string; key: string } | undefined;
  /** What connections take, before and after they have shown a key; undefined: as many as come. */
  descriptors?: { strangers: DescriptorParty; clients: DescriptorParty } | undefined;
  /** What tests make short. */
  handshakeMs?: number;
  /** What tests make false: whether carriers may go beneath grpc-js. */
  direct?: boolean;
  /** Gets a carrier for each call, with the address and port that it comes from. */
  onConnection(carrier: CallCarrier, peer: string): void;
}

/**
 * Listens for clients.
 *
 * @throws Error if the port cannot be had; it says which option sets it
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const server = new Server({
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.max_concurrent_streams": MAX_CALLS_PER_CONNECTION,
    "grpc.max_connection_idle_ms": MAX_IDLE_MS,
  });
  widenStreamWindows(server);
  const connections = new Map<string, TcpConnection>();
  server.addService(carrierService, {
    Connect(call: ServerDuplexStream<Buffer, Buffer>) {
      const peer = call.getPeer();
      options.onConnection(new CallCarrier(call, connections.get(peer), options.direct), peer);
    },
  });

  // The listening is ours, and the TLS: so a connection can be refused before its handshake, which costs more than all that
  // follows. grpc-js gets those that have finished it.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const speak = (socket: Socket): void => injector.injectConnection(socket);
  const begin = options.certificate ? clientTls(options.certificate, speak) : speak;
  onHttp2Session(server, (session) => connections.get(peerOf(session.socket))?.speaksHttp2(session));
  const tcp = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    const { descriptors, certificate, handshakeMs = MAX_IDLE_MS } = options;
    const network = networkOf(socket.remoteAddress ?? "");
    const descriptor = descriptors?.strangers.take(network);
    if (descriptors && !descriptor) {
      socket.resetAndDestroy();
      return;
    }
    descriptor?.spare(() => resetSocket(socket));
    const peer = peerOf(socket);
    const connection = new TcpConnection({
      socket,
      handshakeMs: certificate ? handshakeMs : undefined,
      becomeClient: () => !descriptor || descriptors?.clients.adopt(descriptor) === true,
    });
    connections.set(peer, connection);
    socket.once("close", () => {
      connections.delete(peer);
      connection.closed();
      descriptor?.release();
    });
    begin(socket);
  });
  const port = await listen(tcp, options);
  return {
    port,
    stopListening() {
      tcp.close();
    },
    // Not sooner: on a connection that is to be closed grpc-js takes its next keepalive for failed, and cuts the calls.
    disconnect: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
    close() {
      tcp.close();
      server.forceShutdown();
      for (const connection of connections.values()) connection.cutHandshake();
    },
  };
}

/** As grpc-js writes it in getPeer(). */
function peerOf({ remoteAddress, remotePort }: Pick<Socket, "remoteAddress" | "remotePort">): string {
  return `${remoteAddress}:${remotePort}`;
}

async function listen(tcp: TcpServer, { host, port }: GrpcServerOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(listenError(error, port));
    tcp.once("error", failed);
    // Without a host, Node itself takes 0.0.0.0 where there is no IPv6.
    tcp.listen({ port, backlog: BACKLOG, ...(host === undefined ? {} : { host }) }, () => {
      tcp.off("error", failed);
      resolve();
    });
  });
  return (tcp.address() as AddressInfo).port;
}

function listenError(failure: NodeJS.ErrnoException, port: number): Error {
  return new Error(
    `cannot listen for clients on port ${port}: ${reasonOf(failure)}. Set another with grpc.listen or --grpc-listen.`,
    { cause: failure },
  );
}

function reasonOf(failure: NodeJS.ErrnoException): string {
  switch (failure.code) {
    case "EADDRINUSE":
      return "it is in use";
    case "EACCES":
      return "this user may not open it";
    case "EADDRNOTAVAIL":
      return "the address is not one of this machine's";
    default:
      return failure.message;
  }
}

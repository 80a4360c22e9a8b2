import { isIPv6 } from "node:net";
import type { ServerHttp2Session } from "node:http2";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import type { Carrier } from "../../link/carrier.ts";
import { linkService, type WireBatch } from "../../link/contract.ts";
import { GrpcCarrier } from "../../link/grpc-carrier.ts";
import { onHttp2Session, widenStreamWindows } from "./http2-windows.ts";

/** A client opens one call a connection; a few more do no harm. */
const MAX_CALLS_PER_CONNECTION = 8;
/** A TCP connection on which nobody calls is closed. */
const MAX_IDLE_MS = 20_000;
/** HTTP/2 pings; the probe through the link (link/liveness.ts) is the judge of what is dead. */
const KEEPALIVE_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 30_000;

export interface GrpcServer {
  readonly port: number;
  /** Takes no new connections; resolves when those that are open have ended. */
  stopListening(): Promise<void>;
  /** Cuts all that is left. */
  close(): void;
}

/**
 * Listens for clients. `onConnection` gets a carrier for each call, with the address it comes from.
 *
 * @param options.host undefined: all addresses, IPv6 and IPv4
 * @param options.certificate PEM; undefined: no TLS
 * @throws Error if the port cannot be had; it says which option sets it
 */
export async function startGrpcServer(options: {
  host: string | undefined;
  port: number;
  certificate: { cert: string; key: string } | undefined;
  onConnection(carrier: Carrier, peer: string): void;
}): Promise<GrpcServer> {
  const server = new Server({
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.max_concurrent_streams": MAX_CALLS_PER_CONNECTION,
    "grpc.max_connection_idle_ms": MAX_IDLE_MS,
  });
  widenStreamWindows(server);
  const sessions = new Map<string, ServerHttp2Session>();
  server.addService(linkService, {
    Connect(call: ServerDuplexStream<WireBatch, WireBatch>) {
      const peer = call.getPeer();
      options.onConnection(new GrpcCarrier(call, () => cut(call, sessions.get(peer))), peer);
    },
  });

  const port = await listen(server, options);
  onHttp2Session(server, (session) => {
    const { remoteAddress, remotePort } = session.socket;
    // As grpc-js writes it in getPeer().
    const peer = `${remoteAddress}:${remotePort}`;
    sessions.set(peer, session);
    session.once("close", () => sessions.delete(peer));
  });
  return {
    port,
    stopListening: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
    close: () => server.forceShutdown(),
  };
}

/** A call has no way to end at once while the other end does not read; its HTTP/2 session does. */
function cut(call: ServerDuplexStream<WireBatch, WireBatch>, session: ServerHttp2Session | undefined): void {
  if (session) session.destroy();
  else call.end();
}

async function listen(
  server: Server,
  {
    host,
    port,
    certificate,
  }: { host: string | undefined; port: number; certificate?: { cert: string; key: string } },
): Promise<number> {
  const credentials = certificate
    ? ServerCredentials.createSsl(null, [
        { cert_chain: Buffer.from(certificate.cert), private_key: Buffer.from(certificate.key) },
      ])
    : ServerCredentials.createInsecure();
  const hosts = host === undefined ? ["::", "0.0.0.0"] : [host];
  let failure: unknown;
  for (const candidate of hosts) {
    const address = `${isIPv6(candidate) ? `[${candidate}]` : candidate}:${port}`;
    try {
      return await new Promise<number>((resolve, reject) => {
        server.bindAsync(address, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
      });
    } catch (error) {
      failure = error;
    }
  }
  throw listenError(failure, port);
}

function listenError(failure: unknown, port: number): Error {
  const text = failure instanceof Error ? failure.message : String(failure);
  const reason = /EADDRINUSE/.test(text)
    ? "it is in use"
    : /EACCES/.test(text)
      ? "this user may not open it"
      : /EADDRNOTAVAIL/.test(text)
        ? "the address is not one of this machine's"
        : text;
  return new Error(
    `cannot listen for clients on port ${port}: ${reason}. Set another with grpc.listen or --grpc-listen.`,
    { cause: failure },
  );
}

import { Client } from "@grpc/grpc-js";
import { carrierService, FEATURES, PROTOCOL_MAX, PROTOCOL_MIN } from "../../link/contract.ts";
import type { AccessKey } from "../../link/access-key.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { errorCodeFromWire, TunnelError } from "../../link/errors.ts";
import { DirectCarrier } from "../../link/direct-carrier.ts";
import { Link, type LinkHandler } from "../../link/link.ts";
import { keepAlive } from "../../link/liveness.ts";
import type { Hello, Refused, SessionMessage, Tunnel, TunnelRequest, Welcome } from "../../link/messages.ts";
import type { UnreadBudget } from "../../link/unread-budget.ts";
import { cut, printable } from "../../runtime/printable.ts";
import { VERSION } from "../../runtime/version.ts";
import type { NameLookup } from "../../runtime/name-lookup.ts";
import { dial } from "./dial.ts";
import type { HttpProxy } from "./http-proxy.ts";

/** For name, address and TLS together, and for the server's answer to Hello. */
const STEP_TIMEOUT_MS = 10_000;
/** As the server's (server/grpc/http2-windows.ts): the default of 64 KiB is 0.6 MB/s at 100 ms round trip. */
const WINDOW_BYTES = 16 * 1024 * 1024;
const KEEPALIVE_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 30_000;
/** More than any server has a use for: what it says must not cost the client sockets without end. */
const MAX_CONNECTIONS = 8;
/** What a server may say to the person in front of the client. */
const MAX_REASON = 500;

export interface ServerAddress {
  key: AccessKey;
  /** Instead of the address in the key. */
  host?: string;
  port?: number;
  plaintext?: boolean;
  /** PEM. */
  ca?: string;
  serverName?: string;
  /** On the way to the server, plaintext or not. */
  proxy?: HttpProxy;
}

export interface Connection {
  link: Link;
  welcome: Welcome;
  /** Whether its carrier has gone beneath grpc-js. */
  direct: boolean;
}

/**
 * Dials the server and says Hello; one connection, ready to serve streams.
 *
 * @param options.handler is told what happens on the link after Welcome
 * @throws TunnelError why it did not come about
 */
export async function connect(options: {
  server: ServerAddress;
  clientId: string;
  /** Of the session to join, or empty. */
  sessionToken: string;
  wanted: TunnelRequest[];
  /** Of the whole client. */
  unreadBudget: UnreadBudget;
  /** Likewise; by itself a connection asks the system. */
  names?: Pick<NameLookup, "server">;
  handler: LinkHandler & {
    /** Before anything else that the server says behind it. */
    welcomed?(welcome: Welcome): void;
  };
  signal: AbortSignal;
  /** What tests make short. */
  probe?: { intervalMs: number; timeoutMs: number } | undefined;
  stepTimeoutMs?: number | undefined;
  /** What tests make false: whether the carrier may go beneath grpc-js. */
  direct?: boolean;
}): Promise<Connection> {
  const { server, signal, stepTimeoutMs = STEP_TIMEOUT_MS } = options;
  const dialled = await dial({
    host: server.host ?? server.key.host,
    port: server.port ?? server.key.port,
    pin: server.key.pin,
    plaintext: server.plaintext,
    ca: server.ca,
    serverName: server.serverName,
    resolve: options.names && ((host) => options.names!.server(host)),
    proxy: server.proxy,
    signal,
    timeoutMs: stepTimeoutMs,
  });
  signal.throwIfAborted();
  const client = new Client(dialled.address, dialled.credentials, {
    ...dialled.options,
    "grpc-node.flow_control_window": WINDOW_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    // Coming back is the session's business, with its own backoff.
    "grpc.enable_retries": 0,
  });
  const { path, requestSerialize, responseDeserialize } = carrierService.Connect;
  const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, requestSerialize, responseDeserialize);
  const carrier = new DirectCarrier(call, () => call.cancel(), options.direct);

  const hello: Hello = {
    protocolMin: PROTOCOL_MIN,
    protocolMax: PROTOCOL_MAX,
    keyId: server.key.keyId,
    secret: server.key.secret,
    clientId: options.clientId,
    version: VERSION,
    sessionToken: options.sessionToken,
    wanted: options.wanted,
    streamCredit: INITIAL_WINDOW_BYTES,
    features: FEATURES,
  };
  return new Promise<Connection>((resolve, reject) => {
    let probes: Disposable | undefined;
    const link = new Link({
      carrier,
      budget: options.unreadBudget,
      side: "client",
      handler: {
        opened(stream, open) {
          if (!probes) throw new TunnelError("protocol", "a stream before Welcome");
          options.handler.opened(stream, open);
        },
        message(message: SessionMessage) {
          if (message.message === "refused") {
            link.close(refusal(message.refused));
          } else if (probes) {
            options.handler.message(message);
          } else if (message.message === "welcome") {
            const welcome = checked(message.welcome);
            clearTimeout(timer);
            signal.removeEventListener("abort", abort);
            link.peerStreamCredit = welcome.streamCredit;
            probes = keepAlive(link, options.probe);
            // At once: streams may follow in the same batch.
            options.handler.welcomed?.(welcome);
            resolve({ link, welcome, direct: carrier.direct });
          } else {
            throw new TunnelError("protocol", `a ${message.message} message before Welcome`);
          }
        },
        closed(error) {
          clearTimeout(timer);
          signal.removeEventListener("abort", abort);
          client.close();
          reject(error ?? new TunnelError("lost", "the server closed the connection"));
          if (!probes) return;
          probes[Symbol.dispose]();
          options.handler.closed(error);
        },
      },
    });
    const timer = setTimeout(
      () =>
        link.close(new TunnelError("timeout", "the server did not answer in time; is it a tunnel-server?")),
      stepTimeoutMs,
    );
    const abort = (): void => link.close(new TunnelError("shutting_down", "stopped"));
    signal.addEventListener("abort", abort, { once: true });
    link.say({ message: "hello", hello });
  });
}

/** @throws TunnelError `version` or `protocol` */
function checked(welcome: Welcome): Welcome {
  const { protocol, version, connections } = welcome;
  if (protocol < PROTOCOL_MIN || protocol > PROTOCOL_MAX) {
    throw new TunnelError(
      "version",
      `This client (${VERSION}) speaks version ${PROTOCOL_MIN} to ${PROTOCOL_MAX} of the protocol, the server ` +
        `(${printable(cut(version, MAX_REASON))}) chose ${protocol}. Update tunnel-client.`,
    );
  }
  checkTunnels(welcome.tunnels);
  return { ...welcome, connections: Math.min(connections, MAX_CONNECTIONS) };
}

/** How many there are the reader of batches has bounded. @throws TunnelError `protocol` */
export function checkTunnels(tunnels: Tunnel[]): void {
  if (new Set(tunnels.map(({ id }) => id)).size < tunnels.length)
    throw new TunnelError("protocol", "the server gives two tunnels the same id");
}

/** Its text ends up on a terminal, so it is made safe for one. */
function refusal({ code, message }: Refused): TunnelError {
  return new TunnelError(errorCodeFromWire(code), printable(cut(message, MAX_REASON)));
}

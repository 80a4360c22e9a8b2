import { Client } from "@grpc/grpc-js";
import { PROTOCOL_MAX, PROTOCOL_MIN, linkService, type WireBatch } from "../../link/contract.ts";
import type { AccessKey } from "../../link/access-key.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { errorCodeFromWire, TunnelError } from "../../link/errors.ts";
import { GrpcCarrier } from "../../link/grpc-carrier.ts";
import { Link, type LinkHandler } from "../../link/link.ts";
import { keepAlive } from "../../link/liveness.ts";
import type { Hello, SessionMessage, TunnelRequest, Welcome } from "../../link/messages.ts";
import { VERSION } from "../../runtime/version.ts";
import { dial } from "./dial.ts";

/** For name, address, TLS and the server's answer to Hello, each. */
const STEP_TIMEOUT_MS = 10_000;
/** As the server's (server/grpc/http2-windows.ts): the default of 64 KiB is 0.6 MB/s at 100 ms round trip. */
const WINDOW_BYTES = 16 * 1024 * 1024;
const KEEPALIVE_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 30_000;

export interface ServerAddress {
  key: AccessKey;
  /** Instead of the address in the key. */
  host?: string;
  port?: number;
  plaintext?: boolean;
  /** PEM. */
  ca?: string;
  serverName?: string;
}

export interface Connection {
  link: Link;
  welcome: Welcome;
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
  handler: LinkHandler;
  signal: AbortSignal;
}): Promise<Connection> {
  const { server, signal } = options;
  const dialled = await dial({
    host: server.host ?? server.key.host,
    port: server.port ?? server.key.port,
    pin: server.key.pin,
    plaintext: server.plaintext,
    ca: server.ca,
    serverName: server.serverName,
    signal,
    timeoutMs: STEP_TIMEOUT_MS,
  });
  const client = new Client(dialled.address, dialled.credentials, {
    ...dialled.options,
    "grpc-node.flow_control_window": WINDOW_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    // Coming back is the session's business, with its own backoff.
    "grpc.enable_retries": 0,
  });
  const { path, requestSerialize, responseDeserialize } = linkService.Connect;
  const call = client.makeBidiStreamRequest<WireBatch, WireBatch>(
    path,
    requestSerialize,
    responseDeserialize,
  );
  const carrier = new GrpcCarrier(call, () => call.cancel());

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
  };
  return new Promise<Connection>((resolve, reject) => {
    let probes: Disposable | undefined;
    const link = new Link({
      carrier,
      side: "client",
      handler: {
        opened(stream, open) {
          if (!probes) throw new TunnelError("protocol", "a stream before Welcome");
          options.handler.opened(stream, open);
        },
        message(message: SessionMessage) {
          if (message.message === "refused") {
            link.close(new TunnelError(errorCodeFromWire(message.refused.code), message.refused.message));
          } else if (probes) {
            options.handler.message(message);
          } else if (message.message === "welcome") {
            clearTimeout(timer);
            signal.removeEventListener("abort", abort);
            link.peerStreamCredit = message.welcome.streamCredit;
            probes = keepAlive(link);
            resolve({ link, welcome: message.welcome });
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
      STEP_TIMEOUT_MS,
    );
    const abort = (): void => link.close(new TunnelError("shutting_down", "stopped"));
    signal.addEventListener("abort", abort, { once: true });
    link.say({ message: "hello", hello });
  });
}

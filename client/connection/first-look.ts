/**
 * A first look at a server before a gRPC call goes there: grpc-js says little more than "unavailable", this says
 * what is wrong and what to check. Nothing secret is sent.
 */
import { connect, type Socket } from "node:net";
import { TunnelError } from "../../link/errors.ts";
import type { Way } from "./channel-credentials.ts";
import { ConnectionClosed, connectTrouble, isClosed } from "./connect-trouble.ts";
import { passProxy, proxyTimeout } from "./http-proxy.ts";
import { secure } from "./server-identity.ts";

export interface LookTarget extends Way {
  /** What is dialled: the server's address, or the proxy's. */
  address: string;
  port: number;
}

/** What aborts a look because its time is over; any other reason is passed on as it is. */
export class LookTimeout extends Error {
  override readonly name = "LookTimeout";
}

/** The client's connection preface, RFC 9113 section 3.4: the fixed bytes and an empty SETTINGS frame. */
const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
/** Length (3 bytes), type, flags, stream (4); the first frame of either end is SETTINGS (section 4.1, 6.5). */
const FRAME_HEADER_BYTES = 9;
const SETTINGS_FRAME = 0x04;
const TLS_ALERT = 0x15;
/** How long a connection that has served its purpose may take to close in an orderly way. */
const CLOSING_MS = 1000;

/**
 * Resolves once a server that is what it should be has answered at this address.
 * @throws TunnelError `unreachable` or `certificate`; the reason of `signal` if that aborts
 */
export async function firstLook(target: LookTarget, signal: AbortSignal): Promise<void> {
  const reached: Reached = { connected: false, passed: target.proxy === undefined };
  if (signal.aborted) throw abortError(target, signal, reached);
  const socket = connect({ host: target.address, port: target.port, noDelay: true });
  socket.once("connect", () => (reached.connected = true));
  const onAbort = (): void => {
    socket.destroy(new ConnectionClosed());
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const { identity, proxy, where } = target;
    if (proxy) await passProxy(socket, proxy, where);
    reached.passed = true;
    closeGently(identity ? await secure(socket, identity) : await http2Answer(socket));
  } catch (error) {
    if (signal.aborted) throw abortError(target, signal, reached);
    throw error instanceof TunnelError
      ? error
      : explain(error as NodeJS.ErrnoException, target, reached.connected);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** How far a look has come. */
interface Reached {
  connected: boolean;
  /** Whether it is the server that is spoken to, and not a proxy in front. */
  passed: boolean;
}

/** Without TLS: says an HTTP/2 hello and waits for the beginning of the answer. */
function http2Answer(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const fail = (error: Error): void => {
      reject(error);
      socket.destroy();
    };
    const onClose = (): void => fail(new ConnectionClosed());
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      if (seen[0] === TLS_ALERT) return fail(new ConnectionClosed());
      if (seen.length < FRAME_HEADER_BYTES) return;
      if (seen[0] !== 0 || seen[3] !== SETTINGS_FRAME) return fail(new NotHttp2());
      socket.off("data", onData).off("end", onClose).off("close", onClose);
      resolve(socket);
    };
    socket.on("error", fail).on("data", onData).on("end", onClose).on("close", onClose);
    socket.write(HTTP2_PREFACE);
  });
}

class NotHttp2 extends Error {
  override readonly name = "NotHttp2";
}

/** Ends in order, so that the server sees no reset; nothing waits for it. */
function closeGently(socket: Socket): void {
  socket.on("error", () => socket.destroy());
  socket.setTimeout(CLOSING_MS, () => socket.destroy());
  socket.resume().end();
  socket.unref();
}

function explain(error: NodeJS.ErrnoException, target: LookTarget, connected: boolean): TunnelError {
  const { where, port, identity } = target;
  const say = (message: string): TunnelError =>
    new TunnelError("unreachable", `${where} ${message}`, { cause: error });
  if (error instanceof NotHttp2) {
    return say("answers, but not in HTTP/2: check that this is the gRPC port of tunnel-server");
  }
  if (connected && isClosed(error)) {
    return identity
      ? say(
          "closes the connection when TLS begins: check that this is the gRPC port of tunnel-server, and what stands in " +
            `between${identity.pin ? "" : "; pass --plaintext only for a server with grpc.tls: off"}`,
        )
      : say(
          "closes the connection without TLS. The server most likely expects TLS here: leave out --plaintext; " +
            "otherwise check the port",
        );
  }
  switch (error.code) {
    case "ECONNREFUSED":
      return say(
        `refuses the connection: check that tunnel-server runs there, and that its gRPC port is ${port}`,
      );
    case "ETIMEDOUT":
      return timeoutError(target, { connected: false, passed: true });
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return say(
        "answers, but not with TLS: check that this is the gRPC port of tunnel-server (grpc.listen, 7000 unless set) and not " +
          `the one for visitors${identity?.pin ? "" : "; pass --plaintext only for a server with grpc.tls: off"}`,
      );
    default:
      return say(connectTrouble(error));
  }
}

function abortError(target: LookTarget, signal: AbortSignal, reached: Reached): unknown {
  return signal.reason instanceof LookTimeout ? timeoutError(target, reached) : signal.reason;
}

function timeoutError({ where, port, proxy }: LookTarget, { connected, passed }: Reached): TunnelError {
  if (proxy && !passed) return proxyTimeout(proxy, where, connected);
  return new TunnelError(
    "unreachable",
    connected
      ? `${where} takes the connection, but says nothing: check that this is the gRPC port of tunnel-server`
      : `${where} does not answer: check the address, and that no firewall drops TCP port ${port}`,
  );
}

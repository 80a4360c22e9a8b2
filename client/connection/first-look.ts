/**
 * A first look at a server before a gRPC call goes there: grpc-js says little more than "unavailable", this says
 * what is wrong and what to check. Nothing secret is sent.
 */
import { connect, type Socket } from "node:net";
import { TunnelError } from "../../link/errors.ts";
import { ConnectionClosed, secure, type ServerIdentity } from "./server-identity.ts";

export interface LookTarget {
  address: string;
  port: number;
  /** `undefined`: the server is meant to speak without TLS. */
  identity: ServerIdentity | undefined;
  /** How the server is called in errors: "host:port". */
  where: string;
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
  if (signal.aborted) throw abortError(target, signal, false);
  let connected = false;
  const socket = connect({ host: target.address, port: target.port, noDelay: true });
  socket.once("connect", () => (connected = true));
  const onAbort = (): void => {
    socket.destroy(new ConnectionClosed());
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const { identity } = target;
    closeGently(identity ? await secure(socket, identity) : await http2Answer(socket));
  } catch (error) {
    if (signal.aborted) throw abortError(target, signal, connected);
    throw error instanceof TunnelError ? error : explain(error as NodeJS.ErrnoException, target, connected);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
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
    socket.once("connect", () => socket.write(HTTP2_PREFACE));
    socket.on("error", fail).on("data", onData).on("end", onClose).on("close", onClose);
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
  if (connected && (error instanceof ConnectionClosed || error.code === "ECONNRESET")) {
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
    case "ENETUNREACH":
    case "EHOSTUNREACH":
    case "EADDRNOTAVAIL":
    case "ENETDOWN":
    case "EHOSTDOWN":
      return say(`is out of reach (${error.code}): check this machine's network`);
    case "ETIMEDOUT":
      return timeoutError(target, false);
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return say(
        "answers, but not with TLS: check that this is the gRPC port of tunnel-server (grpc.listen, 7000 unless set) and not " +
          `the one for visitors${identity?.pin ? "" : "; pass --plaintext only for a server with grpc.tls: off"}`,
      );
    default:
      return say(`cannot be connected to: ${error.message}`);
  }
}

function abortError(target: LookTarget, signal: AbortSignal, connected: boolean): unknown {
  return signal.reason instanceof LookTimeout ? timeoutError(target, connected) : signal.reason;
}

function timeoutError({ where, port }: LookTarget, connected: boolean): TunnelError {
  return new TunnelError(
    "unreachable",
    connected
      ? `${where} takes the connection, but says nothing: check that this is the gRPC port of tunnel-server`
      : `${where} does not answer: check the address, and that no firewall drops TCP port ${port}`,
  );
}

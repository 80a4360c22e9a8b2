/** Dialling a local service: by consent, within a time. */
import {
  connect,
  type IpcSocketConnectOpts,
  isIP,
  type LookupFunction,
  type OnReadOpts,
  Socket,
  type TcpSocketConnectOpts,
} from "node:net";
import type { SocketTarget, Target, TcpTarget } from "../../link/target.ts";
import { allowedAddresses } from "./allowed-addresses.ts";
import type { Resolve } from "../../runtime/name-lookup.ts";
import { type Consent, dialledAddress } from "./consent.ts";
import { notAllowed, timedOut } from "./dial-failure.ts";
import { type ServiceSocket, serviceSocket } from "./service-socket.ts";
import type { ServiceTls } from "./service-tls.ts";

/** A connect that neither succeeds nor fails is given up after this. */
const CONNECT_TIMEOUT_MS = 10_000;
/**
 * If a name has several addresses, each gets this long before the next is tried. The default of node:net, 250 ms, is too short: a
 * busy event loop can be that late, and node:net then drops a connection that was already established.
 */
const ATTEMPT_TIMEOUT_MS = 2_000;

export interface DialOptions {
  target: Target;
  consent: Consent;
  /** For an `https://` target. */
  tls?: ServiceTls;
  /** Whether the socket outlives the service's FIN: for joined bytes. */
  allowHalfOpen?: boolean;
  /** Where what is read goes instead of to "data"; not over TLS. */
  onread?: OnReadOpts;
  timeoutMs?: number;
  resolve?: Resolve;
}

/**
 * Starts connecting to a target. A name is resolved once, here, and only those of its addresses are tried that the
 * consent allows. What goes wrong comes as the socket's "error"; see `dialFailure`.
 */
export function dialTarget({
  target,
  consent,
  tls,
  allowHalfOpen = false,
  onread,
  timeoutMs = CONNECT_TIMEOUT_MS,
  resolve,
}: DialOptions): ServiceSocket {
  const place = "path" in target ? socketPlace(target, consent) : addressPlace(target, consent, resolve);
  if (place instanceof Error) {
    const socket = serviceSocket(new Socket());
    // Not before the caller could listen.
    process.nextTick(() => socket.destroy(place));
    return socket;
  }
  const socket = serviceSocket(
    tls && "host" in place
      ? tls.connect({ ...place, allowHalfOpen })
      : connect({ ...place, allowHalfOpen, ...(onread && { onread }) }),
  );
  const connected = tls ? "secureConnect" : "connect";
  const timer = setTimeout(() => socket.destroy(timedOut(target, timeoutMs)), timeoutMs);
  // Taken off again, since a connection may stand for long, and keep what they hold.
  const stop = () => {
    clearTimeout(timer);
    socket.off(connected, stop);
    socket.off("close", stop);
  };
  socket.on(connected, stop);
  socket.on("close", stop);
  return socket;
}

function addressPlace(
  target: TcpTarget,
  consent: Consent,
  resolve: Resolve | undefined,
): TcpSocketConnectOpts | Error {
  const { host, port } = target;
  const isAddress = isIP(host) !== 0;
  if (isAddress && !consent.allows(host, port)) return notAllowed(target, [host]);
  return {
    host: isAddress ? dialledAddress(host) : host,
    port,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: ATTEMPT_TIMEOUT_MS,
    lookup: lookupWithConsent(target, consent, resolve),
  };
}

function socketPlace(target: SocketTarget, consent: Consent): IpcSocketConnectOpts | Error {
  try {
    const { allowed, path } = consent.judgeSocket(target.path);
    return allowed ? { path } : notAllowed(target, [path]);
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

function lookupWithConsent(
  target: TcpTarget,
  consent: Consent,
  resolve: Resolve | undefined,
): LookupFunction {
  return (_host, options, callback) =>
    allowedAddresses({ target, consent, resolve }, (error, addresses) => {
      if (error || options.all) callback(error, addresses);
      else callback(null, addresses[0]!.address, addresses[0]!.family);
    });
}

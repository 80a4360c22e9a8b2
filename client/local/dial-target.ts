/** Dialling a local service: by consent, within a time. */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
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
import { type Consent, dialledAddress } from "./consent.ts";
import { notAllowed, timedOut } from "./dial-failure.ts";
import { type ServiceSocket, serviceSocket } from "./service-socket.ts";
import type { ServiceTls } from "./service-tls.ts";

/** A connect that neither succeeds nor fails is given up after this. */
const CONNECT_TIMEOUT_MS = 10_000;
/** RFC 6761 section 6.3: these names mean loopback, whatever a resolver says; in the order that browsers try. */
const LOOPBACK: LookupAddress[] = [
  { address: "::1", family: 6 },
  { address: "127.0.0.1", family: 4 },
];

export type Resolve = (
  host: string,
  options: { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

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
  resolve = systemLookup,
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

function addressPlace(target: TcpTarget, consent: Consent, resolve: Resolve): TcpSocketConnectOpts | Error {
  const { host, port } = target;
  const isAddress = isIP(host) !== 0;
  if (isAddress && !consent.allows(host, port)) return notAllowed(target, [host]);
  return {
    host: isAddress ? dialledAddress(host) : host,
    port,
    autoSelectFamily: true,
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

function lookupWithConsent(target: TcpTarget, consent: Consent, resolve: Resolve): LookupFunction {
  return (host, options, callback) => {
    const answer = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => {
      if (error) return callback(error, []);
      const allowed = addresses.filter(({ address }) => consent.allows(address, target.port, target.host));
      if (allowed.length === 0) {
        const refused = notAllowed(
          target,
          addresses.map(({ address }) => address),
        );
        return callback(refused, []);
      }
      const dialled = allowed.map(({ address }) => {
        const plain = dialledAddress(address);
        return { address: plain, family: isIP(plain) };
      });
      if (options.all) callback(null, dialled);
      else callback(null, dialled[0]!.address, dialled[0]!.family);
    };
    if (/(^|\.)localhost\.?$/i.test(host)) process.nextTick(answer, null, LOOPBACK);
    else resolve(host, { all: true }, answer);
  };
}

/** Dialling a local service: by consent, within a time. */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import type { ResetCode } from "../../link/messages.ts";
import { formatAddress } from "../../runtime/net-address.ts";
import { type Consent, dialledAddress, type Target } from "./consent.ts";
import { ServiceSocket } from "./service-socket.ts";

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
  /** Whether the socket outlives the service's FIN: for joined bytes. node:http does without. */
  allowHalfOpen?: boolean;
  timeoutMs?: number;
  resolve?: Resolve;
}

/** Why a service could not be reached. */
export interface DialFailure {
  code: Extract<ResetCode, "REFUSED" | "UNREACHABLE" | "NOT_ALLOWED">;
  /** For this client's log; may name addresses of its network. */
  detail: string;
  /** For the server's log. */
  publicDetail: string;
}

class DialError extends Error {
  readonly failure: DialFailure;

  constructor(failure: DialFailure) {
    super(failure.detail);
    this.failure = failure;
  }
}

/**
 * Starts connecting to a target. A name is resolved once, here, and only those of its addresses are tried that the
 * consent allows. What goes wrong comes as the socket's "error"; see `dialFailure`.
 */
export function dialTarget({
  target,
  consent,
  allowHalfOpen = false,
  timeoutMs = CONNECT_TIMEOUT_MS,
  resolve = systemLookup,
}: DialOptions): ServiceSocket {
  const socket = new ServiceSocket({ allowHalfOpen });
  if (isIP(target.host) !== 0 && !consent.allows(target.host, target.port)) {
    const error = notAllowed(target, [target.host]);
    // Not before the caller could listen.
    process.nextTick(() => socket.destroy(error));
    return socket;
  }
  const timer = setTimeout(() => socket.destroy(timedOut(target, timeoutMs)), timeoutMs);
  const stop = () => clearTimeout(timer);
  socket.once("connect", stop);
  socket.once("close", stop);
  return socket.connect({
    host: isIP(target.host) === 0 ? target.host : dialledAddress(target.host),
    port: target.port,
    autoSelectFamily: true,
    lookup: lookupWithConsent(target, consent, resolve),
  });
}

/** Reads the error of a socket from `dialTarget`; undefined if it had been connected before. */
export function dialFailure(error: NodeJS.ErrnoException, target: Target): DialFailure | undefined {
  if (error instanceof DialError) return error.failure;
  // What autoSelectFamily throws when no address would have us.
  const attempts: NodeJS.ErrnoException[] = error instanceof AggregateError ? error.errors : [error];
  if (!attempts.every(({ syscall }) => syscall === "connect" || syscall === "getaddrinfo")) return undefined;
  // ECONNRESET: it was accepted and reset before we knew.
  const refused = attempts.some(({ code }) => code === "ECONNREFUSED" || code === "ECONNRESET");
  const detail = refused
    ? `${formatAddress(target)} refuses connections; does the service run?`
    : `${formatAddress(target)} cannot be reached: ${attempts.map(({ code }) => code).join(", ")}`;
  return { code: refused ? "REFUSED" : "UNREACHABLE", detail, publicDetail: detail };
}

function lookupWithConsent(target: Target, consent: Consent, resolve: Resolve): LookupFunction {
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

function notAllowed(target: Target, addresses: string[]): DialError {
  const resolved = addresses.includes(target.host) ? "" : ` (${addresses.join(", ")})`;
  return new DialError({
    code: "NOT_ALLOWED",
    detail: `this client is not allowed to dial ${formatAddress(target)}${resolved}; --allow says what it may dial`,
    publicDetail: `the client's owner does not allow ${formatAddress(target)}; the client's --allow says what it may dial`,
  });
}

function timedOut(target: Target, timeoutMs: number): DialError {
  const detail = `${formatAddress(target)} did not answer within ${timeoutMs / 1000} s`;
  return new DialError({ code: "UNREACHABLE", detail, publicDetail: detail });
}

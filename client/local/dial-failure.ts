/** Why a local service could not be reached, for the visitor's answer and in words. */
import { statSync } from "node:fs";
import type { ResetCode } from "../../link/messages.ts";
import { formatTarget, type SocketTarget, type Target, type TcpTarget } from "../../link/target.ts";
import { fileErrorInWords } from "../../runtime/file-error.ts";
import { disagreement, isNoTls, isTlsError, type TlsError } from "./tls-words.ts";

export interface DialFailure {
  code: Extract<ResetCode, "REFUSED" | "UNREACHABLE" | "NOT_ALLOWED" | "BAD_RESPONSE" | "OVERLOADED">;
  /** For this client's log; may name addresses of its network. */
  detail: string;
  /** For the server's log. */
  publicDetail: string;
}

/** A failure whose reason is known where it happens; the others are read from the system's error. */
export class DialError extends Error {
  readonly failure: DialFailure;

  constructor(code: DialFailure["code"], detail: string, publicDetail = detail) {
    super(detail);
    this.failure = { code, detail, publicDetail };
  }
}

/** Reads the error of a socket from `dialTarget`; undefined if it came behind dialling, and not from TLS. */
export function dialFailure(error: NodeJS.ErrnoException, target: Target): DialFailure | undefined {
  if (error instanceof DialError) return error.failure;
  if (isTlsError(error)) return tlsError(error, target).failure;
  // What autoSelectFamily throws when no address would have us.
  const attempts: NodeJS.ErrnoException[] = error instanceof AggregateError ? error.errors : [error];
  if (!attempts.every(isConnectError)) return undefined;
  const { failure } = "path" in target ? socketError(error, target) : addressError(attempts, target);
  return failure;
}

/** Whether an error came before there was a connection. */
export function isConnectError({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall === "connect" || syscall === "getaddrinfo" || syscall === "realpath";
}

/** Reads the error of a socket for datagrams: of a service that is not there the system tells by ICMP (udp(7)). */
export function datagramFailure(error: NodeJS.ErrnoException, target: Target): DialFailure {
  if (error instanceof DialError) return error.failure;
  const named = formatTarget(target);
  if (error.code === "ECONNREFUSED")
    return new DialError("REFUSED", `${named} refuses datagrams; does the service run?`).failure;
  return unreachable(target, error.code ?? error.message).failure;
}

/** As many sockets for datagrams are open as may be. */
export function noDescriptor(sockets: number): DialError {
  return new DialError(
    "OVERLOADED",
    `the client has ${sockets} sockets for datagrams, half of the files that it may open; ulimit -n says how many that are`,
  );
}

/** Node has no UNIX sockets for datagrams. */
export function noDatagrams(target: SocketTarget): DialError {
  return new DialError(
    "UNREACHABLE",
    `${formatTarget(target)} is a UNIX socket, and datagrams go to an address with a port only`,
  );
}

/** @param resolved the addresses, or the path, that the target stands for */
export function notAllowed(target: Target, resolved: string[]): DialError {
  const named = formatTarget(target);
  const asItIs = resolved.includes("path" in target ? target.path : target.host);
  const rules =
    "path" in target
      ? "only --allow unix:PATH lets a server name a socket"
      : "the client's --allow says what it may dial";
  return new DialError(
    "NOT_ALLOWED",
    `this client is not allowed to dial ${named}${asItIs ? "" : ` (${resolved.join(", ")})`}; ${rules}`,
    `the client's owner does not allow ${named}; ${rules}`,
  );
}

export function timedOut(target: Target, timeoutMs: number): DialError {
  return new DialError("UNREACHABLE", `${formatTarget(target)} did not answer within ${timeoutMs / 1000} s`);
}

function addressError(attempts: NodeJS.ErrnoException[], target: TcpTarget): DialError {
  // ECONNRESET: it was accepted and reset before we knew.
  if (attempts.some(({ code }) => code === "ECONNREFUSED" || code === "ECONNRESET")) return refused(target);
  return unreachable(target, attempts.map(({ code }) => code).join(", "));
}

function tlsError(error: TlsError, target: Target): DialError {
  const named = formatTarget(target);
  if (!isNoTls(error))
    return new DialError("UNREACHABLE", `${named} does not agree on TLS: ${disagreement(error, target)}`);
  const plain = named.replace(/^https:/, "http:");
  return new DialError(
    "BAD_RESPONSE",
    `${named} does not speak TLS; if it speaks HTTP, its target is ${plain}`,
  );
}

/** connect(2), path_resolution(7). */
function socketError(error: NodeJS.ErrnoException, target: SocketTarget): DialError {
  switch (error.code) {
    case "ENOENT":
      return new DialError("REFUSED", `${formatTarget(target)} does not exist; does the service run?`);
    case "ECONNREFUSED":
      return isSocket(target.path) ? refused(target) : unreachable(target, "it is no socket");
    case "ENOTSOCK":
      return unreachable(target, "it is no socket");
    case "EPROTOTYPE":
      return unreachable(target, "it is a socket for datagrams");
    case "EACCES":
      return unreachable(target, "permission denied for the client's user");
    // Other than over TCP, nobody can wait for a place in the service's queue.
    case "EAGAIN":
      return unreachable(target, "more connections wait for the service than it lets wait");
    default:
      return unreachable(target, fileErrorInWords(error));
  }
}

/** connect(2) refuses a file that is no socket with the same error as one that nobody listens at. */
function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    return true;
  }
}

function refused(target: Target): DialError {
  return new DialError("REFUSED", `${formatTarget(target)} refuses connections; does the service run?`);
}

function unreachable(target: Target, why: string): DialError {
  return new DialError("UNREACHABLE", `${formatTarget(target)} cannot be reached: ${why}`);
}

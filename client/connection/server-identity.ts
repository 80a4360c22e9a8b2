/**
 * How a server proves itself over TLS before anything secret is said. The same check runs twice: on the first
 * look, for an error that says what is wrong, and on the very connection that then carries the gRPC call.
 *
 * grpc-js's own `createSsl` cannot do this: with `rejectUnauthorized: false` it never asks who the server is,
 * and without it a pinned certificate is refused where the clock is wrong (a small machine starts in 1970).
 */
import type { X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import { checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from "node:tls";
import { spkiPin } from "../../link/access-key.ts";
import { TunnelError } from "../../link/errors.ts";
import { ConnectionClosed } from "./connect-trouble.ts";

export interface ServerIdentity {
  /** How the server is called in errors: "host:port". */
  where: string;
  /** What the certificate must be made out to, and what is asked for by SNI. */
  name: string;
  /** If given it alone decides: not the name, not the dates, not who signed. */
  pin?: Buffer;
  /** PEM of the authorities to trust in place of those that Node.js knows. */
  ca?: string;
}

/**
 * Speaks TLS over a socket, connected or connecting; resolves once the server has proven itself and agreed to
 * HTTP/2. On any failure the socket is destroyed.
 * @throws TunnelError `certificate` if the server is not who it should be; what the socket threw otherwise
 */
export function secure(socket: Socket, identity: ServerIdentity): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const tls = connect({
      socket,
      host: identity.name,
      // SNI carries names only (RFC 6066 section 3).
      servername: isIP(identity.name) ? "" : identity.name,
      ALPNProtocols: ["h2"],
      ca: identity.ca,
      // Judged below, where the certificate is still at hand for the message.
      rejectUnauthorized: false,
      checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
        checkServerIdentity(identity.name, certificate),
    });
    const fail = (error: Error): void => {
      reject(error);
      tls.destroy();
      socket.destroy();
    };
    const onClose = (): void => fail(new ConnectionClosed());
    socket.on("error", fail);
    tls.on("error", fail);
    tls.once("close", onClose);
    tls.once("secureConnect", () => {
      const problem = identity.pin ? pinProblem(tls, identity.pin) : authorityProblem(tls, identity);
      if (problem) return fail(new TunnelError("certificate", `${identity.where}: ${problem}`));
      if (tls.alpnProtocol !== "h2")
        return fail(new TunnelError("unreachable", withoutHttp2(identity.where)));
      tls.off("close", onClose);
      resolve(tls);
    });
  });
}

function pinProblem(socket: TLSSocket, pin: Buffer): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate && spkiPin(certificate).equals(pin)) return undefined;
  return (
    "the server's certificate is not the one in the access key. Either this is another server (or someone in " +
    "between), or the server's certificate was made anew and a new access key is needed: " +
    '"tunnel-server key create" prints one'
  );
}

function authorityProblem(socket: TLSSocket, identity: ServerIdentity): string | undefined {
  if (socket.authorized) return undefined;
  const certificate = socket.getPeerX509Certificate();
  // Typed as an Error, it is the code of OpenSSL or Node.js.
  const code = String(socket.authorizationError);
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return `the server's certificate has expired (${certificate?.validTo}): renew it, or set this machine's clock`;
    case "CERT_NOT_YET_VALID":
      return `the server's certificate is not valid yet (from ${certificate?.validFrom}): check this machine's clock`;
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return (
        `the server's certificate is not made out to ${identity.name}, but to ${namesOf(certificate)}: ` +
        "use that name, or pass --server-name"
      );
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "CERT_SIGNATURE_FAILURE":
      return (
        "the server's certificate is not trusted: no known authority has signed it. Pass --ca with the " +
        "authority's certificate, or use an access key that carries the server's own"
      );
    default:
      return `the server's certificate cannot be verified (${code})`;
  }
}

function withoutHttp2(where: string): string {
  return `${where} speaks TLS, but not HTTP/2: check that this is the gRPC port of tunnel-server`;
}

/** Escaped, since whoever answers chooses the names. */
function namesOf(certificate: X509Certificate | undefined): string {
  const names = certificate?.subjectAltName ?? certificate?.subject ?? "nobody";
  return names.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 200);
}

/** What is wrong between this client and a service behind `https://`, for people. */
import type { Target } from "../../link/target.ts";

/** OpenSSL's finding when bytes come that are no TLS. */
const NO_TLS = new Set(["ERR_SSL_WRONG_VERSION_NUMBER", "ERR_SSL_PACKET_LENGTH_TOO_LONG"]);

/** What to do where a service speaks only HTTP/2: a tunnel speaks HTTP/1.1 with it. */
export function needsHttp1(target: Target): string {
  const type = "tls" in target ? "tls" : "tcp";
  return `an http tunnel needs HTTP/1.1: switch that on in the service, or use a ${type} tunnel, which passes any protocol`;
}

/** Where OpenSSL's own words would not help. */
const DISAGREEMENTS: Readonly<Record<string, string>> = {
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "it speaks versions of TLS that are too old",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "it speaks versions of TLS that are too old",
  // Behind the handshake, under TLS 1.3 (RFC 8446 section 4.4.2.4).
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "it asks its clients for certificates, and a tunnel has none",
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: "it has no host of this name (--target-server-name asks for another)",
};

const UNKNOWN_AUTHORITY = "no known authority has signed its certificate (--target-ca names another)";

/** verify(1) of OpenSSL lists all codes. */
const DISTRUST: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet, by the clock of the client's machine",
  // Another one has, under the name of one that is known.
  CERT_SIGNATURE_FAILURE: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
};

export interface TlsError extends NodeJS.ErrnoException {
  /** OpenSSL's words. */
  reason?: string;
}

/** Whether an error is OpenSSL's, at whatever time. */
export function isTlsError({ code }: NodeJS.ErrnoException): boolean {
  return code?.startsWith("ERR_SSL_") ?? false;
}

/** Whether what came was no TLS at all. */
export function isNoTls({ code = "" }: NodeJS.ErrnoException): boolean {
  return NO_TLS.has(code);
}

export function disagreement({ code = "", reason }: TlsError, target: Target): string {
  if (code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL")
    return `it does not speak HTTP/1.1, and probably only HTTP/2; ${needsHttp1(target)}`;
  return DISAGREEMENTS[code] ?? reason ?? code;
}

/** @param name what the certificate must be made out to */
export function distrust({ code = "" }: TlsError, name: string): string {
  const what =
    code === "ERR_TLS_CERT_ALTNAME_INVALID"
      ? `its certificate is not made out to ${name} (--target-server-name expects another name)`
      : (DISTRUST[code] ?? `its certificate is refused (${code})`);
  return `${what}; --insecure-target takes any certificate`;
}

/** Which certificate the gRPC port shows: one of its own, made at the first start, or that of the config. */
import { createPrivateKey, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { spkiPin } from "../../link/access-key.ts";
import { createOnce } from "../../runtime/create-once.ts";
import { fileErrorInWords } from "../../runtime/file-error.ts";
import type { Log } from "../../runtime/log.ts";
import { ensureDirectory } from "../../runtime/state-directory.ts";
import { loadX509 } from "./x509.ts";

export interface ServerCertificate {
  /** PEM; the server's own certificate first, then those between it and an authority. */
  cert: string;
  /** PEM. */
  key: string;
}

/** No usable certificate; the message names the file and says what to do. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
}

/** Key and certificate in one file, so that no crash can leave one without the other. */
export const CERTIFICATE_FILE = "certificate.pem";
/** Its subject. */
export const CERTIFICATE_NAME = "CN=culvert";

/**
 * The server's own certificate; made if the data directory has none. Access keys pin its public key, so it stays
 * for good: valid from 2000 to 9999 (RFC 5280 section 4.1.2.5), whatever the clocks say.
 *
 * @throws CertificateError, StateDirectoryError
 */
export async function loadOrCreateCertificate(dataDir: string, log: Log): Promise<ServerCertificate> {
  await ensureDirectory(dataDir);
  const file = path.join(dataDir, CERTIFICATE_FILE);
  let made: string | undefined;
  const text = await createOnce(file, async () => (made = await makeCertificate()));
  if (text === made)
    log.info({ file }, "made a certificate for the gRPC port; access keys will carry its pin");
  await warnIfOthersCanRead(file, log);
  return parseOwn(text, file);
}

/**
 * The pin of the server's own certificate, for access keys; `undefined` if no server has ever started with this
 * data directory.
 *
 * @throws CertificateError
 */
export async function readOwnPin(dataDir: string): Promise<Buffer | undefined> {
  const file = path.join(dataDir, CERTIFICATE_FILE);
  try {
    return spkiPin(parseOwn(await readFile(file, "utf8"), file).cert);
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new CertificateError(
      `cannot read ${file}: ${fileErrorInWords(error)}. Run this as the user that runs tunnel-server, or as root.`,
      { cause: error },
    );
  }
}

/**
 * The certificate that the config names (`grpc.tls`), with its key.
 *
 * @throws CertificateError if a file cannot be read, is not PEM, or the two do not belong together
 */
export async function readConfiguredCertificate(
  files: { cert: string; key: string },
  log: Log,
): Promise<ServerCertificate> {
  const cert = await readConfigured(files.cert, "grpc.tls.cert");
  const key = await readConfigured(files.key, "grpc.tls.key");
  const parsed = parseCertificate(cert, files.cert);
  if (!parsed.checkPrivateKey(parseKey(key, files.key))) {
    throw new CertificateError(
      `grpc.tls: the key in ${files.key} does not belong to the first certificate in ${files.cert}. ` +
        "The server's own certificate must come first in the file, before those of its authorities.",
    );
  }
  if (Date.parse(parsed.validTo) < Date.now()) {
    log.warn(
      { file: files.cert, expired: parsed.validTo },
      "the gRPC port's certificate has expired: clients refuse it",
    );
  }
  await warnIfOthersCanRead(files.key, log);
  return { cert, key };
}

/** A new P-256 key and a certificate for it that it has signed itself: PEM, one after the other. */
async function makeCertificate(): Promise<string> {
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await loadX509();
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const serial = randomBytes(16);
  // Positive and without leading zeros, as RFC 5280 section 4.1.2.2 wants serial numbers.
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial.toString("hex"),
    name: CERTIFICATE_NAME,
    notBefore: new Date("2000-01-01T00:00:00Z"),
    notAfter: new Date("9999-12-31T23:59:59Z"),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new SubjectAlternativeNameExtension([{ type: "dns", value: "culvert" }])],
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({
    type: "pkcs8",
    format: "pem",
  });
  return `${key.toString().trim()}\n${certificate.toString("pem").trim()}\n`;
}

function parseOwn(text: string, file: string): ServerCertificate {
  const remedy =
    "Restore it from a backup; or delete it, start tunnel-server, and make all access keys anew, since they carry " +
    "the pin of the certificate that is lost.";
  try {
    const cert = pemBlock(text, "CERTIFICATE");
    const key = pemBlock(text, "PRIVATE KEY");
    if (cert && key && new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) return { cert, key };
  } catch (error) {
    throw new CertificateError(`${file} is damaged. ${remedy}`, { cause: error });
  }
  throw new CertificateError(`${file} does not hold a certificate and its key. ${remedy}`);
}

function pemBlock(text: string, label: string): string | undefined {
  return new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n?`).exec(text)?.[0];
}

async function readConfigured(file: string, option: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CertificateError(`${option}: cannot read ${file}: ${fileErrorInWords(error)}`, {
      cause: error,
    });
  }
}

function parseCertificate(text: string, file: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (error) {
    throw new CertificateError(`grpc.tls.cert: ${file} does not hold a certificate in PEM form`, {
      cause: error,
    });
  }
}

function parseKey(text: string, file: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (error) {
    const why = text.includes("ENCRYPTED")
      ? "is protected by a passphrase; give a key without one"
      : "does not hold a private key in PEM form";
    throw new CertificateError(`grpc.tls.key: ${file} ${why}`, { cause: error });
  }
}

async function warnIfOthersCanRead(file: string, log: Log): Promise<void> {
  const { mode } = await stat(file);
  // Group members may be meant to read it (ssl-cert on Debian); everybody is not.
  if (mode & 0o004)
    log.warn({ file }, "everybody on this machine can read the gRPC port's private key: chmod o-r it");
}

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileErrorInWords } from "./file-error.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
/** All of a system's authorities take 300 KB. */
const MAX_BYTES = 1 << 20;

/**
 * Reads a file of PEM certificates to trust. A string says what is wrong with it.
 */
export function readCertificates(file: string): { pem: string } | string {
  let text: string;
  try {
    text = readFileSync(file, "latin1");
  } catch (error) {
    return `expected a file that can be read (${fileErrorInWords(error)})`;
  }
  const certificates = text.length <= MAX_BYTES ? (text.match(CERTIFICATE) ?? []) : [];
  if (certificates.length === 0 || !certificates.every(isCertificate)) {
    return "expected a file of PEM certificates (-----BEGIN CERTIFICATE-----)";
  }
  // Nothing else that the file may hold, a private key least of all, goes on.
  return { pem: `${certificates.join("\n")}\n` };
}

/** Whether a text is a certificate in PEM, the first of several at least. */
export function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

import { createPrivateKey, webcrypto } from "node:crypto";
import type { X509Certificate } from "@peculiar/x509";
import { loadX509 } from "../../server/grpc/x509.ts";

export interface Identity {
  /** PEM. */
  cert: string;
  key: string;
}

export interface Authority extends Identity {
  parsed: X509Certificate;
  keys: webcrypto.CryptoKeyPair;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;

export async function makeAuthority(): Promise<Authority> {
  const { BasicConstraintsExtension, X509CertificateGenerator } = await loadX509();
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const parsed = await X509CertificateGenerator.createSelfSigned({
    name: "CN=test authority",
    ...dates(-1, 1),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new BasicConstraintsExtension(true)],
  });
  return { parsed, keys, cert: parsed.toString("pem"), key: await privatePem(keys) };
}

/** A server's certificate; without an authority it has signed itself. Days count from now. */
export async function makeCertificate(
  options: {
    authority?: Authority;
    names?: string[];
    ips?: string[];
    fromDays?: number;
    toDays?: number;
  } = {},
): Promise<Identity> {
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await loadX509();
  const { authority, names = ["localhost"], ips = [], fromDays = -1, toDays = 1 } = options;
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject: "CN=server",
    issuer: authority ? authority.parsed.subject : "CN=server",
    ...dates(fromDays, toDays),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: authority ? authority.keys.privateKey : keys.privateKey,
    extensions: [
      new SubjectAlternativeNameExtension([
        ...names.map((value) => ({ type: "dns" as const, value })),
        ...ips.map((value) => ({ type: "ip" as const, value })),
      ]),
    ],
  });
  return { cert: certificate.toString("pem"), key: await privatePem(keys) };
}

function dates(fromDays: number, toDays: number): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(Date.now() + fromDays * DAY_MS),
    notAfter: new Date(Date.now() + toDays * DAY_MS),
  };
}

async function privatePem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" })
    .export({ type: "pkcs8", format: "pem" })
    .toString();
}

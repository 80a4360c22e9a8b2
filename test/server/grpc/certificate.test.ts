import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { spkiPin } from "../../../link/access-key.ts";
import {
  CertificateError,
  loadOrCreateCertificate,
  readConfiguredCertificate,
  readOwnPin,
} from "../../../server/grpc/certificate.ts";
import { makeAuthority, makeCertificate } from "../../support/certificates.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

test("the first start makes a certificate that outlives every clock, and later starts keep it", async () => {
  const { log, lines } = recordingLog();
  const dataDir = join(await temporaryDirectory(), "data");
  const made = await loadOrCreateCertificate(dataDir, log);
  const parsed = new X509Certificate(made.cert);
  expect(parsed.subject).toBe("CN=culvert");
  expect(new Date(parsed.validFrom).toISOString()).toBe("2000-01-01T00:00:00.000Z");
  expect(new Date(parsed.validTo).toISOString()).toBe("9999-12-31T23:59:59.000Z");
  expect(parsed.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  expect(parsed.verify(parsed.publicKey)).toBe(true);
  expect(parsed.checkPrivateKey(createPrivateKey(made.key))).toBe(true);
  expect(await loadOrCreateCertificate(dataDir, log)).toEqual(made);
  expect(lines.filter(({ message }) => message.includes("made a certificate"))).toHaveLength(1);
});

test("key and certificate are one file, for its owner alone", async () => {
  const dataDir = await temporaryDirectory();
  await loadOrCreateCertificate(dataDir, recordingLog().log);
  expect(await readdir(dataDir)).toEqual(["certificate.pem"]);
  expect((await stat(join(dataDir, "certificate.pem"))).mode & 0o777).toBe(0o600);
});

test("no two certificates are alike", async () => {
  const [one, other] = [await makeOwn(), await makeOwn()];
  expect(new X509Certificate(one.cert).serialNumber).not.toBe(new X509Certificate(other.cert).serialNumber);
  expect(spkiPin(one.cert)).not.toEqual(spkiPin(other.cert));
});

test("servers that start at once end up with the same certificate", async () => {
  const { log } = recordingLog();
  const dataDir = await temporaryDirectory();
  const all = await Promise.all(Array.from({ length: 5 }, () => loadOrCreateCertificate(dataDir, log)));
  for (const one of all) expect(one).toEqual(all[0]);
  expect(await loadOrCreateCertificate(dataDir, log)).toEqual(all[0]);
});

test("no polyfill stays behind when a certificate was made", async () => {
  await makeOwn();
  expect(Object.keys(Reflect)).toEqual([]);
});

test("the pin can be read once a server has started, and not before", async () => {
  const dataDir = await temporaryDirectory();
  expect(await readOwnPin(dataDir)).toBeUndefined();
  expect(await readOwnPin(join(dataDir, "missing"))).toBeUndefined();
  expect(await readdir(dataDir)).toEqual([]);
  const { cert } = await loadOrCreateCertificate(dataDir, recordingLog().log);
  expect(await readOwnPin(dataDir)).toEqual(spkiPin(cert));
});

test("a damaged file is not replaced, since all access keys pin it", async () => {
  const dataDir = await temporaryDirectory();
  const file = join(dataDir, "certificate.pem");
  const [one, other] = [await makeOwn(), await makeOwn()];
  for (const text of [
    "",
    "nonsense",
    one.cert,
    one.key + other.cert,
    one.key.replace(/[A-Za-z]{8}/, "AAAAAAAA") + one.cert,
  ]) {
    await writeFile(file, text);
    for (const read of [
      () => loadOrCreateCertificate(dataDir, recordingLog().log),
      () => readOwnPin(dataDir),
    ]) {
      const failed = read();
      await expect(failed).rejects.toThrow(CertificateError);
      await expect(failed).rejects.toThrow(file);
      await expect(failed).rejects.toThrow("backup");
    }
    expect(await readFile(file, "utf8")).toBe(text);
  }
});

test("a private key that everybody can read is warned of", async () => {
  const { log, lines } = recordingLog();
  const dataDir = await temporaryDirectory();
  await loadOrCreateCertificate(dataDir, log);
  expect(lines.filter(({ level }) => level === "warn")).toEqual([]);
  await chmod(join(dataDir, "certificate.pem"), 0o644);
  await loadOrCreateCertificate(dataDir, log);
  expect(lines.filter(({ level }) => level === "warn")).toHaveLength(1);
});

test("the config's files are taken as they are, with the chain", async () => {
  const { log, lines } = recordingLog();
  const authority = await makeAuthority();
  const own = await makeCertificate({ authority });
  const chain = `${own.cert}\n${authority.cert}\n`;
  expect(await readConfiguredCertificate(await files(chain, own.key), log)).toEqual({
    cert: chain,
    key: own.key,
  });
  expect(lines).toEqual([]);
});

test("the config's files are refused where they cannot work", async () => {
  const { log } = recordingLog();
  const authority = await makeAuthority();
  const [own, other] = [await makeCertificate({ authority }), await makeCertificate({ authority })];
  const encrypted = createPrivateKey(own.key)
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" })
    .toString();
  const cases: [{ cert: string; key: string }, string][] = [
    [await files(own.cert, other.key), "does not belong to"],
    [await files(`${authority.cert}\n${own.cert}`, own.key), "must come first"],
    [await files("nonsense", own.key), "grpc.tls.cert"],
    [await files(own.cert, "nonsense"), "grpc.tls.key"],
    [await files(own.cert, encrypted), "passphrase"],
    [{ cert: "/nowhere/cert.pem", key: "/nowhere/key.pem" }, "grpc.tls.cert: cannot read /nowhere/cert.pem"],
    [
      { ...(await files(own.cert, own.key)), key: "/nowhere/key.pem" },
      "grpc.tls.key: cannot read /nowhere/key.pem",
    ],
  ];
  for (const [names, message] of cases) {
    const error = await readConfiguredCertificate(names, log).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(CertificateError);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).not.toContain("BEGIN");
  }
});

test("an expired certificate of the config is warned of", async () => {
  const { log, lines } = recordingLog();
  const own = await makeCertificate({ fromDays: -3, toDays: -2 });
  await readConfiguredCertificate(await files(own.cert, own.key), log);
  expect(lines.map(({ level }) => level)).toEqual(["warn"]);
});

async function makeOwn(): Promise<{ cert: string; key: string }> {
  return await loadOrCreateCertificate(await temporaryDirectory(), recordingLog().log);
}

async function files(cert: string, key: string): Promise<{ cert: string; key: string }> {
  const directory = await temporaryDirectory();
  const names = { cert: join(directory, "cert.pem"), key: join(directory, "key.pem") };
  await writeFile(names.cert, cert);
  await writeFile(names.key, key, { mode: 0o600 });
  return names;
}

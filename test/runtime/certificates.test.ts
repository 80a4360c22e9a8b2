import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readCertificates } from "../../runtime/certificates.ts";
import { makeCertificate } from "../support/certificates.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const FIRST = await makeCertificate();
const SECOND = await makeCertificate();
const EXPECTED = "expected a file of PEM certificates (-----BEGIN CERTIFICATE-----)";

async function read(content: string): Promise<ReturnType<typeof readCertificates>> {
  const file = join(await temporaryDirectory(), "ca.pem");
  await writeFile(file, content);
  return readCertificates(file);
}

test("all certificates of a file are read, whatever stands around them", async () => {
  const [first, second] = [FIRST.cert.trim(), SECOND.cert.trim()];
  expect(await read(`# ours\r\n${first}\n\n Subject: M\u00fcller\n${second}\n`)).toEqual({
    pem: `${first}\n${second}\n`,
  });
});

test("a private key beside them goes nowhere", async () => {
  const together = await read(`${FIRST.key}\n${FIRST.cert}\n${SECOND.key}`);
  expect(together).toEqual({ pem: `${FIRST.cert.trim()}\n` });
});

test.each<[string, () => string]>([
  ["nothing", () => ""],
  ["a private key alone", () => FIRST.key],
  ["something else", () => "hello"],
  ["half a certificate", () => FIRST.cert.slice(0, 100)],
  ["a certificate that is none", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
  [
    "a good one and a damaged one",
    () => `${FIRST.cert}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
  ],
  ["more than a mebibyte", () => FIRST.cert + " ".repeat(1 << 20)],
])("a file with %s is refused", async (_, content) => {
  expect(await read(content())).toBe(EXPECTED);
});

test("a file that is not there is said so", async () => {
  const file = join(await temporaryDirectory(), "none.pem");
  expect(readCertificates(file)).toBe("expected a file that can be read (no such file or directory)");
});

import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { makeAuthority, makeCertificate } from "../support/certificates.ts";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { OutsideProgram } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

const NAME = "service.test";

const skipped = skippedWithout("openssl");

describe.skipIf(skipped !== "")(`openssl through a TCP tunnel${skipped}`, () => {
  test.each(["-tls1_2", "-tls1_3"])(
    "s_client %s speaks to the local service itself: its certificate, its protocol, its words",
    async (version) => {
      const directory = await temporaryDirectory();
      const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) => join(directory, name)) as [
        string,
        string,
        string,
      ];
      const authority = await makeAuthority();
      const identity = await makeCertificate({ authority, names: [NAME] });
      await Promise.all([
        writeFile(ca, authority.cert),
        writeFile(cert, identity.cert),
        writeFile(key, identity.key),
      ]);
      const [host, port] = ["127.0.0.1", await freePort()];
      // It says each line backwards.
      await using server = new OutsideProgram(
        `openssl s_server -accept ${host}:${port} -cert ${cert} -key ${key} -alpn culvert-test -rev`.split(
          " ",
        ),
      );
      await server.printed("ACCEPT");
      await using tunnel = await tcpTunnel({ host, port });
      await using client = new OutsideProgram([
        ...`openssl s_client -connect ${tunnel.host}:${tunnel.port} -servername ${NAME} ${version}`.split(
          " ",
        ),
        ...`-CAfile ${ca} -verify_return_error -verify_hostname ${NAME} -alpn culvert-test`.split(" "),
      ]);
      client.stdin.write("end to end\n");
      await client.printed("dne ot dne");
      client.stdin.end("CLOSE\n");
      expect(await client.exit()).toBe(0);
      expect(client.stdout).toContain("ALPN protocol: culvert-test");
      const shown = /-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/.exec(client.stdout)![0];
      expect(new X509Certificate(shown).fingerprint256).toBe(
        new X509Certificate(identity.cert).fingerprint256,
      );
    },
  );
});

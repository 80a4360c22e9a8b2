import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";
import { startTlsService } from "./tls-service.ts";

const NAME = "service.test";

const skipped = skippedWithout("openssl");

describe.skipIf(skipped !== "")(`openssl through a TCP tunnel${skipped}`, () => {
  test.each(["-tls1_2", "-tls1_3"])(
    "s_client %s speaks to the local service itself: its certificate, its protocol, its words",
    async (version) => {
      await using service = await startTlsService(NAME);
      await using tunnel = await tcpTunnel(service);
      await using client = service.visit(tunnel, version);
      client.stdin.write("end to end\n");
      await client.printed("dne ot dne");
      client.stdin.end("CLOSE\n");
      expect(await client.exit()).toBe(0);
      expect(client.stdout).toContain("ALPN protocol: culvert-test");
      const shown = /-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/.exec(client.stdout)![0];
      expect(new X509Certificate(shown).fingerprint256).toBe(
        new X509Certificate(service.identity.cert).fingerprint256,
      );
    },
  );
});

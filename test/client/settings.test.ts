import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { clientSettings, type ClientFlags } from "../../client/settings.ts";
import { encodeAccessKey } from "../../link/access-key.ts";
import { parseTarget, type Target } from "../../link/target.ts";
import { CommandError } from "../../runtime/command-error.ts";
import { makeCertificate } from "../support/certificates.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** What `tunnel-client http TARGET` with these options asks for. */
function tunnelOf(target: string, flags: Partial<ClientFlags> = {}) {
  const key = encodeAccessKey({
    keyId: randomBytes(8),
    secret: randomBytes(16),
    host: "tunnel.example.com",
    port: 7000,
  });
  const { settings } = clientSettings({ key, target: parseTarget(target) as Target, ...flags }, {});
  expect(settings.tunnels).toHaveLength(1);
  return settings.tunnels[0];
}

test("a tunnel's target is of any kind, with what goes for it", async () => {
  const { cert } = await makeCertificate();
  const file = join(await temporaryDirectory(), "ca.pem");
  await writeFile(file, cert);
  expect(tunnelOf("3000")).toEqual({ kind: "HTTP", target: { host: "127.0.0.1", port: 3000 } });
  expect(
    tunnelOf("https://10.0.0.5", { targetCa: file, targetServerName: "App.test", name: "app" }),
  ).toMatchObject({
    name: "app",
    target: { host: "10.0.0.5", port: 443, tls: true },
    targetTls: { insecure: false, ca: expect.stringContaining("BEGIN CERTIFICATE"), serverName: "app.test" },
  });
  expect(tunnelOf("https://10.0.0.5", { insecureTarget: true, hostHeader: "target" })).toMatchObject({
    targetTls: { insecure: true, ca: "", serverName: "" },
    hostHeader: "target",
  });
  expect(tunnelOf("unix:/run/app.sock", { timeoutMs: "5000", hostHeader: "App.test:81" })).toMatchObject({
    target: { path: "/run/app.sock" },
    timeoutMs: 5_000,
    hostHeader: "app.test:81",
  });
});

test.each<[string, Partial<ClientFlags>, string]>([
  ["3000", { insecureTarget: true }, "--insecure-target: means nothing for this target"],
  ["unix:/run/app.sock", { targetCa: "ca.pem" }, "--target-ca: means nothing for this target"],
  ["https://a", { targetCa: "/none/ca.pem" }, "--target-ca: expected a file that can be read"],
  ["https://a", { targetServerName: "a b" }, "--target-server-name: expected a name"],
  [
    "https://a",
    { insecureTarget: true, targetServerName: "b" },
    "--target-server-name: means nothing for an insecure target",
  ],
  ["3000", { hostHeader: "http://a" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "a:b" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "[::1" }, "--host-header: expected a name"],
  ["3000", { hostHeader: "a\r\nX: y" }, "--host-header: expected a name"],
  ["3000", { timeoutMs: "0" }, "--timeout-ms: expected milliseconds from 1 to 86400000"],
  ["3000", { timeoutMs: "1e3" }, "--timeout-ms: expected milliseconds"],
  ["3000", { timeoutMs: "86400001" }, "--timeout-ms: expected milliseconds"],
  ["3000", { subdomain: "a", hostname: "b.example.com" }, "pass --subdomain or --hostname, not both"],
])("for %s what cannot be is refused: %j", (target, flags, message) => {
  expect(() => tunnelOf(target, flags)).toThrow(CommandError);
  expect(() => tunnelOf(target, flags)).toThrow(message);
});

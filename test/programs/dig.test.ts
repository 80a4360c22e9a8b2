import { describe, expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { startNameServer, TEXTS } from "./name-server.ts";
import { outputOf } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

const skipped = skippedWithout("dig", "dnsmasq");

describe.skipIf(skipped !== "")(`dig through a TCP tunnel${skipped}`, () => {
  test("+tcp gets addresses, several questions on one connection, and answers longer than a datagram", async () => {
    await using names = await startNameServer();
    await using tunnel = await tcpTunnel(names);
    const dig = ["dig", `@${tunnel.host}`, "-p", String(tunnel.port), "+tcp", "+short", "+tries=1"];
    expect(await outputOf([...dig, "+keepopen", "app.test", "A", "+keepopen", "www.app.test", "AAAA"])).toBe(
      "192.0.2.7\n2001:db8::7\n",
    );
    const texts = await outputOf([...dig, "long.test", "TXT"]);
    expect(new Set(texts.trim().split("\n"))).toEqual(new Set(TEXTS.map((text) => `"${text}"`)));
  });
});

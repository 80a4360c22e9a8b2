import { userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

/** More than fits a datagram. */
const TEXTS = Array.from({ length: 100 }, (_, i) => `text ${i} ${"x".repeat(100)}`);

interface NameServer extends AsyncDisposable {
  host: string;
  port: number;
}

async function startNameServer(): Promise<NameServer> {
  const [host, port] = ["127.0.0.1", await freePort()];
  const server = new OutsideProgram([
    "dnsmasq",
    ..."--keep-in-foreground --conf-file=/dev/null --pid-file= --log-facility=- --no-resolv --no-hosts".split(
      " ",
    ),
    ...`--user=${userInfo().username} --bind-interfaces --listen-address=${host} --port=${port}`.split(" "),
    ..."--address=/app.test/192.0.2.7 --address=/app.test/2001:db8::7".split(" "),
    ...TEXTS.map((text) => `--txt-record=long.test,${text}`),
  ]);
  await server.printed("started");
  return { host, port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

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

import { describe, expect, test } from "vitest";
import { ProxyHeaderReader } from "../../server/edge/tcp/proxy-header.ts";
import { RawBackend } from "../support/raw-backend.ts";
import type { RawVisitor } from "../support/raw-visitor.ts";
import { startTcpTunnel, type TcpTunnel, type TcpTunnelOptions } from "../support/tcp-tunnel.ts";

const TRUSTING: TcpTunnelOptions = { config: ({ tcp }) => void (tcp.trustedProxies = ["127.0.0.0/8"]) };
const LINE = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";

/** The same in version 2: its signature, PROXY over TCP and IPv4, 12 bytes of addresses and ports. */
const BLOCK = Buffer.from(
  "0d0a0d0a000d0a515549540a 21 11 000c cb007107 c6336401 1267 01bb".replaceAll(" ", ""),
  "hex",
);

/** What the local service has heard of a visitor who says this and leaves. */
async function heard(tunnel: TcpTunnel, service: RawBackend, ...said: (string | Buffer)[]): Promise<Buffer> {
  const visitor = await tunnel.visit();
  visitor.send(...said).end();
  const connection = await service.connection(0);
  await connection.untilEnded();
  connection.end();
  await visitor.ended;
  return connection.received;
}

function lineOf(visitor: RawVisitor, tunnel: TcpTunnel): string {
  return `PROXY TCP4 127.0.0.1 127.0.0.1 ${visitor.socket.localPort} ${tunnel.port}\r\n`;
}

test("the local service is told who visits by a line of version 1, before anything the visitor says", async () => {
  await using service = await RawBackend.start();
  await using tunnel = await startTcpTunnel(service.target, { proxyProtocol: 1 });
  const visitor = await tunnel.visit();
  const connection = await service.connection(0);
  expect(await connection.takeUntil("\r\n")).toBe(lineOf(visitor, tunnel));
  visitor.send("hello");
  expect((await connection.take(5)).toString()).toBe("hello");
  visitor.close();
});

test("or by a block of version 2", async () => {
  await using service = await RawBackend.start();
  await using tunnel = await startTcpTunnel(service.target, { proxyProtocol: 2 });
  const visitor = await tunnel.visit();
  const connection = await service.connection(0);
  const reading = new ProxyHeaderReader().push(await connection.take(BLOCK.length));
  expect(reading).toMatchObject({
    endpoints: {
      source: { address: "127.0.0.1", port: visitor.socket.localPort },
      destination: { address: "127.0.0.1", port: tunnel.port },
    },
  });
  visitor.close();
});

describe("a header from someone who is not trusted", () => {
  test("is bytes like all others", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target);
    expect((await heard(tunnel, service, LINE, "hello")).toString()).toBe(`${LINE}hello`);
    expect(await tunnel.visited()).toMatchObject({ visitor: expect.stringMatching(/^127\.0\.0\.1:/) });
  });

  test("stands behind the one that says who they are", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, { proxyProtocol: 1 });
    const visitor = await tunnel.visit();
    visitor.send(LINE);
    const connection = await service.connection(0);
    const own = lineOf(visitor, tunnel);
    expect((await connection.take(own.length + LINE.length)).toString()).toBe(own + LINE);
    visitor.close();
  });
});

describe("a header from a proxy that is trusted", () => {
  test.each([
    ["version 1", LINE],
    ["version 2", BLOCK],
  ])(
    "of %s is believed, in the log too, and the local service gets one header that says the same",
    async (_, header) => {
      await using service = await RawBackend.start();
      await using tunnel = await startTcpTunnel(service.target, { ...TRUSTING, proxyProtocol: 1 });
      expect((await heard(tunnel, service, header, "hello")).toString()).toBe(`${LINE}hello`);
      expect(await tunnel.visited()).toMatchObject({ visitor: "203.0.113.7:4711", bytesOut: 0 });
    },
  );

  test("is taken off for a local service that is told nothing", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, TRUSTING);
    expect((await heard(tunnel, service, LINE, "hello")).toString()).toBe("hello");
  });

  test("may come in pieces", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, TRUSTING);
    const visitor = await tunnel.visit();
    for (const byte of LINE) await new Promise((resolve) => visitor.socket.write(byte, resolve));
    visitor.send("hello");
    expect((await (await service.connection(0)).take(5)).toString()).toBe("hello");
    visitor.close();
  });

  test.each([
    ["that is none", "GET / HTTP/1.1\r\n\r\n"],
    ["with an address that is none", "PROXY TCP4 203.0.113.999 198.51.100.1 4711 443\r\n"],
    ["with a family that is not that of its addresses", "PROXY TCP6 203.0.113.7 198.51.100.1 4711 443\r\n"],
    ["with a port that is none", "PROXY TCP4 203.0.113.7 198.51.100.1 4711 65536\r\n"],
    [
      "of an unknown version",
      Buffer.concat([BLOCK.subarray(0, 12), Buffer.from([0x31]), BLOCK.subarray(13)]),
    ],
    ["that does not end", `PROXY TCP4 ${"1".repeat(200)}`],
  ])("%s cuts the connection, and the local service never hears of it", async (_, header) => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, TRUSTING);
    const visitor = (await tunnel.visit()).send(header);
    expect(await visitor.ended).toBe("rst");
    expect(await tunnel.visited()).toMatchObject({ failure: "BAD_PROXY_HEADER" });
    expect(service.connections).toHaveLength(0);
  });

  test("that ends within itself cuts the connection", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, TRUSTING);
    const visitor = (await tunnel.visit()).send("PROXY TC").end();
    expect(await visitor.ended).toBe("rst");
    expect(await tunnel.visited()).toMatchObject({ failure: "CONNECTION_LOST" });
  });

  test("that does not come in time cuts the connection", async () => {
    await using service = await RawBackend.start();
    await using tunnel = await startTcpTunnel(service.target, {
      config(config) {
        TRUSTING.config!(config);
        config.limits.headTimeoutMs = 50;
      },
    });
    expect(await (await tunnel.visit()).ended).toBe("rst");
    expect(await tunnel.visited()).toMatchObject({ failure: "TIMEOUT" });
  });
});

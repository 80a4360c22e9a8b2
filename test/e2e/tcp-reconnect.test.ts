import { expect, test } from "vitest";
import { RawBackend } from "../support/raw-backend.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { publicPort, startTcpTunnel, type TcpTunnel } from "../support/tcp-tunnel.ts";
import { startTestClient } from "../support/tunnel-ends.ts";

function holding(ms: number) {
  return { config: ({ http }: { http: { holdMs: number } }) => void (http.holdMs = ms) };
}

/** The client is lost as in a crash. */
async function lose(tunnel: TcpTunnel): Promise<void> {
  tunnel.client.cut();
  await tunnel.server.log.logged("client offline");
}

test("a visitor who comes while the client is away is served once it is back, at the same port, with all that they said", async () => {
  await using service = await RawBackend.start();
  await using tunnel = await startTcpTunnel(service.target, holding(20_000));
  await lose(tunnel);
  const visitor = await tunnel.visit();
  visitor.send("said ", "while ").send("away").end();
  await using back = startTestClient(tunnel.token);
  expect(await publicPort(back)).toBe(tunnel.port);
  const connection = await service.connection(0);
  await connection.untilEnded();
  expect(connection.text).toBe("said while away");
  await connection.send("heard");
  connection.end();
  expect(await visitor.rest()).toEqual({ end: "fin", text: "heard" });
});

test("a visitor whose client does not come back in time is reset, and the port is closed", async () => {
  await using service = await RawBackend.start();
  await using tunnel = await startTcpTunnel(service.target, holding(1_000));
  await lose(tunnel);
  const visitor = await tunnel.visit();
  visitor.send("hello?");
  expect(await visitor.ended).toBe("rst");
  expect(await tunnel.visited()).toMatchObject({ failure: "OFFLINE", bytesOut: 0 });
  await expect(untilClosed(tunnel.port)).resolves.toBe("ECONNREFUSED");
});

test("a port that has been closed is opened again for its client", async () => {
  await using service = await RawBackend.start((connection) => connection.send("hello"));
  await using tunnel = await startTcpTunnel(service.target, holding(1));
  await lose(tunnel);
  await untilClosed(tunnel.port);
  await using back = startTestClient(tunnel.token);
  expect(await publicPort(back)).toBe(tunnel.port);
  expect((await (await tunnel.visit()).bytes(5)).toString()).toBe("hello");
});

test("a connection whose client is lost is reset at both ends, and never ends as if it were whole", async () => {
  await using service = await RawBackend.start((connection) => connection.send("half of"));
  await using tunnel = await startTcpTunnel(service.target, holding(20_000));
  const visitor = await tunnel.visit();
  await visitor.bytes(7);
  await lose(tunnel);
  expect(await visitor.ended).toBe("rst");
  expect(await (await service.connection(0)).untilClosed()).toBe("reset");
});

/** Connects until it is refused; gives why. */
async function untilClosed(port: number): Promise<string | undefined> {
  for (;;) {
    try {
      (await RawVisitor.connect(port)).close();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Taken and turned away before we knew.
      if (code !== "ECONNRESET") return code;
    }
  }
}

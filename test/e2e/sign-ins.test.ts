import { expect, test } from "vitest";
import { RawBackend } from "../support/raw-backend.ts";
import { fieldValue, RawVisitor } from "../support/raw-visitor.ts";
import { startWorld } from "../support/world.ts";

const CREDENTIALS = "Authorization: Negotiate YIIG\r\n";

/** A service that answers with the number of the connection that a request came by. */
function numberedService(): Promise<RawBackend> {
  return RawBackend.start(async (connection, index) => {
    for (;;) {
      const head = await connection.head();
      if (head.includes("Upgrade: "))
        await connection.send(
          `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Number: ${index}\r\n\r\n`,
        );
      else await connection.send(`HTTP/1.1 200 OK\r\nX-Number: ${index}\r\nContent-Length: 0\r\n\r\n`);
    }
  });
}

async function numberFor(visitor: RawVisitor, fields = ""): Promise<string | undefined> {
  visitor.send(`GET / HTTP/1.1\r\nHost: app.localhost\r\n${fields}\r\n`);
  return fieldValue((await visitor.head()).fields, "x-number");
}

test("a connection that a visitor signs in is its own, and ends with the visitor's", async () => {
  await using service = await numberedService();
  await using world = await startWorld({ service: service.target });
  const [alice, bob] = [await RawVisitor.connect(world.httpPort), await RawVisitor.connect(world.httpPort)];
  expect(await numberFor(alice, CREDENTIALS)).toBe("0");
  expect(await numberFor(bob)).toBe("1");
  expect(await numberFor(alice)).toBe("0");
  expect(await numberFor(bob, CREDENTIALS)).toBe("2");
  alice.close();
  await service.connections[0]!.untilClosed();
  expect(await numberFor(bob)).toBe("2");
  bob.close();
  await service.connections[2]!.untilClosed();
});

test("a visitor that has signed in may switch the protocol on its connection", async () => {
  await using service = await numberedService();
  await using world = await startWorld({ service: service.target });
  const alice = await RawVisitor.connect(world.httpPort);
  expect(await numberFor(alice, CREDENTIALS)).toBe("0");
  expect(await numberFor(alice, "Connection: Upgrade\r\nUpgrade: echo\r\n")).toBe("0");
  alice.close();
  await service.connections[0]!.untilClosed();
});

test("behind a trusted proxy, whose connection many visitors share, nobody gets a connection again", async () => {
  await using service = await numberedService();
  await using world = await startWorld({
    service: service.target,
    config: (config) => (config.http.trustedProxies = ["127.0.0.1"]),
  });
  const proxy = await RawVisitor.connect(world.httpPort);
  for (const number of ["0", "1", "2"]) {
    expect(await numberFor(proxy, CREDENTIALS)).toBe(number);
    await service.connections[Number(number)]!.untilClosed();
  }
  proxy.close();
});

test("a client that comes back begins anew: a visitor's number may be another's by then", async () => {
  await using service = await numberedService();
  await using world = await startWorld({ service: service.target, relayed: true });
  const alice = await RawVisitor.connect(world.httpPort);
  expect(await numberFor(alice, CREDENTIALS)).toBe("0");
  world.relay!.cut();
  await world.logged("client", "online", 2);
  await service.connections[0]!.untilClosed();
  expect(await numberFor(alice)).toBe("1");
  alice.close();
});

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { expect, test } from "vitest";
import { startWorld } from "../support/world.ts";

test("a datagram goes to the local service and its answer back", async () => {
  const service = createSocket("udp4");
  service.on("message", (datagram, { port, address }) =>
    service.send(`heard ${String(datagram)}`, port, address),
  );
  service.bind(0, "127.0.0.1");
  await once(service, "listening");
  const target = { host: "127.0.0.1", port: service.address().port };
  await using world = await startWorld({ service: target, tunnels: [{ kind: "UDP", target }] });
  const { url } = await world.logged("client", "serving");
  const visitor: Socket = createSocket("udp4");
  visitor.send("hello", Number(new URL(url as string).port), "127.0.0.1");
  const [answer] = await once(visitor, "message");
  expect(String(answer)).toBe("heard hello");
  visitor.close();
  service.close();
});

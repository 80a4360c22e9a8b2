import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { startWorld } from "../support/world.ts";

/** A local service of bytes, on a free port. */
async function startService(serve: (socket: Socket) => void): Promise<Server & { port: number }> {
  const server = createServer({ allowHalfOpen: true }, serve);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return Object.assign(server, { port: (server.address() as AddressInfo).port });
}

test("bytes go both ways, and half-closes with them", async () => {
  const service = await startService((socket) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("end", () => socket.end(`heard ${Buffer.concat(chunks).toString()}`));
  });
  await using world = await startWorld({
    service: { host: "127.0.0.1", port: service.port },
    tunnels: [{ kind: "TCP", target: { host: "127.0.0.1", port: service.port } }],
  });
  const { url } = await world.logged("client", "serving");
  const socket = connect({
    port: Number(new URL(url as string).port),
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  socket.end("hello");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  await once(socket, "end");
  expect(Buffer.concat(chunks).toString()).toBe("heard hello");
  expect(await world.logged("server", "connection")).toMatchObject({ kind: "tcp", bytesIn: 5, bytesOut: 11 });
  service.close();
});

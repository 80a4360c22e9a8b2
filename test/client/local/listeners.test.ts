import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { isListening, readListeners } from "../../../client/local/listeners.ts";

test.each<[string, string, string[]]>([
  ["127.0.0.1", "127.0.0.1", ["127.0.0.2", "::1"]],
  ["127.0.0.2", "127.0.0.2", ["127.0.0.1"]],
  ["0.0.0.0", "127.0.0.1", ["::1"]],
  ["::1", "::1", ["127.0.0.1"]],
])("a service at %s is seen at %s, and not at %j", async (host, seen, unseen) => {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const listeners = await readListeners();
  expect(isListening(listeners, seen, port)).toBe(process.platform === "linux");
  for (const address of unseen) expect(isListening(listeners, address, port)).toBe(false);
  expect(isListening(listeners, seen, port === 1 ? 2 : 1)).toBe(false);
  server.close();
  await once(server, "close");
  expect(isListening(await readListeners(), seen, port)).toBe(false);
});

test("a connection's own port is no service", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  expect(isListening(await readListeners(), "127.0.0.1", socket.localPort!)).toBe(false);
  socket.destroy();
  server.close();
});

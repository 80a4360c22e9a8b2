import { once } from "node:events";
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from "node:net";
import { connect } from "node:tls";

/**
 * A way to a server's gRPC port for clients that are played by hand and speak no TLS: it speaks TLS for them, whatever
 * certificate the server shows.
 *
 * @param from the address of this machine that it comes from
 */
export async function plainWayTo(
  address: { host: string; port: number },
  from = "127.0.0.1",
): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const socket = connectTcp({ ...address, localAddress: from });
    const far = connect({ socket, ALPNProtocols: ["h2"], rejectUnauthorized: false });
    for (const each of [near, socket, far]) {
      sockets.add(each);
      each.on("error", () => {});
      each.on("close", () => {
        near.destroy();
        far.destroy();
        sockets.delete(each);
      });
    }
    near.pipe(far).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

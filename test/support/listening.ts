import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A web server of node:http on a free port of 127.0.0.1, for a test that needs more of it than its answers. */
export interface ListeningService extends AsyncDisposable {
  server: Server;
  host: string;
  port: number;
}

export async function listeningService(listener: RequestListener): Promise<ListeningService> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    server,
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

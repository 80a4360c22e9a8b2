import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A local web service on a free port of 127.0.0.1, or of the address given. */
export interface LocalWeb extends AsyncDisposable {
  port: number;
  server: Server;
  /** TCP connections that it has ever taken. */
  connections(): number;
}

export async function startLocalWeb(answer: RequestListener, host = "127.0.0.1"): Promise<LocalWeb> {
  const server = createServer(answer);
  let connections = 0;
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    server,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Answers every request with this text. */
export function saying(text: string): RequestListener {
  return (_request, response) => void response.end(text);
}

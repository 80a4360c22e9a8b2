import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { bytesOf } from "./bytes.ts";

export const TICK_MS = 1_000;

export interface LocalService extends AsyncDisposable {
  readonly port: number;
}

/** What the clients replay to: every answer follows from its request, so that a visitor knows a wrong one. */
export async function startLocalService(): Promise<LocalService> {
  const server = createServer(serve);
  // Black holes last longer than Node's five seconds, and a connection that is closed early would look like a fault.
  server.keepAliveTimeout = 120_000;
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket) => {
    // The close that follows an error says all there is to know.
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of webSockets.clients) socket.terminate();
      webSockets.close();
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  // Visitors leave, and faults take them away; there is nobody left to tell then.
  response.on("error", () => {});
  const [, deed, argument] = request.url!.split("/");
  switch (deed) {
    case "page":
      response.end(bytesOf(Number(argument)));
      break;
    case "digest":
      digest(request, response);
      break;
    case "events":
      tick(response, Number(argument));
      break;
    case "endless":
      sendEndlessly(response);
      break;
    default:
      response.writeHead(404).end();
  }
}

function digest(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash("sha256");
  request.on("error", () => {});
  request.on("data", (chunk: Buffer) => hash.update(chunk));
  request.on("end", () => response.end(hash.digest("hex")));
}

/** @param count of events; 0 for events without end */
function tick(response: ServerResponse, count: number): void {
  response.setHeader("Content-Type", "text/event-stream");
  let sent = 0;
  const send = (): void => {
    response.write(`data: ${sent++}\n\n`);
    if (sent === count) response.end();
  };
  const timer = setInterval(send, TICK_MS);
  response.on("close", () => clearInterval(timer));
  send();
}

function sendEndlessly(response: ServerResponse): void {
  const block = bytesOf(64 * 1024);
  const send = (): void => {
    while (!response.destroyed && response.write(block));
  };
  response.on("drain", send);
  send();
}

import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { onTestFinished } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import type { Tunnel } from "./tunnel.ts";

/** The local service's end of WebSockets, for one case: `ws`, which knows one subprotocol and compresses when asked. */
export class WebSockets {
  readonly #tunnel: Tunnel;
  readonly #server = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => (protocols.has("v2.chat") ? "v2.chat" : false),
    perMessageDeflate: { threshold: 0 },
  });
  /** What becomes of those that come. */
  onSocket: (socket: WebSocket, request: IncomingMessage) => void = () => {};

  constructor(tunnel: Tunnel) {
    this.#tunnel = tunnel;
    const server = createServer((_, response) => response.end());
    server.on("upgrade", (request, socket, head) => {
      this.#server.handleUpgrade(request, socket, head, (accepted) => this.onSocket(accepted, request));
    });
    tunnel.backend.handOver(server);
    onTestFinished(() => {
      for (const socket of this.#server.clients) socket.terminate();
    });
  }

  visit(protocols?: string[], options?: VisitOptions): WebSocket {
    return visitOverWebSocket(this.#tunnel, protocols, options);
  }

  /** Both ends of one open WebSocket. */
  async pair(protocols?: string[], options?: VisitOptions): Promise<{ near: WebSocket; far: WebSocket }> {
    const accepted = new Promise<WebSocket>((resolve) => {
      this.onSocket = resolve;
    });
    const near = this.visit(protocols, options);
    await once(near, "open");
    return { near, far: await accepted };
  }
}

interface VisitOptions {
  perMessageDeflate?: boolean;
}

/** A visitor of `ws`, which compresses if it is told to; gone at the end of the case. */
export function visitOverWebSocket(
  tunnel: Tunnel,
  protocols: string[] = [],
  { perMessageDeflate = false }: VisitOptions = {},
): WebSocket {
  const { host, port } = tunnel.address;
  const near = new WebSocket(`ws://${host}:${port}/`, protocols, {
    perMessageDeflate,
    headers: { Host: "app.localhost", ...tunnel.mark() },
  });
  onTestFinished(() => {
    // One that was refused makes an error of that.
    near.on("error", () => {});
    near.terminate();
  });
  return near;
}

export function echo(socket: WebSocket): void {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
}

export async function message(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
  return { data, isBinary };
}

export async function closing(socket: WebSocket): Promise<{ code: number; reason: string }> {
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  return { code, reason: reason.toString() };
}

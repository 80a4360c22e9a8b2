import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { HttpProxy } from "../../client/connection/http-proxy.ts";

/** An HTTP proxy of loopback that a test plays itself. */
export interface FakeProxy extends AsyncDisposable {
  /** As the client is told of it. */
  proxy: HttpProxy;
  /** What it was asked, each head as it came. */
  requests: string[];
  /** The connection that asked the `count`th time, past or future; paused behind its head. */
  asked(count: number): Promise<Socket>;
}

/**
 * @param answer is called for each head, with its number from 1 on
 */
export async function startFakeProxy(
  answer: (socket: Socket, count: number) => void,
  host = "127.0.0.1",
): Promise<FakeProxy> {
  const requests: string[] = [];
  const sockets: Socket[] = [];
  const open = new Set<Socket>();
  const waiting = new Set<() => void>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => {}).on("close", () => open.delete(socket));
    let head = "";
    const onData = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      if (!head.endsWith("\r\n\r\n")) return;
      socket.off("data", onData).pause();
      sockets.push(socket);
      answer(socket, requests.push(head));
      for (const look of waiting) look();
    };
    socket.on("data", onData);
  });
  server.listen(0, host);
  await once(server, "listening");
  return {
    proxy: { host, port: (server.address() as AddressInfo).port, setBy: "HTTPS_PROXY" },
    requests,
    asked: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          const socket = sockets[count - 1];
          if (!socket) return;
          waiting.delete(look);
          resolve(socket);
        };
        waiting.add(look);
        look();
      }),
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, "close");
    },
  };
}

const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";

/** Connects to a port of this machine, whatever was asked for, and passes bytes on. */
export function passOn(socket: Socket, port: number, answer = ESTABLISHED): void {
  const onward = connect(port, "127.0.0.1", () => {
    socket.write(answer);
    join(socket, onward);
  });
}

/** The same, but the first words of the server come in one piece with the proxy's answer. */
export function passOnTogether(socket: Socket, port: number): void {
  const onward = connect(port, "127.0.0.1");
  onward.once("data", (words: Buffer) => {
    socket.write(Buffer.concat([Buffer.from(ESTABLISHED), words]));
    join(socket, onward);
  });
}

function join(one: Socket, other: Socket): void {
  other.on("error", () => one.destroy());
  one.on("close", () => other.destroy());
  one.pipe(other).pipe(one);
}

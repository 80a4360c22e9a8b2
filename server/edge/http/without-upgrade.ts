import type { IncomingMessage, Server } from "node:http";
import type { VisitorConnection } from "./visitor-connection.ts";

/**
 * A request that asks for an upgrade, and gets an ordinary answer. Node has let go of its connection: the request goes
 * back to a parser as one that asks for none, and whatever comes behind it is read as ever.
 *
 * @param early what has been read behind the head
 */
export function serveWithoutUpgrade(
  server: Server,
  connection: VisitorConnection,
  request: IncomingMessage,
  early: Buffer,
): void {
  const { socket } = connection;
  connection.take({
    begin() {
      connection.abandon();
      socket.unshift(Buffer.concat([headWithoutUpgrade(request), early]));
      server.emit("connection", socket);
    },
    received: true,
    bodyBytes: 0,
    answered: true,
    writable() {},
    broken() {},
    visitorLeft() {},
  });
}

/** The head as it came, blank line and all, less its Upgrade fields. */
function headWithoutUpgrade(request: IncomingMessage): Buffer {
  const { method, url, httpVersion, rawHeaders } = request;
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() !== "upgrade") head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  }
  return Buffer.from(`${head}\r\n`, "latin1");
}

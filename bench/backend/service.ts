import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { WebSocketServer } from "ws";

let held = 0;

const server = createServer(serve);
// Polls wait for as long as the bench likes.
server.requestTimeout = 0;
server.keepAliveTimeout = 3_600_000;
const webSockets = new WebSocketServer({ server, perMessageDeflate: false });
webSockets.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen({ path: process.argv[2], backlog: 16_384 }, () => console.log("listening"));

function serve(request: IncomingMessage, response: ServerResponse): void {
  switch (request.url) {
    case "/sink":
      sink(request, response);
      break;
    case "/hold":
      held++;
      response.on("close", () => held--);
      break;
    case "/held":
      response.end(String(held));
      break;
    default:
      response.writeHead(404).end();
  }
}

function sink(request: IncomingMessage, response: ServerResponse): void {
  let bytes = 0;
  request.on("error", () => {});
  request.on("data", (chunk: Buffer) => (bytes += chunk.length));
  request.on("end", () => response.end(String(bytes)));
}

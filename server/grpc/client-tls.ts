import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";

/**
 * Those of TLS 1.3, and of TLS 1.2 what RFC 9113 section 9.2.2 and appendix A leave: a fresh key for each connection, and encryption that
 * authenticates. AES-128 comes first: it is faster, and nobody breaks it sooner.
 */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/**
 * The server's end of TLS on the gRPC port, for HTTP/2 alone. It is ours because grpc-js lets a server choose its cipher suites only for
 * the whole process.
 *
 * @param certificate in PEM
 * @param onSecure gets each connection that has finished its handshake
 * @returns takes a connection that begins with one; ends those that speak another protocol
 */
export function clientTls(
  { cert, key }: { cert: string; key: string },
  onSecure: (socket: TLSSocket) => void,
): (socket: Socket) => void {
  const server = createServer({
    cert,
    key,
    ciphers: CIPHERS,
    minVersion: "TLSv1.2",
    // Whoever offers others alone gets the alert no_application_protocol.
    ALPNProtocols: ["h2"],
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    if (socket.alpnProtocol === "h2") onSecure(socket);
    else socket.destroy();
  });
  return (socket) => {
    server.emit("connection", socket);
  };
}

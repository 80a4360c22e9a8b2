import type { Socket } from "node:net";

/**
 * Ends a socket so that its other end sees a reset and not an end.
 *
 * A shutdown that is under way is waited for, a moment: libuv refuses to reset such a socket (EINVAL of uv_tcp_close_reset),
 * and Node would then neither close it nor say "close", ever.
 */
export function resetSocket(socket: Socket): void {
  const { connecting, destroyed, writableEnded, writableFinished, writableLength } = socket;
  const isShuttingDown = writableEnded && !writableFinished && writableLength === 0;
  // Node would wait for the connection first, of which there may never be one.
  if (connecting) socket.destroy();
  else if (isShuttingDown && !destroyed) socket.once("finish", () => resetNow(socket));
  else resetNow(socket);
}

function resetNow(socket: Socket): void {
  try {
    socket.resetAndDestroy();
  } catch {
    // Only TCP has resets; what else can be joined (TLS) notices an end without its closing alert.
    socket.destroy();
  }
}

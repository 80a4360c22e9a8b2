import type { Server } from "@grpc/grpc-js";
import type { ServerHttp2Session, Settings } from "node:http2";

/** HTTP/2 windows that do not slow a link down over distance: 16 MiB is 160 MB/s at 100 ms round trip. */
export const WINDOW_BYTES = 16 * 1024 * 1024;

/**
 * What grpc-js 1.14.7 keeps to itself: its server ignores `grpc-node.flow_control_window`, and the responses of
 * every local service flow toward the server. A guard test says when a release takes this away.
 */
interface PrivateServer {
  commonServerOptions?: { settings?: Settings };
  http2Servers?: Map<
    { on(event: "session", listener: (session: ServerHttp2Session) => void): void },
    unknown
  >;
}

/** To be called before the server is bound: the window of each call. */
export function widenStreamWindows(server: Server): void {
  const options = (server as unknown as PrivateServer).commonServerOptions;
  if (options) options.settings = { ...options.settings, initialWindowSize: WINDOW_BYTES };
}

/** To be called once it is bound: tells of each HTTP/2 session, its own window widened. */
export function onHttp2Session(server: Server, listener: (session: ServerHttp2Session) => void): void {
  for (const http2Server of (server as unknown as PrivateServer).http2Servers?.keys() ?? []) {
    http2Server.on("session", (session) => {
      session.setLocalWindowSize(WINDOW_BYTES);
      listener(session);
    });
  }
}

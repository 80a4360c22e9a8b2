import type { Open } from "../../link/messages.ts";
import type { LinkStream, StreamHandler } from "../../link/stream.ts";

/** What an edge says when it opens a stream; the session adds the tunnel and the stream's id. */
export type RouteRequest = Pick<Open, "requestId" | "visitor" | "head" | "end">;

/** Where the visitors of a public name go. */
export interface Route {
  /** Names for logs. */
  tunnel: string;
  key: string;
  /** Opens a stream to the tunnel's client; absent while the client is away. May throw when it has just left. */
  open?: ((request: RouteRequest, handler: StreamHandler) => LinkStream) | undefined;
}

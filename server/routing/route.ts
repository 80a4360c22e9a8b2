import type { Open } from "../../link/messages.ts";
import type { LinkStream, StreamHandler } from "../../link/stream.ts";

/** What an edge says when it opens a stream; the session adds the tunnel and the stream's id. */
export type RouteRequest = Pick<Open, "requestId" | "visitor" | "head" | "end" | "visitorConnection">;

/** The versions of HAProxy's PROXY protocol. */
export type ProxyProtocol = 1 | 2;

/** What the visitors of one TCP, TLS or UDP tunnel may use; what is left out has no limit of the tunnel's own. */
export interface TunnelLimits {
  /** Visitors at a time. */
  connections?: number | undefined;
  /** Of one address. */
  connectionsPerVisitor?: number | undefined;
  /** A visitor with whom nothing is exchanged for so long is let go. */
  idleTimeoutMs?: number | undefined;
  /** Of all visitors together, each way. */
  bytesPerSecond?: number | undefined;
}

/** Where the visitors of a public name go. */
export interface Route {
  /** Names for logs. */
  tunnel: string;
  key: string;
  /** What the local service gets as Host; if left out, what the visitor sent. */
  hostHeader?: string | undefined;
  /** By which the local service gets requests; `http` if left out. */
  scheme?: "http" | "https" | undefined;
  /** How long an answer's head may take; if left out, the edge's own limit. */
  timeoutMs?: number | undefined;
  proxyProtocol?: ProxyProtocol | undefined;
  limits?: TunnelLimits | undefined;
  /**
   * There while a client that has just left may come back in a moment: calls back once, when one has. Returns how to stop
   * waiting.
   */
  whenBack?: ((callback: () => void) => () => void) | undefined;
  /** Opens a stream to the tunnel's client; absent while the client is away. May throw when it has just left. */
  open?: ((request: RouteRequest, handler: StreamHandler) => LinkStream) | undefined;
  /** Tells the client that a visitor's connection has ended, which it has bound something to. */
  visitorLeft?: ((visitorConnection: number) => void) | undefined;
}

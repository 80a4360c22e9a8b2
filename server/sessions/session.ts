import { randomBytes } from "node:crypto";
import type { TunnelError } from "../../link/errors.ts";
import type { Link, OpenRequest } from "../../link/link.ts";
import type { SessionTunnel } from "./naming.ts";
import type { LinkStream, StreamHandler } from "../../link/stream.ts";

/** A client that was told to go and stays is cut off: with the half second until a revocation is seen, within a second. */
const GO_MS = 400;

/** One connected client: its connections, its tunnels, and the end of both. */
export class Session {
  /** What a further connection shows to join. */
  readonly token = randomBytes(16).toString("base64url");
  readonly keyId: string;
  readonly keyName: string;
  readonly clientId: string;
  readonly tunnels: readonly SessionTunnel[];
  /** How many connections it may hold. */
  readonly maxConnections: number;
  readonly #links = new Set<Link>();
  readonly #onDraining: () => void;
  readonly #onEnded: (reason?: TunnelError) => void;
  #draining = false;
  #ended = false;

  constructor(options: {
    keyId: string;
    keyName: string;
    clientId: string;
    tunnels: readonly SessionTunnel[];
    maxConnections: number;
    /** The client takes no new streams. */
    onDraining: () => void;
    /** The last connection is gone, or `end` was called. */
    onEnded: (reason?: TunnelError) => void;
  }) {
    this.keyId = options.keyId;
    this.keyName = options.keyName;
    this.clientId = options.clientId;
    this.tunnels = options.tunnels;
    this.maxConnections = options.maxConnections;
    this.#onDraining = options.onDraining;
    this.#onEnded = options.onEnded;
  }

  get connections(): number {
    return this.#links.size;
  }

  /** Visitors that are being served. */
  get streams(): number {
    let streams = 0;
    for (const link of this.#links) streams += link.streams;
    return streams;
  }

  add(link: Link): void {
    this.#links.add(link);
  }

  remove(link: Link, reason?: TunnelError): void {
    if (this.#links.delete(link) && this.#links.size === 0) this.#end(reason);
  }

  /** Opens a stream on the connection that has the fewest. */
  open(request: OpenRequest, handler: StreamHandler): LinkStream {
    let least: Link | undefined;
    for (const link of this.#links) {
      if (!least || link.streams < least.streams) least = link;
    }
    if (!least) throw new Error("a session that has ended was asked for a stream");
    return least.open(request, handler);
  }

  /** The client has said that it is stopping. */
  drained(): void {
    // Each of its connections says so.
    if (this.#draining) return;
    this.#draining = true;
    this.#onDraining();
  }

  /** Tells the client that this server is about to stop. */
  drain(graceMs: number): void {
    for (const link of this.#links) link.say({ message: "drain", drain: { graceMs } });
  }

  /** Ends the session and its streams; with an error, the client is told why. */
  end(error?: TunnelError): void {
    const links = [...this.#links];
    this.#links.clear();
    for (const link of links) {
      if (error) link.say({ message: "refused", refused: { code: error.code, message: error.message } });
      link.end();
    }
    if (error) setTimeout(() => links.forEach((link) => link.close(error)), GO_MS).unref();
    this.#end(error);
  }

  #end(reason?: TunnelError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnded(reason);
  }
}

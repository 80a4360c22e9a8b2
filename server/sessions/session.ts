import { randomBytes } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { Link, OpenRequest } from "../../link/link.ts";
import type { TunnelState } from "../../link/messages.ts";
import type { LinkStream, StreamHandler } from "../../link/stream.ts";
import type { Log } from "../../runtime/log.ts";
import type { Asked } from "./asked.ts";
import { ClientStates } from "./client-states.ts";
import { Connection } from "./connection.ts";
import type { SessionTunnel } from "./naming.ts";

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
  /** How much of that its client has asked for. */
  readonly asked: Asked;
  /** How many connections it may hold. */
  readonly maxConnections: number;
  /** Where its first connection came from (runtime/ip-address.ts). */
  readonly network: string;
  readonly #maxStreams: number;
  readonly #now: () => number;
  readonly #states: ClientStates;
  readonly #connections = new Map<Link, Connection>();
  readonly #onDraining: () => void;
  readonly #onEnded: (reason: string) => void;
  #draining = false;
  #ended = false;

  constructor(options: {
    keyId: string;
    keyName: string;
    clientId: string;
    tunnels: readonly SessionTunnel[];
    asked: Asked;
    maxConnections: number;
    network: string;
    maxStreams: number;
    now: () => number;
    /** For what the client says of its tunnels. */
    log: Log;
    /** The client takes no new streams. */
    onDraining: () => void;
    /** The last connection is gone, or `end` was called; why, for the log. */
    onEnded: (reason: string) => void;
  }) {
    this.keyId = options.keyId;
    this.keyName = options.keyName;
    this.clientId = options.clientId;
    this.tunnels = options.tunnels;
    this.asked = options.asked;
    this.maxConnections = options.maxConnections;
    this.network = options.network;
    this.#maxStreams = options.maxStreams;
    this.#now = options.now;
    this.#states = new ClientStates(options.tunnels, options.log);
    this.#onDraining = options.onDraining;
    this.#onEnded = options.onEnded;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Visitors that are being served. */
  get streams(): number {
    let streams = 0;
    for (const link of this.#connections.keys()) streams += link.streams;
    return streams;
  }

  add(link: Link): void {
    this.#connections.set(link, new Connection(link));
  }

  remove(link: Link, reason?: TunnelError): void {
    if (!this.#connections.delete(link) || this.#connections.size > 0) return;
    // A process that was killed ends its calls as cleanly as one that has stopped: only Drain tells the two apart.
    this.#end(reason?.message ?? (this.#draining ? "it left" : "the connection was lost"));
  }

  /**
   * Opens a stream on the connection that has the fewest, of those that answer if there are any.
   *
   * @throws TunnelError `overloaded`
   */
  open(request: OpenRequest, handler: StreamHandler): LinkStream {
    const now = this.#now();
    let best: Connection | undefined;
    let streams = 0;
    for (const connection of this.#connections.values()) {
      connection.look(now);
      streams += connection.link.streams;
      if (!best || connection.isBetterThan(best)) best = connection;
    }
    if (!best) throw new Error("a session that has ended was asked for a stream");
    if (streams >= this.#maxStreams) {
      throw new TunnelError(
        "overloaded",
        `The client serves ${streams} visitors, and one client may serve ${this.#maxStreams} at a time (limits.streams_per_session).`,
      );
    }
    best.ask(now);
    return best.link.open(request, handler);
  }

  /**
   * The client has said what it found out about the session's tunnels.
   *
   * @throws TunnelError `protocol`
   */
  heardStates(states: readonly TunnelState[]): void {
    this.#states.heard(states);
  }

  /** Tells the client that a visitor's connection has ended. One of its links will do: it waits for no word for long. */
  visitorLeft(visitorConnection: number): void {
    const [link] = this.#connections.keys();
    link?.say({ message: "visitorLeft", visitorLeft: { visitorConnection } });
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
    for (const link of this.#connections.keys()) link.say({ message: "drain", drain: { graceMs } });
  }

  /** Ends the session and its streams; with an error, the client is told why. */
  end(error?: TunnelError): void {
    const links = [...this.#connections.keys()];
    this.#connections.clear();
    for (const link of links) {
      if (error) link.say({ message: "refused", refused: { code: error.code, message: error.message } });
      link.end(error && GO_MS, error);
    }
    this.#end(error?.message ?? "this server is stopping");
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnded(reason);
  }
}

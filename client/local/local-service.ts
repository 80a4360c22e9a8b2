import { Agent, type ClientRequest } from "node:http";
import type { TargetTls } from "../../link/messages.ts";
import type { Target } from "../../link/target.ts";
import { type DialOptions, dialTarget } from "./dial-target.ts";
import type { ServiceSocket } from "./service-socket.ts";
import { ServiceTls } from "./service-tls.ts";

/** An idle connection is closed after this; sooner if the service says that it will (see `idleTime`). */
const IDLE_MS = 5_000;
/** The service may close this much before its announced time, and its FIN needs a moment. */
const IDLE_MARGIN_MS = 1_000;
const MAX_IDLE = 128;

export interface LocalServiceOptions extends Pick<
  DialOptions,
  "target" | "consent" | "timeoutMs" | "resolve"
> {
  /** How an `https://` target is checked, if not by the authorities that Node.js knows. */
  targetTls?: TargetTls | undefined;
}

/**
 * A local service: where it is, whether it may be dialled, and the connections that lie idle.
 *
 * The connection policy: nothing queues, a request without an idle connection gets a new one. Only requests that may be
 * sent twice take idle ones, since the service may be closing them at that moment; all others, and upgrades, get a
 * fresh one. A connection goes back when request and answer are whole and both ends keep it alive; whatever it
 * says while idle ends it, so that no stray byte is taken for a later answer.
 */
export class LocalService {
  /** For node:http: an idle connection, or else a new one. */
  readonly reusing: Agent;
  /** A new connection, which may be reused later. */
  readonly fresh: Agent;
  /** A new connection that can be half-closed, and is never reused. */
  readonly joining: Agent;
  readonly target: Target;
  readonly #options: DialOptions;

  #idle: ServiceSocket[] = [];
  #closed = false;

  /** @throws Error if `targetTls` cannot be used */
  constructor({ targetTls, ...options }: LocalServiceOptions) {
    const { target } = options;
    this.target = target;
    this.#options = "tls" in target ? { ...options, tls: new ServiceTls(target, targetTls) } : options;
    this.reusing = new ConnectionSource(() => this.#takeIdle() ?? this.#dial(), true);
    this.fresh = new ConnectionSource(() => this.#dial());
    this.joining = new ConnectionSource(() => this.#dialJoining());
  }

  get idle(): number {
    return this.#idle.length;
  }

  /** Closes what is idle, and what becomes so. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#idle) socket.destroy();
  }

  #dial(): ServiceSocket {
    const socket = dialTarget(this.#options);
    const release = () => this.#release(socket);
    const destroy = () => socket.destroy();
    // Between two requests nobody else listens, and a service may reset what is idle.
    socket.on("error", ignore);
    socket.on("free", release);
    socket.on("timeout", destroy);
    socket.once("close", () => this.#forget(socket));
    return socket;
  }

  #dialJoining(): ServiceSocket {
    const socket = dialTarget({ ...this.#options, allowHalfOpen: true });
    socket.on("error", ignore);
    socket.on("free", () => socket.destroy());
    return socket;
  }

  #release(socket: ServiceSocket): void {
    if (this.#closed || !usable(socket) || socket.connecting || socket.idleMs <= 0) {
      socket.destroy();
      return;
    }
    socket.on("data", destroyThis);
    socket.setTimeout(socket.idleMs);
    socket.unref();
    socket.resume();
    // What the service sent or did behind its answer is seen in the next turn at the latest.
    setImmediate(() => setImmediate(() => this.#keep(socket)));
  }

  #keep(socket: ServiceSocket): void {
    if (this.#closed || this.#idle.length >= MAX_IDLE) socket.destroy();
    else if (usable(socket)) this.#idle.push(socket);
  }

  #takeIdle(): ServiceSocket | undefined {
    for (let socket = this.#idle.pop(); socket; socket = this.#idle.pop()) {
      if (!usable(socket)) continue;
      socket.off("data", destroyThis);
      socket.setTimeout(0);
      socket.ref();
      return socket;
    }
    return undefined;
  }

  #forget(socket: ServiceSocket): void {
    const index = this.#idle.indexOf(socket);
    if (index >= 0) this.#idle.splice(index, 1);
  }
}

/**
 * How long a connection may lie idle behind an answer with this `Keep-Alive` field; 0: not at all.
 * @param keepAlive such as `timeout=5, max=100`
 */
export function idleTime(keepAlive: string | undefined): number {
  const seconds = /(?:^|[\s,])timeout=(\d+)/i.exec(keepAlive ?? "")?.[1];
  if (seconds === undefined) return IDLE_MS;
  return Math.max(0, Math.min(IDLE_MS, Number(seconds) * 1_000 - IDLE_MARGIN_MS));
}

/** What node:http asks for connections. Of its Agent only the name is used: its own pool has no say in what is reused. */
class ConnectionSource extends Agent {
  readonly #take: () => ServiceSocket;
  readonly #reuses: boolean;

  constructor(take: () => ServiceSocket, reuses = false) {
    super({ keepAlive: true });
    this.#take = take;
    this.#reuses = reuses;
  }

  /** Called by node:http for each request. Not in its documentation; checked with Node 20, 22 and 24. */
  addRequest(request: ClientRequest): void {
    const socket = this.#take();
    if (this.#reuses) request.reusedSocket = !socket.pending;
    request.onSocket(socket);
  }
}

function usable(socket: ServiceSocket): boolean {
  return !socket.destroyed && socket.writable && socket.readable;
}

function destroyThis(this: ServiceSocket): void {
  this.destroy();
}

function ignore(): void {
  // Whoever uses the socket hears of it by a listener of their own.
}

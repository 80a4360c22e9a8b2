import { TUNNEL_STATES } from "../../link/contract.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Link } from "../../link/link.ts";
import type {
  Open,
  SessionMessage,
  Tunnel,
  TunnelRequest,
  TunnelState,
  Welcome,
} from "../../link/messages.ts";
import type { LinkStream } from "../../link/stream.ts";
import type { UnreadBudget } from "../../link/unread-budget.ts";
import type { NameLookup } from "../../runtime/name-lookup.ts";
import { Backoff } from "./backoff.ts";
import { checkTunnels, connect, type Connection, type ServerAddress } from "./connect.ts";

export interface SessionOptions {
  server: ServerAddress;
  clientId: string;
  wanted: TunnelRequest[];
  /** Of the whole client. */
  unreadBudget: UnreadBudget;
  /** Likewise. */
  names: Pick<NameLookup, "server">;
  /** The first connection stands; called before any stream of it. */
  onOnline(welcome: Welcome): void;
  /** The server has changed the mapping. */
  onTunnels(tunnels: Tunnel[]): void;
  onStream: (stream: LinkStream, open: Open) => void;
  /** A visitor's connection has ended that an answer was bound to. */
  onVisitorLeft(visitorConnection: number): void;
  /** The server is about to stop. */
  onServerDrain(): void;
  /** A further connection could not be had, or was lost, while others stand. */
  onConnectionTrouble(error: TunnelError): void;
  /** What tests make short. */
  tuning?: ClientTuning | undefined;
}

export interface ClientTuning {
  probe?: { intervalMs: number; timeoutMs: number };
  stepTimeoutMs?: number;
  /** Between two looks at the local services. */
  lookPauseMs?: number;
}

/** In one session: a change is somebody's, and each is told in the log. */
const MAX_CHANGES = 10_000;
/** What held this long was good: the next try comes at once. */
export const STEADY_MS = 10_000;
/** How long a server is asked whether a stream is on its way, by a client that stops and has none. */
const QUIET_MS = 2_000;

/** One of the session's connections. */
interface Slot {
  backoff: Backoff;
  /** When it came to stand, on the clock of `performance.now()`. */
  since: number;
}

/** One life of a session: from its first connection to the loss of its last. */
export class ClientSession {
  readonly #options: SessionOptions;
  readonly #links = new Map<Link, Slot>();
  /** Aborted once no further connection is wanted. */
  readonly #dialling = new AbortController();
  readonly #over: Promise<void>;
  #settle: (error?: TunnelError) => void = () => {};
  #token = "";
  #takesStates = false;
  #stopping = false;
  /** Changes of the mapping in this session. */
  #changes = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#over = new Promise((resolve, reject) => {
      this.#settle = (error) => (error ? reject(error) : resolve());
    });
    // It may fail before anyone waits for it.
    this.#over.catch(() => {});
  }

  /**
   * Runs until `stop` has ended it, or the signal cuts it.
   *
   * @throws TunnelError why the session did not come about, or how it was lost
   */
  async run(signal: AbortSignal): Promise<void> {
    const cut = (): void => this.#end(new TunnelError("shutting_down", "stopped"));
    signal.addEventListener("abort", cut, { once: true });
    try {
      const { welcome } = await this.#connect(new Backoff(), (welcome) => {
        this.#token = welcome.sessionToken;
        this.#takesStates = welcome.features?.includes(TUNNEL_STATES) ?? false;
        this.#options.onOnline(welcome);
      });
      for (let i = 1; i < welcome.connections; i++) void this.#addConnection(new Backoff());
      await this.#over;
    } finally {
      signal.removeEventListener("abort", cut);
      this.#dialling.abort();
    }
  }

  /** Takes no new streams, lets open ones finish for at most `graceMs`, then ends. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#dialling.abort();
    if (this.#links.size === 0) this.#end();
    const grace = setTimeout(() => this.#end(), graceMs);
    // Over a connection that is dead no answer will come.
    const quiet = setTimeout(() => {
      if ([...this.#links.keys()].every((link) => link.streams === 0)) this.#end();
    }, QUIET_MS);
    for (const link of this.#links.keys()) finish(link, graceMs);
    await this.#over.catch(() => {});
    clearTimeout(grace);
    clearTimeout(quiet);
  }

  /** Tells the server what has been found out about its tunnels, unless it is an older one. */
  sayStates(tunnels: TunnelState[]): void {
    const [link] = this.#links.keys();
    if (this.#takesStates && !this.#stopping)
      link?.say({ message: "tunnelStates", tunnelStates: { tunnels } });
  }

  async #connect(backoff: Backoff, welcomed?: (welcome: Welcome) => void): Promise<Connection> {
    const { server, clientId, wanted, unreadBudget, names, onStream, tuning } = this.#options;
    let link: Link | undefined;
    const connection = await connect({
      server,
      clientId,
      wanted,
      unreadBudget,
      names,
      sessionToken: this.#token,
      signal: this.#dialling.signal,
      ...tuning,
      handler: {
        welcomed,
        opened: onStream,
        message: (message) => this.#receive(message),
        closed: (error) => {
          if (link) this.#lost(link, error);
        },
      },
    });
    link = connection.link;
    if (this.#dialling.signal.aborted || link.closed) {
      link.close();
      throw new TunnelError("lost", "the connection was lost as soon as it stood");
    }
    this.#links.set(link, { backoff, since: performance.now() });
    return connection;
  }

  /** Brings one of the further connections about, however often that has to be tried. */
  async #addConnection(backoff: Backoff): Promise<void> {
    const { signal } = this.#dialling;
    while (!signal.aborted) {
      try {
        const { welcome } = await this.#connect(backoff);
        if (welcome.sessionToken !== this.#token) {
          this.#end(new TunnelError("lost", "the server has forgotten the session"));
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        const trouble =
          error instanceof TunnelError ? error : new TunnelError("internal", String(error), { cause: error });
        if (trouble.permanent) return this.#end(trouble);
        this.#options.onConnectionTrouble(trouble);
      }
      await backoff.wait(backoff.next(), signal);
    }
  }

  #receive(message: SessionMessage): void {
    switch (message.message) {
      case "tunnels":
        if (++this.#changes > MAX_CHANGES)
          throw new TunnelError("protocol", "the server never stops changing the mapping");
        checkTunnels(message.tunnels.tunnels);
        return this.#options.onTunnels(message.tunnels.tunnels);
      case "drain":
        // Each of its connections says so; and further ones would only have to be left again.
        if (this.#dialling.signal.aborted) return;
        this.#dialling.abort();
        return this.#options.onServerDrain();
      case "visitorLeft":
        return this.#options.onVisitorLeft(message.visitorLeft.visitorConnection);
      default:
        throw new TunnelError("protocol", `a ${message.message} message out of place`);
    }
  }

  #lost(link: Link, error?: TunnelError): void {
    const slot = this.#links.get(link);
    if (!slot) return;
    this.#links.delete(link);
    if (this.#links.size > 0 && !error?.permanent) {
      if (error) this.#options.onConnectionTrouble(error);
      void this.#replace(slot);
      return;
    }
    this.#end(
      this.#stopping ? undefined : (error ?? new TunnelError("lost", "the server closed the connection")),
    );
  }

  /** At once if the connection had held; else a server that cuts one of several would have it dialled in a tight loop. */
  async #replace({ backoff, since }: Slot): Promise<void> {
    if (performance.now() - since >= STEADY_MS) backoff.reset();
    else await backoff.wait(backoff.next(), this.#dialling.signal);
    await this.#addConnection(backoff);
  }

  #end(error?: TunnelError): void {
    this.#dialling.abort();
    this.#settle(error);
    const links = [...this.#links.keys()];
    this.#links.clear();
    for (const link of links) link.close(error);
  }
}

/** Ends a link once its streams have: a probe makes sure that no stream is on its way when they are counted. */
function finish(link: Link, graceMs: number): void {
  link.say({ message: "drain", drain: { graceMs } });
  link.ping(() => link.whenNoStreams(() => link.end()));
}

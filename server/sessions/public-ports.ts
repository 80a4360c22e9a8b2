import { hash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import { MAX_PORT } from "../../link/port-range.ts";
import { Turnstile } from "../../runtime/turnstile.ts";
import { RecentMap } from "../access/recent-map.ts";
import type { PortKind, PortPlace } from "../routing/place.ts";
import type { NamingRules, SessionTunnel } from "./naming.ts";

/** Where visitors of a port arrive. */
export interface PortOpener {
  /**
   * Opens a public port.
   *
   * @throws NodeJS.ErrnoException as `listen` does, TunnelError
   */
  open(kind: PortKind, port: number): Promise<void>;
  /** Takes no new visitors at it. */
  close(kind: PortKind, port: number): void;
}

/** Who asks for ports. */
export interface PortClaimant {
  keyId: string;
  clientId: string;
}

/** So many places in the range are tried for a tunnel: where that many are taken, more tries would only delay the answer. */
const MAX_TRIES = 200;
/** The same for all tunnels of one client together, which takes a millisecond or two. */
const MAX_TRIES_OF_ALL = 2_000;
/** As many as a server with its default range has to give away. */
const MAX_REMEMBERED = 10_000;
/** Ports that open or close in one turn of the event loop, which takes a millisecond, and leaves visitors their time. */
const PORTS_PER_TURN = 32;

type PortTunnel = SessionTunnel & PortPlace;

/** What one client's search for ports has cost and found. */
interface Search {
  who: PortClaimant;
  /** Tunnels without a number, and what their ports are chosen by. */
  identities: Map<SessionTunnel, string>;
  triesLeft: number;
  /** Ports that could not be opened. */
  failed: Record<PortKind, Set<number>>;
}

/** Opens the public ports of tunnels, and closes those that nobody holds any more. */
export class PublicPorts {
  readonly #opener: PortOpener;
  readonly #rules: Pick<NamingRules, "freePorts" | "portOwners" | "publicUrl">;
  readonly #mayHold: (kind: PortKind, port: number, who: PortClaimant) => boolean;
  readonly #isHeld: (kind: PortKind, port: number) => boolean;
  /** By port, 1 where it is open. */
  readonly #open = { TCP: new Uint8Array(MAX_PORT + 1), UDP: new Uint8Array(MAX_PORT + 1) };
  /** Those that are being opened. */
  readonly #opening: Record<PortKind, Map<number, Promise<void>>> = { TCP: new Map(), UDP: new Map() };
  /** By port, how many clients are on their way to become sessions with it; two may want the same. */
  readonly #expected = { TCP: new Uint16Array(MAX_PORT + 1), UDP: new Uint16Array(MAX_PORT + 1) };
  /** Clients with many ports take turns with those that have one. */
  readonly #turnstile = new Turnstile(PORTS_PER_TURN);
  readonly #closing = new Set<NodeJS.Timeout>();
  /** Where tunnels without a number were last: they return to where their visitors are, even if the place they prefer is free by then. */
  readonly lastPorts = new RecentMap<string, number>(MAX_REMEMBERED);

  constructor(options: {
    opener: PortOpener;
    rules: Pick<NamingRules, "freePorts" | "portOwners" | "publicUrl">;
    /** Whether nobody else holds this port, nor has it kept for their return. */
    mayHold: (kind: PortKind, port: number, who: PortClaimant) => boolean;
    /** Whether a session holds it. */
    isHeld: (kind: PortKind, port: number) => boolean;
  }) {
    this.#opener = options.opener;
    this.#rules = options.rules;
    this.#mayHold = options.mayHold;
    this.#isHeld = options.isHeld;
  }

  /**
   * Opens all ports of the tunnels, or none. Those without a number get one. To be followed by `keep` or `release` with the result.
   *
   * @param approve asked once all have their numbers, before anything is opened; throws where it refuses them
   * @throws TunnelError `port_taken`, `name_refused`, and what `approve` throws
   */
  async open(
    tunnels: readonly SessionTunnel[],
    who: PortClaimant,
    approve: (tunnels: readonly SessionTunnel[]) => void,
  ): Promise<SessionTunnel[]> {
    const settled = [...tunnels];
    const search: Search = {
      who,
      identities: new Map(),
      triesLeft: MAX_TRIES_OF_ALL,
      failed: { TCP: new Set(), UDP: new Set() },
    };
    // Those with a number first, so that none of them is chosen for another.
    this.#expect(settled, 1);
    try {
      for (const [i, tunnel] of tunnels.entries())
        if ("port" in tunnel && tunnel.port === 0) settled[i] = this.#choose(tunnel, search);
      approve(settled);
      for (const [i, tunnel] of tunnels.entries()) {
        if ("hostname" in tunnel) continue;
        if (tunnel.port === 0) await this.#openChosen(settled, i, tunnel, search);
        else await this.#openAll(tunnel, search);
      }
      return settled;
    } catch (error) {
      this.release(settled);
      throw error;
    }
  }

  /** A session has come about, and holds them. */
  keep(tunnels: readonly SessionTunnel[]): void {
    this.#expect(tunnels, -1);
  }

  /** No session has come about: closes those that no other holds. */
  release(tunnels: readonly SessionTunnel[]): void {
    this.#expect(tunnels, -1);
    void this.#closeUnheld(tunnels);
  }

  /** Closes those of the ports that no session holds by then. */
  closeLater(tunnels: readonly SessionTunnel[], ms: number): void {
    if (!tunnels.some((tunnel) => "port" in tunnel)) return;
    const timer = setTimeout(() => {
      this.#closing.delete(timer);
      void this.#closeUnheld(tunnels);
    }, ms);
    this.#closing.add(timer.unref());
  }

  /** Leaves what is open to whoever opened it. */
  end(): void {
    for (const timer of this.#closing) clearTimeout(timer);
    this.#closing.clear();
  }

  #expect(tunnels: readonly SessionTunnel[], by: 1 | -1): void {
    for (const tunnel of tunnels) {
      if ("hostname" in tunnel || tunnel.port === 0) continue;
      const expected = this.#expected[tunnel.kind];
      for (let port = tunnel.port; port < tunnel.port + tunnel.ports; port++) expected[port]! += by;
    }
  }

  async #closeUnheld(tunnels: readonly SessionTunnel[]): Promise<void> {
    for (const tunnel of tunnels) {
      if ("hostname" in tunnel) continue;
      const { kind, port, ports } = tunnel;
      for (let each = port; each < port + ports; each++) {
        if (!this.#isUnheld(kind, each)) continue;
        const turn = this.#turnstile.pass();
        if (turn) {
          await turn;
          if (!this.#isUnheld(kind, each)) continue;
        }
        this.#open[kind][each] = 0;
        this.#opener.close(kind, each);
      }
    }
  }

  #isUnheld(kind: PortKind, port: number): boolean {
    return this.#open[kind][port] === 1 && this.#expected[kind][port] === 0 && !this.#isHeld(kind, port);
  }

  /** @throws TunnelError */
  async #openAll({ kind, port, ports }: PortPlace, { failed }: Search): Promise<void> {
    for (let each = port; each < port + ports; each++) {
      if (this.#open[kind][each] === 1) continue;
      try {
        await this.#openOne(kind, each);
      } catch (error) {
        failed[kind].add(each);
        throw refusal(kind, each, error as NodeJS.ErrnoException);
      }
    }
  }

  /** @throws NodeJS.ErrnoException */
  async #openOne(kind: PortKind, port: number): Promise<void> {
    await this.#turnstile.pass();
    // Another client may have come first, or be about to.
    if (this.#open[kind][port] === 1) return;
    const all = this.#opening[kind];
    let opening = all.get(port);
    if (!opening) {
      opening = this.#opener
        .open(kind, port)
        .then(() => void (this.#open[kind][port] = 1))
        .finally(() => all.delete(port));
      all.set(port, opening);
    }
    await opening;
  }

  /**
   * Opens the ports that were chosen for one of the tunnels, and chooses others as long as other programs have them.
   *
   * @throws TunnelError
   */
  async #openChosen(
    settled: SessionTunnel[],
    index: number,
    tunnel: PortTunnel,
    search: Search,
  ): Promise<void> {
    for (;;) {
      const chosen = settled[index] as PortTunnel;
      try {
        await this.#openAll(chosen, search);
        this.lastPorts.set(identityOf(tunnel, search), chosen.port);
        return;
      } catch (error) {
        if (!(error instanceof TunnelError) || error.code !== "port_taken") throw error;
      }
      settled[index] = tunnel;
      this.release([chosen]);
      settled[index] = this.#choose(tunnel, search);
    }
  }

  /** @throws TunnelError `port_taken` */
  #choose(tunnel: PortTunnel, search: Search): PortTunnel {
    const { kind, ports } = tunnel;
    const port = this.#findFree(tunnel, search);
    if (port === undefined) {
      throw new TunnelError(
        "port_taken",
        `The server has no free ${kind} port${ports === 1 ? "" : `s, ${ports} in a row,`} to give away. Ask its owner for one, or for more.`,
      );
    }
    const chosen = { ...tunnel, port };
    this.#expect([chosen], 1);
    return { ...chosen, url: this.#rules.publicUrl(chosen) };
  }

  /** Where the tunnel was last, or else where it would be by its identity alone, or else behind that. */
  #findFree(tunnel: PortTunnel, search: Search): number | undefined {
    const { kind, ports } = tunnel;
    const range = this.#rules.freePorts(kind);
    const places = range ? range.to - range.from + 2 - ports : 0;
    if (!range || places <= 0) return undefined;
    const identity = identityOf(tunnel, search);
    const last = this.lastPorts.get(identity);
    if (last !== undefined && last >= range.from && last < range.from + places) {
      if (this.#lastTaken({ kind, port: last, ports }, search) === undefined) return last;
    }
    let place = Buffer.from(identity, "base64url").readUInt32BE() % places;
    let passed = 0;
    for (let tries = 0; tries < MAX_TRIES && passed < places && search.triesLeft > 0; tries++) {
      search.triesLeft--;
      const port = range.from + place;
      const taken = this.#lastTaken({ kind, port, ports }, search);
      if (taken === undefined) return port;
      const step = Math.min(taken + 1 - port, places - place);
      passed += step;
      place = (place + step) % places;
    }
    return undefined;
  }

  /** The last of the ports that is not free for this client. */
  #lastTaken({ kind, port, ports }: PortPlace, { who, failed }: Search): number | undefined {
    const last = port + ports - 1;
    const written = this.#rules.portOwners(kind, { from: port, to: last });
    if (written.length > 0) return Math.min(last, Math.max(...written.map(({ to }) => to)));
    for (let each = last; each >= port; each--) {
      const isFree =
        this.#expected[kind][each] === 0 && !failed[kind].has(each) && this.#mayHold(kind, each, who);
      if (!isFree) return each;
    }
    return undefined;
  }
}

/** The same for the same client and target, so that an address that was told yesterday holds today. */
function identityOf(tunnel: SessionTunnel, { who, identities }: Search): string {
  let identity = identities.get(tunnel);
  if (identity === undefined) {
    const { kind, name, target, request } = tunnel;
    const whose = request === undefined ? [who.keyId, name] : [who.clientId, target];
    identity = hash("sha256", [kind, ...whose].join("\n"), "base64url");
    identities.set(tunnel, identity);
  }
  return identity;
}

/** listen(2), ip(7). */
function refusal(kind: PortKind, port: number, error: NodeJS.ErrnoException): TunnelError {
  if (error instanceof TunnelError) return error;
  if (error.code === "EACCES") {
    return new TunnelError(
      "name_refused",
      `The server may not open ${kind} port ${port}: ports below 1024 need a right that its owner gives it (CAP_NET_BIND_SERVICE).`,
      { cause: error },
    );
  }
  const why = error.code === "EADDRINUSE" ? "another program on the server has it" : error.message;
  return new TunnelError("port_taken", `The ${kind} port ${port} cannot be opened: ${why}.`, {
    cause: error,
  });
}

import { createHash } from "node:crypto";
import { TunnelError } from "../../link/errors.ts";
import type { PortRange } from "../../link/port-range.ts";
import { Tally } from "../../runtime/tally.ts";
import { RecentMap } from "../access/recent-map.ts";
import { type PortKind, portName, type PortPlace } from "../routing/place.ts";
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

/** So many ports of the range are tried: where that many are taken, more tries would only delay the answer. */
const MAX_TRIES = 200;
/** As many as a server with its default range has to give away. */
const MAX_REMEMBERED = 10_000;

/** Opens the public ports of tunnels, and closes those that nobody holds any more. */
export class PublicPorts {
  readonly #opener: PortOpener;
  readonly #rules: Pick<NamingRules, "freePorts" | "ownersOf" | "publicUrl">;
  readonly #mayHold: (name: string, who: PortClaimant) => boolean;
  readonly #isHeld: (name: string) => boolean;
  /** By name, those that are open. */
  readonly #open = new Map<string, { kind: PortKind; port: number }>();
  /** Opened or chosen for clients that are on their way to become sessions; two may want the same. */
  readonly #pending = new Tally();
  /** Where tunnels without a number were last: they return to where their visitors are, even if the place they prefer is free by then. */
  readonly #lastPorts = new RecentMap<string, number>(MAX_REMEMBERED);
  /** One client chooses after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: {
    opener: PortOpener;
    rules: Pick<NamingRules, "freePorts" | "ownersOf" | "publicUrl">;
    /** Whether nobody else holds this name, nor has it kept for their return. */
    mayHold: (name: string, who: PortClaimant) => boolean;
    /** Whether a session holds it. */
    isHeld: (name: string) => boolean;
  }) {
    this.#opener = options.opener;
    this.#rules = options.rules;
    this.#mayHold = options.mayHold;
    this.#isHeld = options.isHeld;
  }

  /**
   * Opens all ports of the tunnels, those that are still to be chosen too, or none. To be followed by `settle` with the result.
   *
   * @throws TunnelError `port_taken`, `name_refused`
   */
  open(tunnels: readonly SessionTunnel[], who: PortClaimant): Promise<SessionTunnel[]> {
    const opened = this.#last.then(async () => {
      const names: string[] = [];
      try {
        const settled: SessionTunnel[] = [];
        // Those with a number first, so that none of them is chosen for another.
        for (const tunnel of tunnels.toSorted(chosenLast))
          settled.push(await this.#openTunnel(tunnel, who, names));
        return tunnels.map(({ id }) => settled.find((tunnel) => tunnel.id === id)!);
      } catch (error) {
        this.settle(names);
        throw error;
      }
    });
    this.#last = opened.catch(() => {});
    return opened;
  }

  /** Those of the ports for which no session came about are closed. */
  settle(names: readonly string[]): void {
    for (const name of names) if (this.#pending.of(name) > 0) this.#pending.remove(name);
    this.closeUnheld(names);
  }

  /** Closes those of the ports that no session holds. */
  closeUnheld(names: readonly string[]): void {
    for (const name of names) {
      const port = this.#open.get(name);
      if (!port || this.#pending.of(name) > 0 || this.#isHeld(name)) continue;
      this.#open.delete(name);
      this.#opener.close(port.kind, port.port);
    }
  }

  async #openTunnel(tunnel: SessionTunnel, who: PortClaimant, names: string[]): Promise<SessionTunnel> {
    if ("hostname" in tunnel) return tunnel;
    if (tunnel.port !== 0) {
      await this.#openAll(tunnel, names);
      return tunnel;
    }
    const first = await this.#openFree(tunnel, who, names);
    const found = { ...tunnel, port: first };
    return { ...found, url: this.#rules.publicUrl(found) };
  }

  /** @throws TunnelError */
  async #openAll({ kind, port, ports }: PortPlace, names: string[]): Promise<void> {
    for (let each = port; each < port + ports; each++) {
      const name = portName(kind, each);
      this.#pending.add(name);
      names.push(name);
      if (this.#open.has(name)) continue;
      await this.#opener.open(kind, each).catch((error: NodeJS.ErrnoException) => {
        throw refusal(kind, each, error);
      });
      this.#open.set(name, { kind, port: each });
    }
  }

  /** @throws TunnelError */
  async #openFree(tunnel: SessionTunnel & PortPlace, who: PortClaimant, names: string[]): Promise<number> {
    const { kind, ports } = tunnel;
    const identity = identityOf(tunnel, who);
    for (const port of portsToTry(
      this.#rules.freePorts(kind),
      ports,
      identity,
      this.#lastPorts.get(identity),
    )) {
      const place = { kind, port, ports };
      if (!this.#isFree(place, who)) continue;
      const tried: string[] = [];
      try {
        await this.#openAll(place, tried);
        names.push(...tried);
        this.#lastPorts.set(identity, port);
        return port;
      } catch (error) {
        this.settle(tried);
        if (!(error instanceof TunnelError) || error.code !== "port_taken") throw error;
      }
    }
    throw new TunnelError(
      "port_taken",
      `The server has no free ${kind} port${ports === 1 ? "" : `s, ${ports} in a row,`} to give away. Ask its owner for one, or for more.`,
    );
  }

  #isFree({ kind, port, ports }: PortPlace, who: PortClaimant): boolean {
    for (let each = port; each < port + ports; each++) {
      const name = portName(kind, each);
      if (this.#pending.of(name) > 0 || this.#rules.ownersOf(name).length > 0) return false;
      if (!this.#mayHold(name, who)) return false;
    }
    return true;
  }
}

function chosenLast(a: SessionTunnel, b: SessionTunnel): number {
  return Number("port" in a && a.port === 0) - Number("port" in b && b.port === 0);
}

/** The same for the same client and target, so that an address that was told yesterday holds today. */
function identityOf({ kind, name, target, request }: SessionTunnel, who: PortClaimant): string {
  const whose = request === undefined ? [who.keyId, name] : [who.clientId, target];
  return [kind, ...whose].join("\n");
}

/** The first of so many ports: where it was last, where it would be by its identity alone, and what follows. */
function* portsToTry(
  range: PortRange | undefined,
  ports: number,
  identity: string,
  last: number | undefined,
): Generator<number> {
  const places = range ? range.to - range.from + 2 - ports : 0;
  if (!range || places <= 0) return;
  if (last !== undefined && last + ports - 1 <= range.to) yield last;
  const preferred = createHash("sha256").update(identity).digest().readUInt32BE();
  for (let i = 0; i < Math.min(places, MAX_TRIES); i++) yield range.from + ((preferred + i) % places);
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

import type { PortRange } from "../../link/port-range.ts";
import {
  hostName,
  type Place,
  placeInWords,
  type PortKind,
  type PortPlace,
  portTable,
} from "../routing/place.ts";
import type { Route } from "../routing/route.ts";
import type { Reservation } from "../store/reservations.ts";
import type { Claim } from "./claim.ts";
import { KeptClaims } from "./kept-claims.ts";
import type { SessionTunnel } from "./naming.ts";
import type { Session } from "./session.ts";
import { Waiting } from "./waiting.ts";

/** How long a name stays its key's after the client has left: nobody else may take it in the meantime. */
const KEPT_MS = 10 * 60_000;
/** A client that left this long ago is not coming back in a moment; between two tries it waits at most half of this. */
const RETURNING_MS = 30_000;
/** Names that are kept for one key; whoever leaves more behind loses the first of them. */
export const MAX_KEPT = 1_024;

export type ClaimHolder = Readonly<Pick<Claim, "keyId" | "clientId" | "session">>;

/** Which public names are held, by whom, and which are kept for a client that may come back. */
export class Claims {
  readonly #hosts = new Map<string, Claim>();
  readonly #ports = portTable<Claim | undefined>(undefined);
  readonly #held = new Map<Session, readonly Claim[]>();
  readonly #kept = new KeptClaims();
  readonly #waiting = new Waiting();
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #onChange: () => void;

  /** @param onChange who holds which name, or has it kept, has changed */
  constructor(now: () => number, onChange: () => void = () => {}) {
    this.#now = now;
    this.#startedAt = now();
    this.#onChange = onChange;
  }

  /** Whether the server has just started: clients that were there before are on their way back, in any order. */
  get isFilling(): boolean {
    return this.#now() - this.#startedAt <= KEPT_MS;
  }

  /** Who holds the name, or held it until a short while ago. */
  hostHolder(name: string): ClaimHolder | undefined {
    return this.#current(this.#hosts.get(name));
  }

  portHolder(kind: PortKind, port: number): ClaimHolder | undefined {
    return this.#current(this.#ports[kind][port]);
  }

  /** Who holds ports of a place: each for so many in a row. */
  *portHolders({ kind, port, ports: count }: PortPlace): Generator<PortRange & { holder: ClaimHolder }> {
    const ports = this.#ports[kind];
    const end = port + count;
    for (let from = port; from < end;) {
      const next = endOfRun(ports, from, end);
      const holder = this.#current(ports[from]);
      if (holder) yield { holder, from, to: next - 1 };
      from = next;
    }
  }

  /** Where visitors of exactly this name go; a route without `open` while the client is away. */
  hostRoute(name: string): Route | undefined {
    const claim = this.#current(this.#hosts.get(name));
    if (!claim || claim.session || !this.#mayReturn(claim.leftAt)) return claim;
    return { ...claim, whenBack: (callback) => this.#waiting.atHost(name, callback) };
  }

  portRoute(kind: PortKind, port: number): Route | undefined {
    const claim = this.#current(this.#ports[kind][port]);
    if (!claim) return undefined;
    const { session, place, tunnelId } = claim;
    if (session) {
      const portOffset = port - (place as PortPlace).port;
      return portOffset === 0
        ? claim
        : { ...claim, open: opener(session, { id: tunnelId, kind }, portOffset) };
    }
    if (!this.#mayReturn(claim.leftAt)) return claim;
    return { ...claim, whenBack: (callback) => this.#waiting.atPort(kind, port, callback) };
  }

  /** The route of a name whose client has not been here since the server started. */
  awayHostRoute(name: string, route: Route): Route {
    if (!this.#mayReturn(this.#startedAt)) return route;
    return { ...route, whenBack: (callback) => this.#waiting.atHost(name, callback) };
  }

  awayPortRoute(kind: PortKind, port: number, route: Route): Route {
    if (!this.#mayReturn(this.#startedAt)) return route;
    return { ...route, whenBack: (callback) => this.#waiting.atPort(kind, port, callback) };
  }

  /** Gives a session all its places, whoever had them. */
  take(session: Session): void {
    const claims = session.tunnels.map((tunnel) => claimOf(session, tunnel));
    for (const claim of claims) this.#enter(claim);
    this.#held.set(session, claims);
    this.#onChange();
    // The session gets its first connection in this turn of the event loop, and takes no streams before.
    setImmediate(() => this.#waiting.wake(session.tunnels));
  }

  /** The session serves its names no longer; they stay its key's for a while, and free for a client of that key. */
  withdraw(session: Session): void {
    const claims = this.#held.get(session);
    if (!claims) return;
    this.#held.delete(session);
    const now = this.#now();
    for (const claim of claims) {
      claim.open = undefined;
      claim.visitorLeft = undefined;
      claim.session = undefined;
      claim.leftAt = now;
      this.#kept.add(claim);
    }
    this.#forgetBeyondLimit(session.keyId);
    this.#onChange();
  }

  /** Keeps nothing for keys that are no more. */
  forget(keyIds: ReadonlySet<string>): void {
    for (const keyId of keyIds) for (const claim of this.#kept.ofKey(keyId)) this.#drop(claim);
  }

  /** To be called now and then. Until then what has expired takes memory, and counts for nothing. */
  forgetExpired(): void {
    for (const claims of this.#kept.byKey()) {
      for (const claim of claims) {
        if (!this.#isExpired(claim)) break;
        this.#drop(claim);
      }
    }
  }

  /** What clients have asked for, and hold or have kept. A name that changes hands meanwhile may be left out, or come twice. */
  *reservations(): Generator<Reservation> {
    const clockAhead = Date.now() - this.#now();
    let run: (Reservation & { places: Place[] }) | undefined;
    for (const claim of this.#keptClaims()) {
      if (!claim.isAsked) continue;
      const { keyId, clientId } = claim;
      const leftAt = Math.round(claim.leftAt + clockAhead);
      if (run && run.keyId === keyId && run.clientId === clientId && run.leftAt === leftAt) {
        run.places.push(...this.#left(claim));
        continue;
      }
      if (run) yield run;
      run = { keyId, clientId, leftAt, places: this.#left(claim) };
    }
    if (run) yield run;
    for (const [{ keyId, clientId }, claims] of this.#held) {
      const places = claims.filter(({ isAsked }) => isAsked).map(({ place }) => place);
      if (places.length > 0) yield { keyId, clientId, places };
    }
  }

  /**
   * Keeps what was held or kept when the server stopped, for its usual time from now on.
   *
   * @param keyName undefined for keys that are no more
   */
  restore(reservations: Iterable<Reservation>, keyName: (keyId: string) => string | undefined): void {
    const keyIds = new Set<string>();
    for (const { keyId, clientId, places } of reservations) {
      const key = keyName(keyId);
      if (key === undefined) continue;
      keyIds.add(keyId);
      for (const place of places) {
        const claim = keptClaim(place, { keyId, key, clientId, leftAt: this.#startedAt });
        this.#enter(claim);
        this.#kept.add(claim);
      }
    }
    for (const keyId of keyIds) this.#forgetBeyondLimit(keyId);
  }

  *#keptClaims(): Generator<Claim> {
    for (const claims of this.#kept.byKey()) yield* claims;
  }

  /** What is still the claim's own. */
  #left(claim: Claim): Place[] {
    const { place } = claim;
    if ("hostname" in place) return [place];
    const { kind, port, ports } = place;
    if (claim.names === ports) return [place];
    const left: PortPlace[] = [];
    for (let each = port; each < port + ports; each++) {
      if (this.#ports[kind][each] !== claim) continue;
      const last = left.at(-1);
      if (last && last.port + last.ports === each) last.ports++;
      else left.push({ kind, port: each, ports: 1 });
    }
    return left;
  }

  #forgetBeyondLimit(keyId: string): void {
    for (const claim of this.#kept.ofKey(keyId)) {
      if (this.#kept.namesOfKey(keyId) <= MAX_KEPT) return;
      this.#drop(claim);
    }
  }

  #enter(claim: Claim): void {
    const { place } = claim;
    if ("hostname" in place) {
      const name = hostName(place);
      this.#lose(this.#hosts.get(name), 1);
      this.#hosts.set(name, claim);
      return;
    }
    const ports = this.#ports[place.kind];
    const end = place.port + place.ports;
    for (let port = place.port; port < end;) {
      const next = endOfRun(ports, port, end);
      this.#lose(ports[port], next - port);
      ports.fill(claim, port, next);
      port = next;
    }
  }

  #lose(claim: Claim | undefined, names: number): void {
    if (claim) this.#kept.lose(claim, names);
  }

  #drop(claim: Claim): void {
    this.#kept.delete(claim);
    this.#onChange();
    const { place } = claim;
    if ("hostname" in place) {
      // One that somebody else has taken is not kept any more.
      this.#hosts.delete(hostName(place));
      return;
    }
    const ports = this.#ports[place.kind];
    for (let port = place.port; port < place.port + place.ports; port++)
      if (ports[port] === claim) ports[port] = undefined;
  }

  #current(claim: Claim | undefined): Claim | undefined {
    if (!claim || !this.#isExpired(claim)) return claim;
    this.#drop(claim);
    return undefined;
  }

  #isExpired({ session, leftAt }: Claim): boolean {
    return session === undefined && this.#now() - leftAt > KEPT_MS;
  }

  #mayReturn(leftAt: number): boolean {
    return this.#now() - leftAt <= RETURNING_MS;
  }
}

function claimOf(session: Session, tunnel: SessionTunnel): Claim {
  return {
    place: tunnel,
    isAsked: tunnel.request !== undefined,
    tunnelId: tunnel.id,
    tunnel: tunnel.name,
    key: session.keyName,
    keyId: session.keyId,
    clientId: session.clientId,
    hostHeader: tunnel.hostHeader,
    scheme: tunnel.scheme,
    timeoutMs: tunnel.timeoutMs,
    proxyProtocol: tunnel.proxyProtocol,
    limits: tunnel.limits,
    visitorLeft: (visitorConnection) => session.visitorLeft(visitorConnection),
    session,
    leftAt: 0,
    names: namesIn(tunnel),
    open: opener(session, tunnel, 0),
  };
}

/** How far the same value goes on in an array, at most to `end`. */
function endOfRun(values: readonly unknown[], start: number, end: number): number {
  let next = start + 1;
  while (next < end && values[next] === values[start]) next++;
  return next;
}

/** Its tunnel has a name only in the session that was before the server's start. */
function keptClaim(place: Place, of: Pick<Claim, "keyId" | "key" | "clientId" | "leftAt">): Claim {
  return {
    ...of,
    place,
    isAsked: true,
    tunnelId: 0,
    tunnel: placeInWords(place),
    session: undefined,
    names: namesIn(place),
  };
}

function namesIn(place: Place): number {
  return "hostname" in place ? 1 : place.ports;
}

function opener(
  session: Session,
  { id, kind }: Pick<SessionTunnel, "id" | "kind">,
  portOffset: number,
): Route["open"] {
  return ({ requestId, visitor, head, end, visitorConnection }, handler) =>
    session.open({ tunnel: id, kind, requestId, visitor, head, end, portOffset, visitorConnection }, handler);
}

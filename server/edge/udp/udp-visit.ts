import type { RemoteInfo } from "node:dgram";
import { MAX_DATAGRAM_BYTES } from "../../../link/chunks.ts";
import { type LinkStream, SILENT, type StreamHandler } from "../../../link/stream.ts";
import { plainAddress } from "../../../runtime/ip-address.ts";
import type { Log } from "../../../runtime/log.ts";
import { formatAddress } from "../../../runtime/net-address.ts";
import type { Route } from "../../routing/route.ts";
import { newRequestId } from "../request-id.ts";
import { type DropReason, Drops } from "./drops.ts";
import type { Place } from "./tunnel-visitors.ts";
import type { UdpPort } from "./udp-port.ts";

/** A DNS resolver asks again after 5 s, a WireGuard peer speaks every 25 s; RFC 4787 has NATs wait 120 s, most take 30 to 60. */
const IDLE_MS = 60_000;
const NOTHING = Buffer.alloc(0);

export interface UdpVisitOptions {
  port: UdpPort;
  /** The visitor's address and port, as the socket has them. */
  from: RemoteInfo;
  route: Route;
  open: NonNullable<Route["open"]>;
  place: Place;
  /** Of all visitors. */
  drops: Drops;
  log: Pick<Log, "info">;
  onClosed: () => void;
}

/** What is exchanged with one address and port of a visitor, and the stream that carries it. */
export class UdpVisit {
  readonly requestId = newRequestId();
  readonly idleMs: number;
  /** When something was last exchanged; as `performance.now`. */
  usedAt = performance.now();
  readonly #options: UdpVisitOptions;
  readonly #startedAt = performance.now();
  readonly #stream: LinkStream;
  readonly #drops = new Drops();
  readonly #sent = (error: Error | null): void => {
    if (error) this.#drop("unsent");
  };
  #bytesIn = 0;
  #bytesOut = 0;
  #datagramsIn = 0;
  #datagramsOut = 0;
  #over = false;

  /** @throws TunnelError `overloaded` */
  constructor(options: UdpVisitOptions) {
    this.#options = options;
    const { from, route, open } = options;
    this.idleMs = route.limits?.idleTimeoutMs ?? IDLE_MS;
    const handler: StreamHandler = {
      ...SILENT,
      datagram: (datagram) => this.#toVisitor(datagram),
      end: () => this.end(),
      reset: (code, detail) => this.#close(code, detail),
    };
    this.#stream = open(
      { requestId: this.requestId, visitor: visitorOf(from), head: NOTHING, end: false },
      handler,
    );
  }

  /** A datagram of the visitor. */
  take(datagram: Buffer): void {
    this.usedAt = performance.now();
    const reason = this.#pass(datagram);
    if (reason !== undefined) return this.#drop(reason);
    this.#datagramsIn++;
    this.#bytesIn += datagram.length;
  }

  /** Lets the visitor go; without a failure, since for UDP to fall silent is the only end there is. */
  end(failure?: string): void {
    if (this.#over) return;
    this.#stream.reset("CANCELLED", failure ?? "idle");
    this.#close(failure, undefined);
  }

  #pass(datagram: Buffer): DropReason | undefined {
    if (datagram.length > MAX_DATAGRAM_BYTES) return "tooLarge";
    if (this.#options.place.bandwidth?.toService.take(datagram.length) === false) return "bandwidth";
    return this.#stream.send(datagram) ? undefined : "full";
  }

  #toVisitor(datagram: Buffer): void {
    this.usedAt = performance.now();
    // At once: what the port holds is bounded by itself, and drops what is too much.
    this.#stream.consumed(datagram.length);
    const { port, from, place } = this.#options;
    if (place.bandwidth?.toVisitor.take(datagram.length) === false) return this.#drop("bandwidth");
    if (!port.send(datagram, from, this.#sent)) return this.#drop("unsent");
    this.#datagramsOut++;
    this.#bytesOut += datagram.length;
  }

  #drop(reason: DropReason): void {
    this.#drops.add(reason);
    this.#options.drops.add(reason);
  }

  #close(failure: string | undefined, detail: string | undefined): void {
    if (this.#over) return;
    this.#over = true;
    const { port, from, route, place, log, onClosed } = this.#options;
    place.leave();
    onClosed();
    log.info(
      {
        requestId: this.requestId,
        visitor: visitorOf(from),
        kind: "udp",
        port: port.port,
        bytesIn: this.#bytesIn,
        bytesOut: this.#bytesOut,
        datagramsIn: this.#datagramsIn,
        datagramsOut: this.#datagramsOut,
        dropped: this.#drops.take(),
        tunnel: route.tunnel,
        key: route.key,
        failure,
        detail,
        durationMs: Math.round(performance.now() - this.#startedAt),
      },
      "connection",
    );
  }
}

function visitorOf({ address, port }: RemoteInfo): string {
  return formatAddress({ host: plainAddress(address) ?? address, port });
}

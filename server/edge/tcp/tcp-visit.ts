import type { Socket } from "node:net";
import { TunnelError } from "../../../link/errors.ts";
import { joinSocket } from "../../../link/join-socket.ts";
import type { Kind } from "../../../link/messages.ts";
import { type LinkStream, SILENT } from "../../../link/stream.ts";
import type { AddressRanges } from "../../../runtime/address-ranges.ts";
import { networkOf, plainAddress } from "../../../runtime/ip-address.ts";
import type { Log } from "../../../runtime/log.ts";
import { formatAddress } from "../../../runtime/net-address.ts";
import type { Route } from "../../routing/route.ts";
import { Hold } from "../hold.ts";
import { newRequestId } from "../request-id.ts";
import { type Endpoint, ProxyHeaderReader, writeProxyHeader } from "./proxy-header.ts";
import type { TrafficShare, TunnelTraffic } from "./tunnel-traffic.ts";

/** Why a visitor's connection ended otherwise than by itself; in the log. */
export type VisitFailure = string;

export interface TcpVisitOptions {
  /** Just taken, and paused. */
  socket: Socket;
  kind: Extract<Kind, "TCP" | "TLS">;
  findRoute: () => Route | undefined;
  /** Who says by a PROXY header who visits. */
  proxies: AddressRanges;
  traffic: TunnelTraffic;
  /** How long to wait for a client that may come back. */
  holdMs: number;
  headTimeoutMs: number;
  log: Pick<Log, "info">;
  onClosed: () => void;
}

const NOTHING = Buffer.alloc(0);

/** One visitor's connection, and the stream that carries its bytes. */
export class TcpVisit {
  readonly requestId = newRequestId();
  /** The other end of the socket is believed when it says who visits. */
  readonly trusted: boolean;
  /** Whose the other end of the socket is (runtime/ip-address.ts). */
  readonly network: string;
  readonly #options: TcpVisitOptions;
  readonly #socket: Socket;
  readonly #startedAt = performance.now();
  #source: Endpoint;
  #destination: Endpoint;
  #route: Route | undefined;
  #hold: Hold | undefined;
  #share: TrafficShare | undefined;
  #stream: LinkStream | undefined;
  #failure: VisitFailure | undefined;
  #detail: string | undefined;

  constructor(options: TcpVisitOptions) {
    const { socket } = options;
    this.#options = options;
    this.#socket = socket;
    this.#source = endpoint(socket.remoteAddress, socket.remotePort);
    this.#destination = endpoint(socket.localAddress, socket.localPort);
    this.network = networkOf(this.#source.address);
    this.trusted = options.proxies.has(this.#source.address);
    socket.on("error", ({ code, message }: NodeJS.ErrnoException) =>
      this.#fail("CONNECTION_LOST", code ?? message),
    );
    socket.once("close", () => this.#closed());
  }

  /** Its address and port, for logs. */
  get visitor(): string {
    const { address, port } = this.#source;
    return formatAddress({ host: address, port });
  }

  start(): void {
    if (this.trusted) this.#readProxyHeader();
    else this.#pass(NOTHING);
  }

  /** Ends the connection at once. */
  cut(failure: VisitFailure, detail?: string): void {
    this.#fail(failure, detail);
    this.#stream?.reset("CANCELLED", failure);
    this.#socket.resetAndDestroy();
  }

  #readProxyHeader(): void {
    const socket = this.#socket;
    const reader = new ProxyHeaderReader();
    const timer = setTimeout(
      () => this.cut("TIMEOUT", "no PROXY header in time"),
      this.#options.headTimeoutMs,
    );
    const stop = (): void => {
      clearTimeout(timer);
      socket.off("data", read);
      socket.off("end", ended);
      socket.off("close", stop);
    };
    const read = (chunk: Buffer): void => {
      const reading = reader.push(chunk);
      if (reading.state === "more") return;
      stop();
      if (reading.state === "refused") return this.cut("BAD_PROXY_HEADER", reading.sentence);
      socket.pause();
      if (reading.endpoints) {
        this.#source = reading.endpoints.source;
        this.#destination = reading.endpoints.destination;
      }
      this.#pass(reading.rest);
    };
    const ended = (): void => this.cut("BAD_PROXY_HEADER", "the connection ended within it");
    socket.on("data", read);
    socket.on("end", ended);
    socket.on("close", stop);
    socket.resume();
  }

  /** @param early what has been read */
  #pass(early: Buffer): void {
    const route = this.#options.findRoute();
    this.#route ??= route;
    if (!route) return this.cut("NO_TUNNEL");
    if (!this.#share) {
      const share = this.#options.traffic.join(route, networkOf(this.#source.address));
      if (typeof share === "string") return this.cut("TOO_MANY", `the tunnel's ${share}`);
      this.#share = share;
    }
    if (route.open) this.#open(route, route.open, early);
    else this.#waitFor(route, early);
  }

  #waitFor({ whenBack }: Route, early: Buffer): void {
    const ms = this.#startedAt + this.#options.holdMs - performance.now();
    if (!whenBack || ms <= 0) return this.cut("OFFLINE");
    this.#hold = new Hold({
      whenBack,
      ms,
      back: () => this.#pass(early),
      tooLong: () => this.cut("OFFLINE"),
    });
  }

  #open(route: Route, open: NonNullable<Route["open"]>, early: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const { proxyProtocol, limits } = route;
    const head = proxyProtocol ? writeProxyHeader(proxyProtocol, this.#source, this.#destination) : NOTHING;
    try {
      this.#stream = open({ requestId: this.requestId, visitor: this.visitor, head, end: false }, SILENT);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      return this.cut("OVERLOADED", error.message);
    }
    joinSocket(this.#stream, socket, {
      early,
      tolls: this.#share?.tolls,
      closed: (failure) => failure && this.#fail(failure.code, failure.detail),
    });
    if (limits?.idleTimeoutMs !== undefined) socket.setTimeout(limits.idleTimeoutMs, () => this.cut("IDLE"));
    socket.resume();
  }

  /** The first reason is the one that counts. */
  #fail(failure: VisitFailure, detail: string | undefined): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#detail = detail;
  }

  #closed(): void {
    this.#hold?.end();
    this.#share?.leave();
    this.#options.onClosed();
    const { kind, log } = this.#options;
    log.info(
      {
        requestId: this.requestId,
        visitor: this.visitor,
        kind: kind.toLowerCase(),
        port: this.#destination.port,
        bytesIn: this.#socket.bytesRead,
        bytesOut: this.#socket.bytesWritten,
        tunnel: this.#route?.tunnel,
        key: this.#route?.key,
        failure: this.#failure,
        detail: this.#detail,
        durationMs: Math.round(performance.now() - this.#startedAt),
      },
      "connection",
    );
  }
}

function endpoint(address: string | undefined, port: number | undefined): Endpoint {
  return { address: plainAddress(address ?? "") ?? "0.0.0.0", port: port ?? 0 };
}

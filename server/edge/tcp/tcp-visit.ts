import type { Socket } from "node:net";
import { TunnelError } from "../../../link/errors.ts";
import { joinSocket } from "../../../link/join-socket.ts";
import { resetSocket } from "../../../link/reset-socket.ts";
import { type LinkStream, SILENT } from "../../../link/stream.ts";
import { Holding, type UnreadBudget } from "../../../link/unread-budget.ts";
import type { AddressRanges } from "../../../runtime/address-ranges.ts";
import { networkOf, plainAddress } from "../../../runtime/ip-address.ts";
import type { Log } from "../../../runtime/log.ts";
import { formatAddress } from "../../../runtime/net-address.ts";
import type { Route } from "../../routing/route.ts";
import { Hold } from "../hold.ts";
import { newRequestId } from "../request-id.ts";
import { ResetProbe } from "../reset-probe.ts";
import { ClientHelloReader, unrecognizedName } from "./client-hello.ts";
import { boundReadAhead, stopReading } from "./read-ahead.ts";
import { type Endpoint, ProxyHeaderReader, writeProxyHeader } from "./proxy-header.ts";
import type { TrafficShare, TunnelTraffic } from "./tunnel-traffic.ts";

/** How the route of a visitor is found: by the port, or by the hostname that its ClientHello names ("*" if it names none). */
export type FindRoute =
  | { kind: "TCP"; find: () => Route | undefined }
  | { kind: "TLS"; find: (hostname: string) => Route | undefined };

export interface TcpVisitOptions {
  /** Just taken, and paused. */
  socket: Socket;
  findRoute: FindRoute;
  /** Who says by a PROXY header who visits. */
  proxies: AddressRanges;
  traffic: TunnelTraffic;
  /** How long to wait for a client that may come back. */
  holdMs: number;
  /** How long a PROXY header and a ClientHello may take, if not `MAX_HEAD_MS`. */
  headTimeoutMs: number;
  /** Counts what has come of all visitors, and nobody has taken. */
  unread: UnreadBudget;
  log: Pick<Log, "info">;
  onClosed: () => void;
}

const NOTHING = Buffer.alloc(0);
/** Both are a connection's first bytes, sent without waiting for anything: no reason to keep them for as long as a request's head. */
const MAX_HEAD_MS = 10_000;

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
  readonly #probe: ResetProbe;
  /** What has come of this visitor, and waits: for the rest of a head, for its client, for credit. */
  readonly #holding: Holding;
  #source: Endpoint;
  #destination: Endpoint;
  /** Where it arrived. */
  readonly #port: number;
  /** That it named. */
  #hostname: string | undefined;
  #headTimer: NodeJS.Timeout | undefined;
  #route: Route | undefined;
  #hold: Hold | undefined;
  #share: TrafficShare | undefined;
  #stream: LinkStream | undefined;
  /** What had moved when that was last looked at, and when that had last changed. */
  #movedBytes = 0;
  #movedAt = 0;
  /** Why it ended otherwise than by itself; in the log. */
  #failure: string | undefined;
  #detail: string | undefined;

  constructor(options: TcpVisitOptions) {
    const { socket } = options;
    this.#options = options;
    this.#socket = socket;
    this.#probe = new ResetProbe(socket);
    this.#holding = new Holding(options.unread, this);
    boundReadAhead(socket, () => options.unread.pressed);
    this.#source = endpoint(socket.remoteAddress, socket.remotePort);
    this.#destination = endpoint(socket.localAddress, socket.localPort);
    this.#port = this.#destination.port;
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
    const { headTimeoutMs, findRoute } = this.#options;
    if (this.trusted || findRoute.kind === "TLS") {
      this.#headTimer = setTimeout(
        () => this.cut("TIMEOUT", "it did not say in time whom it wants"),
        Math.min(headTimeoutMs, MAX_HEAD_MS),
      );
    }
    if (this.trusted) this.#readProxyHeader();
    else this.#greet(NOTHING);
  }

  /** Ends the connection at once. */
  cut(failure: string, detail?: string): void {
    this.#fail(failure, detail);
    this.#stream?.reset("CANCELLED", failure);
    resetSocket(this.#socket);
  }

  /** Too much waits, of all visitors together. */
  shed(): void {
    this.cut("OVERLOADED", "too much lies unread (limits.visitor_unread_bytes)");
  }

  /**
   * Looks whether the visitor is still there, and whether anything has moved lately.
   *
   * @param now to be called with, every `LOOK_MS`
   */
  look(now: number): void {
    this.#probe.look();
    const idleMs = this.#stream && this.#route?.limits?.idleTimeoutMs;
    if (idleMs === undefined) return;
    const { bytesRead, bytesWritten, writableLength } = this.#socket;
    const moved = bytesRead + bytesWritten - writableLength;
    if (moved !== this.#movedBytes) {
      this.#movedBytes = moved;
      this.#movedAt = now;
    } else if (now - this.#movedAt >= idleMs) this.cut("IDLE");
  }

  #readProxyHeader(): void {
    const reader = new ProxyHeaderReader();
    this.#readHead(reader, NOTHING, (chunk) => {
      const reading = reader.push(chunk);
      if (reading.state === "more") return true;
      if (reading.state === "refused") this.cut("BAD_PROXY_HEADER", reading.sentence);
      else {
        this.#source = reading.endpoints?.source ?? this.#source;
        this.#destination = reading.endpoints?.destination ?? this.#destination;
        this.#greet(reading.rest);
      }
      return false;
    });
  }

  /** @param early what has been read behind a PROXY header */
  #greet(early: Buffer): void {
    const { findRoute } = this.#options;
    if (findRoute.kind === "TCP") return this.#pass(findRoute.find, early);
    const reader = new ClientHelloReader();
    this.#readHead(reader, early, (chunk) => {
      const reading = reader.push(chunk);
      if (reading.state === "more") return true;
      if (reading.state === "refused") this.cut("BAD_CLIENT_HELLO", reading.sentence);
      else {
        this.#hostname = reading.hostname;
        this.#pass(() => findRoute.find(reading.hostname ?? "*"), reader.bytes);
      }
      return false;
    });
  }

  /**
   * Reads what comes before the connection is given away.
   *
   * @param early what has been read of it
   * @param push takes a chunk; returns whether there is more to come
   */
  #readHead(reader: { readonly heldBytes: number }, early: Buffer, push: (chunk: Buffer) => boolean): void {
    const goesOn = (chunk: Buffer): boolean => {
      if (!push(chunk)) return false;
      this.#holding.set(reader.heldBytes);
      return this.#failure === undefined;
    };
    if (early.length > 0 && !goesOn(early)) return;
    const socket = this.#socket;
    const stop = (): void => {
      socket.off("data", read);
      socket.off("end", ended);
    };
    const read = (chunk: Buffer): void => {
      socket.pause();
      // Who waits for a client holds what was read as a head, and nothing more.
      stopReading(socket);
      stop();
      if (!goesOn(chunk)) return;
      socket.on("data", read);
      socket.on("end", ended);
      socket.resume();
    };
    const ended = (): void => this.cut("CONNECTION_LOST", "it ended before it said whom it wants");
    socket.on("data", read);
    socket.on("end", ended);
    socket.resume();
  }

  /** @param early what has been read for the local service */
  #pass(find: () => Route | undefined, early: Buffer): void {
    clearTimeout(this.#headTimer);
    const route = find();
    this.#route ??= route;
    if (!route) return this.#noTunnel();
    if (!this.#share) {
      const share = this.#options.traffic.join(route, networkOf(this.#source.address));
      if (typeof share === "string") return this.cut("TOO_MANY", `the tunnel's ${share}`);
      this.#share = share;
    }
    if (route.open) this.#open(route, route.open, early);
    else this.#waitFor(route, early, () => this.#pass(find, early));
  }

  #noTunnel(): void {
    if (this.#options.findRoute.kind === "TCP") return this.cut("NO_TUNNEL");
    this.#fail("NO_TUNNEL", undefined);
    // A browser then says something better than of a connection that was reset.
    this.#socket.end(unrecognizedName(), () => this.#socket.destroy());
  }

  #waitFor({ whenBack }: Route, early: Buffer, back: () => void): void {
    const ms = this.#startedAt + this.#options.holdMs - performance.now();
    if (!whenBack || ms <= 0) return this.cut("OFFLINE");
    this.#holding.set(early.buffer.byteLength);
    if (this.#failure !== undefined) return;
    this.#hold = new Hold({
      whenBack,
      ms,
      back,
      tooLong: () => this.cut("OFFLINE"),
    });
  }

  #open(route: Route, open: NonNullable<Route["open"]>, early: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const { proxyProtocol } = route;
    const head = proxyProtocol ? writeProxyHeader(proxyProtocol, this.#source, this.#destination) : NOTHING;
    try {
      this.#stream = open({ requestId: this.requestId, visitor: this.visitor, head, end: false }, SILENT);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      return this.cut("OVERLOADED", error.message);
    }
    this.#stream.sendHolding = this.#holding;
    this.#holding.set(0);
    this.#movedAt = performance.now();
    joinSocket(this.#stream, socket, {
      early,
      tolls: this.#share?.tolls,
      closed: (failure) => failure && this.#fail(failure.code, failure.detail),
    });
  }

  /** The first reason is the one that counts. */
  #fail(failure: string, detail: string | undefined): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#detail = detail;
    this.#holding.set(0);
  }

  #closed(): void {
    clearTimeout(this.#headTimer);
    this.#hold?.end();
    this.#share?.leave();
    this.#holding.set(0);
    this.#options.onClosed();
    const { findRoute, log } = this.#options;
    log.info(
      {
        requestId: this.requestId,
        visitor: this.visitor,
        kind: findRoute.kind.toLowerCase(),
        port: this.#port,
        hostname: this.#hostname,
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

import { parseRequestHead } from "../../link/http-head.ts";
import type { Kind, Open, ResetCode } from "../../link/messages.ts";
import type { LinkStream } from "../../link/stream.ts";
import { relayBytes, type RelayOutcome } from "./byte-relay.ts";
import { relayDatagrams } from "./datagram-relay.ts";
import { type HttpOutcome, serveHttp } from "./http-exchange.ts";
import type { LocalService } from "./local-service.ts";

/** A tunnel as the client serves it. */
export interface LocalTunnel {
  name: string;
  kind: Kind;
  /** How many it has at the service, one behind the other. */
  ports: number;
  service: LocalService;
}

/** Which stream of which tunnel it was. */
interface Finished {
  requestId: string;
  /** The visitor's address, as the server saw it. */
  visitor: string;
  /** The tunnel's name; empty if the client knows none by its id. */
  tunnel: string;
  /** From the arrival of the head to the end. */
  ms: number;
}

/** For the client's line per connection. */
export interface FinishedRelay extends RelayOutcome, Finished {}

/** For the client's line per request. */
export interface FinishedExchange extends HttpOutcome, Finished {}

export interface ServeOptions {
  /** By `Tunnel.id` of the session. */
  tunnels: ReadonlyMap<number, LocalTunnel>;
  /** Whether the server takes statuses from 600 to 999. */
  wideStatuses?: boolean | undefined;
  /** Called once for each stream of HTTP, and each that cannot be served, whatever happened. */
  finished: (exchange: FinishedExchange) => void;
  /** Called once for each other stream. */
  finishedRelay: (relay: FinishedRelay) => void;
}

/** Serves a stream that the server opened. Sets its handler before it returns, or resets it. */
export function serveStream(stream: LinkStream, open: Open, options: ServeOptions): void {
  const { tunnels, wideStatuses, finished } = options;
  const startMs = performance.now();
  const tunnel = tunnels.get(open.tunnel);
  const name = tunnel?.name ?? "";
  // Not `open`: its head would stay for as long as the visitor waits.
  const { requestId, visitor } = open;
  // Each field by its name: copies of objects on the path of a request took 9 % of the client's time (profile).
  const report = ({ method, target, status, failure, detail }: HttpOutcome) =>
    finished({
      method,
      target,
      status,
      failure,
      detail,
      requestId,
      visitor,
      tunnel: name,
      ms: performance.now() - startMs,
    });
  if (tunnel?.kind === open.kind && (open.portOffset ?? 0) < tunnel.ports) {
    const { service } = tunnel;
    if (tunnel.kind === "HTTP") return serveHttp(stream, open, { service, wideStatuses, finished: report });
    const finishedRelay = (outcome: RelayOutcome): void =>
      options.finishedRelay({
        ...outcome,
        requestId,
        visitor,
        tunnel: name,
        ms: performance.now() - startMs,
      });
    const relay = tunnel.kind === "UDP" ? relayDatagrams : relayBytes;
    return relay(stream, open, { service, finished: finishedRelay });
  }
  const code: ResetCode = tunnel ? "UNSUPPORTED" : "UNKNOWN_TUNNEL";
  const detail = tunnel
    ? `the tunnel ${name} does not serve ${open.kind} streams`
    : `the client has no tunnel ${open.tunnel}`;
  stream.reset(code, detail);
  report({ ...startLine(open), failure: code, detail });
}

function startLine(open: Open): { method: string; target: string } {
  try {
    const { method, target } = parseRequestHead(open.head);
    return { method, target };
  } catch {
    return { method: "", target: "" };
  }
}

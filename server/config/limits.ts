import { z } from "zod";
import { wholeNumber } from "../../runtime/config-option.ts";
import type { TunnelLimits } from "../routing/route.ts";

/** What one party may use of the server, so that the others keep theirs. */
export interface Limits {
  /** Of a request's head. */
  headBytes: number;
  headFields: number;
  /** How long a request's head may take. */
  headTimeoutMs: number;
  /** How long a visitor's connection may wait for its next request. */
  idleTimeoutMs: number;
  /** How long a visitor may neither send what it has begun nor read what it is sent. */
  stalledTimeoutMs: number;
  /** Of a request's body; Infinity for none. */
  bodyBytes: number;
  /** Visitors' connections over HTTP; as many at TCP ports, and as many over TLS. */
  connections: number;
  /** Of one address. */
  connectionsPerVisitor: number;
  requestsPerTunnel: number;
  requestsPerKey: number;
  /** Of one address. */
  requestsPerVisitor: number;
  sessionsPerKey: number;
  sessionsPerAddress: number;
  /** Hostnames that all clients of a key together may ask for; and ports. What is mapped to the key is not counted. */
  namesPerKey: number;
  portsPerKey: number;
  /** Visitors that are served through one client. */
  streamsPerSession: number;
  /** That have come from clients, and that no visitor has read yet. */
  unreadBytes: number;
  /** That have come from visitors at TCP ports and over TLS, and that no client has taken yet. */
  visitorUnreadBytes: number;
}

/** What setTimeout can wait for, in a number that people recognise: 24 days. */
const MAX_DURATION_MS = 24 * 24 * 3_600_000;

const KIB = 1024;
const MIB = 1024 * KIB;
const count = wholeNumber({ min: 1 });
export const durationMs = wholeNumber({ unit: "milliseconds", min: 1, max: MAX_DURATION_MS });
/** 0 for not at all. */
export const optionalDurationMs = wholeNumber({ unit: "milliseconds", min: 0, max: MAX_DURATION_MS });

const unreadBytes = wholeNumber({ unit: "bytes", min: 4 * MIB }).default(256 * MIB);

/** The `limits:` of the config. */
export const limitOptions = z
  .strictObject({
    // Node's own limit is 16 KiB, and cookies of several sites under one domain exceed it.
    head_bytes: wholeNumber({ unit: "bytes", min: 1 * KIB, max: 256 * KIB }).default(32 * KIB),
    head_fields: wholeNumber({ min: 1, max: 2_000 }).default(256),
    // As nginx's client_header_timeout.
    head_timeout_ms: durationMs.default(60_000),
    // As nginx's keepalive_timeout; longer than the 60 s that load balancers keep theirs.
    idle_timeout_ms: durationMs.default(75_000),
    // A video that is paused for as long is asked for again by its player.
    stalled_timeout_ms: durationMs.default(600_000),
    body_bytes: z
      .union([wholeNumber({ unit: "bytes", min: 0 }), z.literal("none")], {
        error: () => "expected a whole number of bytes, or none",
      })
      .default("none"),
    // 10 to 20 KB each: 10,000 that wait for an answer, and others that are idle.
    connections: count.default(16_000),
    connections_per_visitor: count.default(12_000),
    requests_per_tunnel: count.default(16_000),
    requests_per_key: count.default(16_000),
    // Less than a tunnel may have, so that one visitor cannot shut the others out; more than a proxy in front needs.
    requests_per_visitor: count.default(12_000),
    sessions_per_key: count.default(2_000),
    sessions_per_address: count.default(4_000),
    // Sixteen clients with as many tunnels as one may have.
    names_per_key: count.default(4_096),
    // A fifth of those that the server has to give away; each costs it a descriptor.
    ports_per_key: count.default(2_000),
    streams_per_session: count.default(16_000),
    // What a VPS of 1 GB has to spare.
    unread_bytes: unreadBytes,
    visitor_unread_bytes: unreadBytes,
  })
  .prefault({})
  .transform((limits): Limits => ({
    headBytes: limits.head_bytes,
    headFields: limits.head_fields,
    headTimeoutMs: limits.head_timeout_ms,
    idleTimeoutMs: limits.idle_timeout_ms,
    stalledTimeoutMs: limits.stalled_timeout_ms,
    bodyBytes: limits.body_bytes === "none" ? Infinity : limits.body_bytes,
    connections: limits.connections,
    connectionsPerVisitor: limits.connections_per_visitor,
    requestsPerTunnel: limits.requests_per_tunnel,
    requestsPerKey: limits.requests_per_key,
    requestsPerVisitor: limits.requests_per_visitor,
    sessionsPerKey: limits.sessions_per_key,
    sessionsPerAddress: limits.sessions_per_address,
    namesPerKey: limits.names_per_key,
    portsPerKey: limits.ports_per_key,
    streamsPerSession: limits.streams_per_session,
    unreadBytes: limits.unread_bytes,
    visitorUnreadBytes: limits.visitor_unread_bytes,
  }));

/** What the visitors of one tunnel may use: options of the tunnel itself, of those types that carry bytes. */
export const tunnelLimitOptions = {
  connections: count.optional(),
  connections_per_visitor: count.optional(),
  idle_timeout_ms: durationMs.optional(),
  bytes_per_second: wholeNumber({ unit: "bytes per second", min: 1 }).optional(),
};

/** Undefined where the tunnel has none. */
export function tunnelLimits(
  options: z.output<z.ZodObject<typeof tunnelLimitOptions>>,
): TunnelLimits | undefined {
  const limits: TunnelLimits = {
    ...(options.connections !== undefined && { connections: options.connections }),
    ...(options.connections_per_visitor !== undefined && {
      connectionsPerVisitor: options.connections_per_visitor,
    }),
    ...(options.idle_timeout_ms !== undefined && { idleTimeoutMs: options.idle_timeout_ms }),
    ...(options.bytes_per_second !== undefined && { bytesPerSecond: options.bytes_per_second }),
  };
  return Object.keys(limits).length > 0 ? limits : undefined;
}

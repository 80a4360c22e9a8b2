/** The messages of proto/tunnel.proto as @grpc/proto-loader hands them over (see contract.ts for its options). */

export type Kind = "HTTP" | "TCP" | "UDP" | "TLS";

export type ResetCode =
  | "CANCELLED"
  | "REFUSED"
  | "UNREACHABLE"
  | "NOT_ALLOWED"
  | "TIMEOUT"
  | "BAD_RESPONSE"
  | "CONNECTION_LOST"
  | "UNKNOWN_TUNNEL"
  | "SHUTTING_DOWN"
  | "OVERLOADED"
  | "UNSUPPORTED"
  | "INTERNAL"
  | "COMPLETE";

export interface TunnelRequest {
  name: string;
  kind: Kind;
  hostname: string;
  subdomain: string;
  target: string;
  hostHeader: string;
  timeoutMs: number;
  /** The first of them; 0 for any free one. */
  port?: number;
  /** How many, one behind the other; 0 is 1. */
  ports?: number;
  /** The version; 0 for none. */
  proxyProtocol?: number;
}

export interface Hello {
  protocolMin: number;
  protocolMax: number;
  keyId: Buffer;
  secret: Buffer;
  clientId: string;
  version: string;
  sessionToken: string;
  wanted: TunnelRequest[];
  streamCredit: number;
  features?: readonly string[];
}

export interface TargetTls {
  insecure: boolean;
  /** PEM. */
  ca: string;
  /** Empty: the target's host. */
  serverName: string;
  /** In place of it the Host of each request. */
  serverNameOfVisitor?: boolean;
}

export interface Tunnel {
  id: number;
  /** Index in `Hello.wanted`; absent for a tunnel that the server maps. */
  request?: number;
  name: string;
  kind: Kind;
  url: string;
  target: string;
  targetTls?: TargetTls | null;
  /** How many ports it has, in public and at the target. */
  ports?: number;
}

export interface Welcome {
  protocol: number;
  sessionToken: string;
  version: string;
  connections: number;
  tunnels: Tunnel[];
  streamCredit: number;
  features?: readonly string[];
}

export type TargetAnswer = "NOT_LOOKED_AT" | "ANSWERS" | "NO_ANSWER";

export interface TunnelState {
  /** `Tunnel.id` of the session. */
  tunnel: number;
  /** Whether the client's owner allows its target. */
  allowed: boolean;
  answer: TargetAnswer;
  /** For people; may be empty. */
  reason: string;
}

export interface Refused {
  code: string;
  message: string;
}

export interface Open {
  stream: number;
  /** `Tunnel.id` of the session. */
  tunnel: number;
  kind: Kind;
  requestId: string;
  /** The visitor's address, for the other end's log. */
  visitor: string;
  head: Buffer;
  /** No body follows. */
  end: boolean;
  /** What the other end may send on this stream at first; 0 or absent: what Hello or Welcome says. */
  credit?: number | undefined;
  /** Of a tunnel with several ports: which of them, from the first. */
  portOffset?: number | undefined;
  /** The visitor's connection, by a number that no other has while the server runs; 0 or absent: not known, or several share it. */
  visitorConnection?: number | undefined;
}

export interface Accept {
  stream: number;
  head: Buffer;
  end: boolean;
  /** Something is kept for `Open.visitorConnection`: `VisitorLeft` is to follow when that ends. */
  bound?: boolean | undefined;
}

export interface Interim {
  stream: number;
  head: Buffer;
}

export interface Credit {
  stream: number;
  bytes: number;
}

export interface Reset {
  stream: number;
  code: ResetCode;
  detail: string;
}

/** What is said about a session, and not about one of its streams. */
export type SessionMessage =
  | { message: "hello"; hello: Hello }
  | { message: "welcome"; welcome: Welcome }
  | { message: "refused"; refused: Refused }
  | { message: "tunnels"; tunnels: { tunnels: Tunnel[] } }
  | { message: "drain"; drain: { graceMs: number } }
  | { message: "tunnelStates"; tunnelStates: { tunnels: TunnelState[] } }
  | { message: "visitorLeft"; visitorLeft: { visitorConnection: number } };

export type Control =
  | SessionMessage
  | { message: "ping"; ping: { id: number } }
  | { message: "pong"; pong: { id: number } }
  | { message: "open"; open: Open }
  | { message: "accept"; accept: Accept }
  | { message: "interim"; interim: Interim }
  | { message: "credit"; credit: Credit }
  | { message: "reset"; reset: Reset };

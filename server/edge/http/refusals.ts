import type { StreamFailure } from "../../../link/stream.ts";

/** An answer that the edge gives on its own. */
export interface Refusal {
  readonly status: number;
  /** For logs. */
  readonly code: string;
  /** What happened, for the visitor: a sentence or two, without addresses or names of the inside. */
  readonly sentence: string;
  /** Seconds. */
  readonly retryAfter?: number;
  /** The connection cannot be used any more: where the next request begins is not certain. */
  readonly close?: boolean;
}

export const NO_TUNNEL: Refusal = {
  status: 404,
  code: "NO_TUNNEL",
  sentence: "No tunnel has this address. Check the name in the URL.",
};

export const OFFLINE: Refusal = {
  status: 503,
  code: "OFFLINE",
  sentence: "The tunnel at this address is offline: its client is not connected at the moment.",
  retryAfter: 10,
};

export const NO_ANSWER: Refusal = {
  status: 504,
  code: "TIMEOUT",
  sentence: "The service behind this address did not answer in time.",
};

export const TOO_MANY_FIELDS: Refusal = {
  status: 431,
  code: "HEAD_TOO_LARGE",
  sentence: "The request's head is too large, or has too many fields.",
  close: true,
};

export const BODY_TOO_LARGE: Refusal = {
  status: 413,
  code: "BODY_TOO_LARGE",
  sentence: "The request's body is larger than this server takes.",
};

/** RFC 6585 section 4. */
export const TOO_MANY_REQUESTS = {
  visitor: tooMany("VISITOR_LIMIT", "Too many requests from your address are open at this server."),
  tunnel: tooMany("TUNNEL_LIMIT", "Too many requests to this address are open."),
  key: tooMany("KEY_LIMIT", "Too many requests to tunnels of this address's owner are open."),
  client: tooMany("CLIENT_LIMIT", "The tunnel's client serves as many requests as it may at the moment."),
} as const;

export const HEAD_TIMEOUT: Refusal = {
  status: 408,
  code: "HEAD_TIMEOUT",
  sentence: "The request did not arrive in time.",
  close: true,
};

export const EXTENSIONS_TOO_LARGE: Refusal = {
  status: 413,
  code: "CHUNK_EXTENSIONS_TOO_LARGE",
  sentence: "The request's chunk extensions are too large.",
  close: true,
};

export const UNKNOWN_METHOD: Refusal = {
  status: 501,
  code: "UNKNOWN_METHOD",
  sentence: "The request's method is not known here.",
  close: true,
};

export const UNKNOWN_CODING: Refusal = {
  status: 501,
  code: "UNKNOWN_CODING",
  sentence: "The request's transfer coding is not known here: only chunked is.",
  close: true,
};

export const UNKNOWN_VERSION: Refusal = {
  status: 505,
  code: "UNKNOWN_VERSION",
  sentence: "The request's HTTP version is not spoken here: HTTP/1.1 and HTTP/1.0 are.",
  close: true,
};

export const NO_CONNECT: Refusal = {
  status: 405,
  code: "CONNECT",
  sentence: "CONNECT is not possible here: this is no forward proxy.",
  close: true,
};

export const CHUNKED_UPGRADE: Refusal = {
  status: 411,
  code: "CHUNKED_UPGRADE",
  sentence: "A request that asks for an upgrade needs a Content-Length for its body, or none.",
  close: true,
};

/** Bytes without end, before, between or behind requests. */
export const FLOOD: Refusal = malformedRequest("What was sent is no HTTP request.");

/** A request that breaks HTTP's rules, or could be read in two ways. */
export function malformedRequest(sentence: string): Refusal {
  return { status: 400, code: "MALFORMED_REQUEST", sentence, close: true };
}

/** What a visitor is told when the stream failed before the answer's head. */
export function refusalFor(failure: StreamFailure): Refusal {
  return STREAM_FAILURES[failure];
}

const STREAM_FAILURES: Record<StreamFailure, Refusal> = {
  CANCELLED: failed("CANCELLED", "The tunnel's client gave the request up."),
  REFUSED: failed(
    "REFUSED",
    "The service behind this address refused the connection. It may not be running.",
  ),
  UNREACHABLE: failed(
    "UNREACHABLE",
    "The service behind this address cannot be reached from the tunnel's client.",
  ),
  NOT_ALLOWED: failed(
    "NOT_ALLOWED",
    "The tunnel's client does not allow connections to the service behind this address.",
  ),
  TIMEOUT: NO_ANSWER,
  BAD_RESPONSE: failed(
    "BAD_RESPONSE",
    "The service behind this address gave an answer that is not valid HTTP/1.1, or has headers over 64 KiB.",
  ),
  CONNECTION_LOST: failed(
    "CONNECTION_LOST",
    "The service behind this address closed the connection before it answered.",
  ),
  UNKNOWN_TUNNEL: failed("UNKNOWN_TUNNEL", "The tunnel's client does not serve this address any more."),
  SHUTTING_DOWN: {
    status: 503,
    code: "SHUTTING_DOWN",
    sentence: "The tunnel's client is shutting down.",
    retryAfter: 10,
  },
  OVERLOADED: {
    status: 503,
    code: "OVERLOADED",
    sentence: "The tunnel is overloaded at the moment.",
    retryAfter: 10,
  },
  UNSUPPORTED: failed("UNSUPPORTED", "The tunnel's client is too old to serve this address."),
  INTERNAL: failed("INTERNAL", "The tunnel failed while it passed this request on."),
  COMPLETE: failed("COMPLETE", "The tunnel's client ended the request without an answer."),
  LINK_LOST: failed("LINK_LOST", "The connection to the tunnel's client was lost before the answer came."),
};

function tooMany(code: string, sentence: string): Refusal {
  return { status: 429, code, sentence, retryAfter: 5 };
}

function failed(code: StreamFailure, sentence: string): Refusal {
  return { status: 502, code, sentence };
}

import type { IncomingHttpHeaders } from "node:http";
import type { RawFields, ResponseHead } from "../../../link/http-head.ts";
import { networkOf } from "../../../runtime/ip-address.ts";
import { splitHostPort } from "../../routing/hostname.ts";
import type { RequestFacts } from "./request-check.ts";

/** About one connection only (RFC 9110 section 7.6.1), or about a proxy that the visitor did not know of. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** What a visitor cannot know better than we do; with every X-Forwarded-*. */
const SET_HERE: ReadonlySet<string> = new Set(["forwarded", "x-real-ip"]);

/** What proxies add to the requests that they pass on. */
const PROXY_FIELDS = ["forwarded", "via", "x-forwarded-for", "x-real-ip"] as const;

/** What Connection may not take away, since without it the message means something else. */
const NOT_TO_BE_NAMED: ReadonlySet<string> = new Set([
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "host",
]);

/** Fields that frame or route a message, which trailers must not hold (RFC 9110 section 6.5.1). */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "host", "transfer-encoding"]);

/** Who asks, as forwarding fields name it. */
export interface Peer {
  /** The address as it stands in X-Forwarded-For. */
  address: string;
  /** What limits count by (runtime/ip-address.ts). */
  network: string;
  /** The `for` node of RFC 7239 section 6, quoted where it must be. */
  forwardedFor: string;
  /** By which the visitor came. */
  scheme: "http" | "https";
  /** The Host that the visitor sent, where a proxy in front has passed on another. */
  host?: string;
  /** The port that the visitor came to, and the path that was taken off, as a proxy in front says. */
  port?: string;
  prefix?: string;
}

/** @param address in its plain spelling */
export function peerOf(address: string): Peer {
  return {
    address,
    network: networkOf(address),
    forwardedFor: address.includes(":") ? `"[${address}]"` : address,
    scheme: "http",
  };
}

export interface ForwardingOptions {
  peer: Peer;
  /** What the local service gets as Host; if left out, what the visitor sent. */
  hostHeader?: string | undefined;
  /** By which the local service gets the request. */
  scheme?: "http" | "https" | undefined;
  /** The protocols to pass on; empty for a request that stays HTTP. */
  upgrade: readonly string[];
}

/**
 * The fields that go to the local service: the visitor's own in their order, less what is about its connection, and who
 * the visitor is.
 */
export function requestFields(
  rawFields: RawFields,
  facts: RequestFacts,
  { peer, hostHeader = facts.host, scheme: ownScheme = "http", upgrade }: ForwardingOptions,
): RawFields {
  const fields: RawFields = [];
  const { address, forwardedFor, scheme, host = facts.host, port, prefix } = peer;
  const named = namedFields(facts.connectionOptions);
  let hostSeen = false;
  let upgradeSeen = false;
  let connectionSeen = false;
  for (let i = 0; i + 1 < rawFields.length; i += 2) {
    const name = rawFields[i]!;
    const lower = name.toLowerCase();
    if (lower === "host") {
      hostSeen = true;
      fields.push(name, hostHeader);
    } else if (upgrade.length > 0 && lower === "upgrade") {
      if (!upgradeSeen) fields.push(name, upgrade.join(", "));
      upgradeSeen = true;
    } else if (upgrade.length > 0 && lower === "connection") {
      if (!connectionSeen) fields.push(name, "Upgrade");
      connectionSeen = true;
    } else if (!staysBehind(lower, facts) && !named?.has(lower)) {
      const value = rawFields[i + 1]!;
      const isDestination = lower === "destination";
      fields.push(name, isDestination ? ownUri(value, host, `${ownScheme}://${hostHeader}`) : value);
    }
  }
  if (!hostSeen) fields.unshift("Host", hostHeader);
  fields.push(
    "X-Forwarded-For",
    address,
    "X-Forwarded-Proto",
    scheme,
    "X-Forwarded-Host",
    host,
    "Forwarded",
    `for=${forwardedFor};host=${tokenOrQuoted(host)};proto=${scheme}`,
    "X-Real-IP",
    address,
  );
  if (port !== undefined) fields.push("X-Forwarded-Port", port);
  if (prefix !== undefined) fields.push("X-Forwarded-Prefix", prefix);
  return fields;
}

/** Whether the request says that a proxy has passed it on. Not for the visitor's address: anybody may say so. */
export function saysProxied(headers: IncomingHttpHeaders): boolean {
  return PROXY_FIELDS.some((name) => headers[name] !== undefined);
}

/**
 * A URI with the local service's own scheme and authority, where it has the visitor's; any other stays as it is. Services
 * compare the Destination of MOVE and COPY (RFC 4918 section 10.3) with where the request came, and refuse another server's.
 *
 * @param host the visitor's, a port with it or not
 * @param origin the local service's
 */
function ownUri(uri: string, host: string, origin: string): string {
  const [whole, scheme, authority] = /^(https?):\/\/([^/?#]*)/i.exec(uri) ?? [];
  if (whole === undefined || !isSameHost(authority!, host, scheme!.length === 5 ? 443 : 80)) return uri;
  return origin + uri.slice(whole.length);
}

/** @param usualPort what no port means, on both sides: nobody knows the visitor's scheme for certain */
function isSameHost(one: string, other: string, usualPort: number): boolean {
  const [a, b] = [splitHostPort(one), splitHostPort(other)];
  return a !== undefined && a.hostname === b?.hostname && (a.port ?? usualPort) === (b.port ?? usualPort);
}

/** What the visitor is to get of an answer's fields, and how its body is framed. */
export interface AnswerFields {
  fields: RawFields;
  /** Octets; `undefined` where the body ends by chunks or by close. */
  contentLength: number | undefined;
}

/**
 * The fields that go to the visitor; `undefined` if the head leaves the length of the body in doubt.
 *
 * @param chunked whether a body of unknown length can go in chunks, and have trailers
 */
export function answerFields(head: ResponseHead, chunked: boolean): AnswerFields | undefined {
  const named = namedFields(connectionOptions(head.fields));
  let contentLength: number | undefined;
  let transferEncoding = false;
  const fields: RawFields = [];
  for (let i = 0; i + 1 < head.fields.length; i += 2) {
    const name = head.fields[i]!;
    const value = head.fields[i + 1]!;
    const lower = name.toLowerCase();
    if (lower === "content-length") {
      if (contentLength !== undefined || !/^[0-9]{1,15}$/.test(value)) return undefined;
      contentLength = Number(value);
      // RFC 9110 section 8.6: none in a 204.
      if (head.status !== 204) fields.push(name, value);
    } else if (lower === "transfer-encoding") {
      transferEncoding = true;
      // Expect means nothing in an answer, but makes node write the head in another encoding.
    } else if (!HOP_BY_HOP.has(lower) && lower !== "expect" && !named?.has(lower)) {
      fields.push(name, value);
    }
  }
  if (transferEncoding && contentLength !== undefined) return undefined;
  if (contentLength === undefined && chunked) return { fields, contentLength };
  return { fields: withoutFields(fields, (name) => name === "trailer"), contentLength };
}

/** The head of a 101: what is about the connection goes with it, since the connection is what it is about. */
export function switchingFields(fields: RawFields): RawFields {
  const named = namedFields(connectionOptions(fields));
  const kept: RawFields = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const lower = fields[i]!.toLowerCase();
    if (lower === "connection" || lower === "content-length") continue;
    if (lower !== "upgrade" && (HOP_BY_HOP.has(lower) || named?.has(lower))) continue;
    kept.push(fields[i]!, fields[i + 1]!);
  }
  kept.push("Connection", "Upgrade");
  return kept;
}

/** The fields of a 1xx, which has no body and says nothing about the connection. */
export function interimFields(fields: RawFields): RawFields {
  const named = namedFields(connectionOptions(fields));
  return withoutFields(
    fields,
    (name) => HOP_BY_HOP.has(name) || FRAMING.has(name) || name === "trailer" || named?.has(name) === true,
  );
}

/** Trailers that may go on, in either direction; `undefined` if one of them would frame or route the message. */
export function trailerFields(fields: RawFields): RawFields | undefined {
  for (let i = 0; i < fields.length; i += 2) if (FRAMING.has(canonical(fields[i]!))) return undefined;
  return withoutFields(fields, (lower) => {
    const name = canonical(lower);
    return HOP_BY_HOP.has(name) || name === "trailer" || isSetHere(name);
  });
}

/** As `trailerFields`, for a request. Connection in a trailer has node's parser refuse all that follows. */
export function requestTrailers(fields: RawFields): RawFields | undefined {
  for (let i = 0; i < fields.length; i += 2) if (canonical(fields[i]!) === "connection") return undefined;
  return trailerFields(fields);
}

/** Whether a field of a request is not for the local service. */
function staysBehind(lower: string, facts: RequestFacts): boolean {
  switch (lower) {
    case "trailer":
      return facts.bodyLength >= 0;
    case "expect":
      // RFC 9110 section 10.1.1: ignored in HTTP/1.0; and without a body there is nothing to go on with.
      return facts.http10 || facts.bodyLength === 0;
  }
  if (HOP_BY_HOP.has(lower) || isSetHere(lower)) return true;
  if (!lower.includes("_")) return false;
  // What hands fields on as environment variables (CGI, WSGI, PHP) takes X_Forwarded_For for X-Forwarded-For.
  const name = canonical(lower);
  return FRAMING.has(name) || HOP_BY_HOP.has(name) || isSetHere(name);
}

function isSetHere(lower: string): boolean {
  return lower.startsWith("x-forwarded-") || SET_HERE.has(lower);
}

function canonical(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

function connectionOptions(fields: RawFields): string[] {
  let options: string[] | undefined;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i]!.toLowerCase() !== "connection") continue;
    options ??= [];
    for (const option of fields[i + 1]!.split(",")) options.push(option.trim().toLowerCase());
  }
  return options ?? [];
}

function namedFields(options: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (const option of options) {
    if (option === "close" || option === "keep-alive" || NOT_TO_BE_NAMED.has(option)) continue;
    named ??= new Set();
    named.add(option);
  }
  return named;
}

function withoutFields(fields: RawFields, isUnwanted: (lower: string) => boolean): RawFields {
  const kept: RawFields = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (!isUnwanted(fields[i]!.toLowerCase())) kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}

function tokenOrQuoted(host: string): string {
  return /^[\w.-]+$/.test(host) ? host : `"${host}"`;
}

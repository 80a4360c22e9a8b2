import type { IncomingMessage } from "node:http";
import { splitHostPort } from "../../routing/hostname.ts";
import {
  malformedRequest,
  TOO_MANY_FIELDS,
  UNKNOWN_CODING,
  UNKNOWN_VERSION,
  type Refusal,
} from "./refusals.ts";

/** What a request says about its own way through the edge. */
export interface RequestFacts {
  /** Normalised. */
  hostname: string;
  /** The Host value to pass on: of an absolute-form target its authority (RFC 9112 section 3.2.2). */
  host: string;
  /** In origin-form or `*`; otherwise byte for byte as it came. */
  target: string;
  /** Octets that follow the head; -1 for a chunked body. */
  bodyLength: number;
  /** Lower-case options of all Connection fields. */
  connectionOptions: readonly string[];
  /** The protocols of all Upgrade fields, as spelled. */
  upgrade: readonly string[];
  /** The visitor speaks HTTP/1.0: no chunks, no 1xx, no upgrade. */
  http10: boolean;
}

export interface RequestRules {
  maxFields: number;
  /** The host of an HTTP/1.0 request that names none. */
  defaultHost: string;
}

/**
 * A strict look at a request's head. Node's parser has refused what breaks the grammar; here goes what it lets
 * through although two programs could read it in two ways.
 */
export function checkRequest(request: IncomingMessage, rules: RequestRules): RequestFacts | Refusal {
  const { httpVersion, rawHeaders } = request;
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return UNKNOWN_VERSION;
  if (rawHeaders.length > 2 * rules.maxFields) return TOO_MANY_FIELDS;

  let host: string | undefined;
  let contentLength: string | undefined;
  let transferEncoding: string | undefined;
  let connection = "";
  let upgrade = "";
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1]!;
    switch (rawHeaders[i]!.toLowerCase()) {
      case "host":
        if (host !== undefined) return malformedRequest("The request has more than one Host field.");
        host = value;
        break;
      case "content-length":
        contentLength = value;
        break;
      case "transfer-encoding":
        transferEncoding = transferEncoding === undefined ? value : `${transferEncoding},${value}`;
        break;
      case "connection":
        connection += `,${value}`;
        break;
      case "upgrade":
        upgrade += `,${value}`;
        break;
    }
  }

  if (transferEncoding !== undefined) {
    const refusal = checkTransferEncoding(transferEncoding, httpVersion);
    if (refusal) return refusal;
  }
  const place = checkPlace(
    request.method!,
    request.url!,
    host ?? (httpVersion === "1.0" ? rules.defaultHost : undefined),
  );
  if ("status" in place) return place;
  return {
    hostname: place.hostname,
    host: place.host,
    target: place.target,
    bodyLength: transferEncoding === undefined ? Number(contentLength ?? 0) : -1,
    connectionOptions: listElements(connection.toLowerCase()),
    upgrade: listElements(upgrade),
    http10: httpVersion === "1.0",
  };
}

/** RFC 9112 section 6.1: `chunked` alone, and not in HTTP/1.0, where the next server may not know it. */
function checkTransferEncoding(value: string, httpVersion: string): Refusal | undefined {
  if (httpVersion === "1.0") return malformedRequest("HTTP/1.0 has no Transfer-Encoding.");
  if (value.toLowerCase() === "chunked") return undefined;
  return /^[!#$%&'*+\-.^_`|~\w]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~\w]+)*[ \t]*,[ \t]*chunked$/i.test(value)
    ? UNKNOWN_CODING
    : malformedRequest("The request's Transfer-Encoding does not end in chunked.");
}

type Place = Pick<RequestFacts, "hostname" | "host" | "target">;

function checkPlace(method: string, target: string, host: string | undefined): Place | Refusal {
  if (target.includes("#")) return malformedRequest("The request's target contains a fragment (#).");
  if (host === undefined) return malformedRequest("The request has no Host field.");
  const place = splitHostPort(host);
  if (!place) return malformedRequest("The request's Host field is not a host with an optional port.");

  if (target.startsWith("/")) return { hostname: place.hostname, host, target };
  if (target === "*") {
    return method === "OPTIONS"
      ? { hostname: place.hostname, host, target }
      : malformedRequest("The request's target is *, which is for OPTIONS only.");
  }
  const absolute = /^https?:\/\/([^/?]+)(.*)$/i.exec(target);
  const authority = absolute && splitHostPort(absolute[1]!);
  return authority
    ? { hostname: authority.hostname, host: absolute[1]!, target: originForm(absolute[2]!, method) }
    : malformedRequest("The request's target is neither a path nor an http URL.");
}

/** RFC 9112 sections 3.2.1 and 3.2.4. */
function originForm(pathAndQuery: string, method: string): string {
  if (pathAndQuery === "") return method === "OPTIONS" ? "*" : "/";
  return pathAndQuery.startsWith("?") ? `/${pathAndQuery}` : pathAndQuery;
}

/** Of most requests: one for all of them. */
const NONE: readonly string[] = [];

function listElements(list: string): readonly string[] {
  if (list === "") return NONE;
  return list
    .split(",")
    .map((element) => element.trim())
    .filter((element) => element !== "");
}

import { TunnelError } from "../../link/errors.ts";
import { parseRequestHead } from "../../link/http-head.ts";
import type { Open } from "../../link/messages.ts";
import { signsInConnection } from "./bound-sign-in.ts";

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
/** Without a body these are sent without a length; the others get `Content-Length: 0` (RFC 9110 section 8.6). */
const UNFRAMED = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "DELETE"]);

/** A visitor's request as it goes to the local service. */
export interface LocalRequest {
  method: string;
  target: string;
  /** The Host field as the service gets it; empty if there is none. */
  host: string;
  /** Request line and fields as they came, one character per byte. */
  head: string;
  /** They say what is to become of the connection. */
  namesConnection: boolean;
  /** The field that frames the body, if it is not among them. */
  framing: string;
  /** Bytes of the body, or `chunked` for as many as come. */
  body: number | "chunked";
  /** Asks for another protocol: what follows the body are bytes of that. */
  upgrade: boolean;
  /** May be sent again if nobody knows whether it arrived. */
  repeatable: boolean;
  /** Credentials of a sign-in that is tied to the connection are in it. */
  signsIn: boolean;
  /** The number of the visitor's connection; 0: not known, or shared by several visitors. */
  visitor: number;
}

/**
 * Frames a request for the local service; its field lines stay as they came.
 * @throws TunnelError `protocol` if the head is none, or cannot be framed in one way only: the server let it through
 */
export function readLocalRequest(open: Open): LocalRequest {
  const { method, target, fields } = parseRequestHead(open.head);
  if (method === "CONNECT") throw new TunnelError("protocol", "CONNECT is not carried");
  let length: number | undefined;
  let connection = "";
  let host = "";
  let hasUpgrade = false;
  let signsIn = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // By length first: of the usual fields few are looked at.
    if (name.length === 10 && name.toLowerCase() === "connection") connection += `,${value.toLowerCase()}`;
    else if (name.length === 7 && name.toLowerCase() === "upgrade") hasUpgrade = true;
    else if (name.length === 13 && name.toLowerCase() === "authorization")
      signsIn ||= signsInConnection(value);
    else if (name.length === 4 && name.toLowerCase() === "host") host = value;
    else if (name.length === 17 && name.toLowerCase() === "transfer-encoding")
      throw new TunnelError("protocol", "a Transfer-Encoding came along");
    else if (name.length === 14 && name.toLowerCase() === "content-length") {
      if (length !== undefined || !/^\d{1,15}$/.test(value))
        throw new TunnelError("protocol", "no single valid Content-Length");
      length = Number(value);
    }
  }
  if (open.end && length) throw new TunnelError("protocol", "a body is announced and does not follow");

  const upgrade = hasUpgrade && /[\t ,]upgrade[\t ]*(,|$)/.test(connection);
  const body = length ?? (open.end || upgrade ? 0 : "chunked");
  let framing = "";
  if (body === "chunked") framing = "Transfer-Encoding: chunked\r\n";
  else if (length === undefined && !UNFRAMED.has(method)) framing = "Content-Length: 0\r\n";
  return {
    method,
    target,
    host,
    head: open.head.toString("latin1"),
    namesConnection: connection !== "",
    framing,
    body,
    upgrade,
    repeatable: open.end && !upgrade && IDEMPOTENT.has(method),
    signsIn,
    visitor: open.visitorConnection ?? 0,
  };
}

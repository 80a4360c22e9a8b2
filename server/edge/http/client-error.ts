import {
  EXTENSIONS_TOO_LARGE,
  HEAD_TIMEOUT,
  malformedRequest,
  TOO_MANY_FIELDS,
  UNKNOWN_METHOD,
  UNKNOWN_VERSION,
  type Refusal,
} from "./refusals.ts";

/** What node's `clientError` hands over: a parser's error, a timeout, or an error of the socket. */
export interface ClientError extends NodeJS.ErrnoException {
  bytesParsed?: number;
  rawPacket?: Buffer;
}

/** How to answer what the parser could not read; `undefined` if there is nobody left to answer. */
export function refusalForClientError(error: ClientError): Refusal | undefined {
  switch (error.code ?? "") {
    case "HPE_HEADER_OVERFLOW":
      return TOO_MANY_FIELDS;
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return EXTENSIONS_TOO_LARGE;
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return HEAD_TIMEOUT;
    case "HPE_PAUSED_H2_UPGRADE":
      return UNKNOWN_VERSION;
    case "HPE_INVALID_VERSION":
      return /^\S+ \S+ HTTP\/[0-9](?:\.[0-9])?\r?$/.test(lineOf(error)) ? UNKNOWN_VERSION : MALFORMED;
    case "HPE_INVALID_METHOD":
    case "HPE_INVALID_CONSTANT":
      return hasUnknownMethod(lineOf(error)) ? UNKNOWN_METHOD : MALFORMED;
    default:
      return error.code?.startsWith("HPE_") ? MALFORMED : undefined;
  }
}

const MALFORMED = malformedRequest("The request breaks the rules of HTTP.");

function hasUnknownMethod(line: string): boolean {
  return /^[!#$%&'*+\-.^_`|~\w]+ \S+ HTTP\/1\.[01]\r?$/.test(line);
}

/** The line that the parser stumbled over. */
function lineOf({ rawPacket, bytesParsed = 0 }: ClientError): string {
  if (!rawPacket) return "";
  const start = bytesParsed === 0 ? 0 : rawPacket.lastIndexOf("\n", bytesParsed - 1) + 1;
  const end = rawPacket.indexOf("\n", start);
  return rawPacket.toString("latin1", start, Math.min(end < 0 ? rawPacket.length : end, start + 8192));
}

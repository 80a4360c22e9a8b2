import type { ResetCode } from "../../link/messages.ts";
import { formatTarget, type Target } from "../../link/target.ts";
import { dialFailure } from "./dial-failure.ts";
import { needsHttp1 } from "./tls-words.ts";

const FRAME_HEAD_BYTES = 9;
const SETTINGS = 0x4;
const GOAWAY = 0x7;

/** Why an exchange failed: as in the answer's reset, for this client's log, and for the server's. */
export interface Failure {
  code: ResetCode;
  detail: string;
  publicDetail: string;
}

/** Why there is no answer where the connection is over before one had come. */
export function noAnswer(
  target: Target,
  error: NodeJS.ErrnoException | undefined,
  { silent, reused }: { silent: boolean; reused: boolean },
): Failure {
  const unreached = error && dialFailure(error, target);
  if (unreached) return unreached;
  if (!silent) return brokenAnswer(target, "the connection was closed within the head");
  // Many a TLS server meets plain HTTP with silence.
  const mayBeTls = "host" in target && !target.tls && !reused;
  const hint = mayBeTls ? `; if it speaks TLS, its target is https://${formatTarget(target)}` : "";
  return saidToBoth(
    "CONNECTION_LOST",
    `${formatTarget(target)} closed the connection without an answer${hint}`,
  );
}

/** @param bytes those that brought it to light, if they are the answer's first */
export function brokenAnswer(target: Target, fault: string, bytes?: Buffer): Failure {
  const named = formatTarget(target);
  if (bytes && isHttp2(bytes))
    return saidToBoth("BAD_RESPONSE", `${named} speaks only HTTP/2; ${needsHttp1(target)}`);
  // An alert of TLS (RFC 8446 section 5.1).
  const isTls = bytes?.[0] === 0x15 && bytes[1] === 0x03;
  const what = isTls ? `it speaks TLS; its target is https://${named}` : fault;
  return saidToBoth("BAD_RESPONSE", `${named} sent an answer that cannot be passed on: ${what}`);
}

/** Whether they begin with a frame of HTTP/2 for the whole connection, SETTINGS or GOAWAY (RFC 9113 section 4.1). */
function isHttp2(bytes: Buffer): boolean {
  if (bytes.length < FRAME_HEAD_BYTES || bytes.readUInt32BE(5) !== 0) return false;
  const type = bytes[3];
  return bytes.readUInt16BE(0) === 0 && (type === SETTINGS || type === GOAWAY);
}

export function saidToBoth(code: ResetCode, detail: string): Failure {
  return { code, detail, publicDetail: detail };
}

import type { ServerResponse } from "node:http";
import { encodeResponseHead, type ResponseHead } from "../../../link/http-head.ts";
import { interimFields } from "./forwarding.ts";

/** What node keeps to itself: `writeEarlyHints` and its like take some heads only, and lose others. */
interface Internals {
  _writeRaw(data: string, encoding: BufferEncoding): boolean;
  /** Without it node takes a final answer to `Expect: 100-continue` for a refusal, and closes the connection. */
  _sent100: boolean;
}

/** The body has come whole, be it that nobody asked for it to go on: the next request begins where it should. */
export function bodyHasCome(response: ServerResponse): void {
  (response as unknown as Internals)._sent100 = true;
}

/** Writes a 1xx answer ahead of the final one. Its place among the answers of a connection is kept. */
export function writeInterim(response: ServerResponse, head: ResponseHead): void {
  const internals = response as unknown as Internals;
  const { status, reason, fields } = head;
  const bytes = encodeResponseHead({ status, reason, fields: interimFields(fields) });
  internals._writeRaw(`${bytes.toString("latin1")}\r\n`, "latin1");
  if (status === 100) internals._sent100 = true;
}

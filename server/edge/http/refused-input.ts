import type { IncomingMessage } from "node:http";
import type { Log } from "../../../runtime/log.ts";
import { logAccess } from "./access-log.ts";
import { errorBytes } from "./error-page.ts";
import type { Refusal } from "./refusals.ts";
import { newRequestId } from "../request-id.ts";
import type { VisitorConnection } from "./visitor-connection.ts";

/**
 * Answers what is no request, or none that can be carried, in its turn, and ends the connection behind the answer.
 *
 * @param request if there is one
 */
export function refuseInput(
  connection: VisitorConnection,
  refusal: Refusal,
  log: Pick<Log, "info">,
  request?: IncomingMessage,
): void {
  const { socket, visitor } = connection;
  const startedAt = performance.now();
  connection.refuse(refusal, {
    begin() {
      const requestId = newRequestId();
      const bytes = errorBytes(refusal, requestId, request?.headers.accept);
      socket.write(bytes);
      connection.linger();
      logAccess(log, {
        requestId,
        visitor,
        method: request?.method,
        host: request?.headers.host,
        target: request?.url,
        status: refusal.status,
        bytesIn: 0,
        bytesOut: bytes.length,
        startedAt,
        failure: refusal.code,
      });
    },
    received: false,
    bodyBytes: 0,
    answered: true,
    writable() {},
    broken() {},
    visitorLeft() {},
  });
}

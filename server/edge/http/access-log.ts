import type { Log } from "../../../runtime/log.ts";
import { cut } from "../../../runtime/printable.ts";

/** Longest target in a line. */
const MAX_TARGET = 512;

/** What there is to say about a request once it is over. */
export interface AccessRecord {
  requestId: string;
  /** Address and port. */
  visitor: string;
  method?: string | undefined;
  host?: string | undefined;
  target?: string | undefined;
  /** As sent; absent if the visitor got none. */
  status?: number | undefined;
  /** Octets of bodies; of everything for a connection that was upgraded. */
  bytesIn: number;
  bytesOut: number;
  /** On the clock of `performance.now()`. */
  startedAt: number;
  tunnel?: string | undefined;
  key?: string | undefined;
  /** Why the request did not end as it should. */
  failure?: string | undefined;
  detail?: string | undefined;
}

export function logAccess(log: Pick<Log, "info">, record: AccessRecord): void {
  const { startedAt, target, ...fields } = record;
  log.info(
    {
      ...fields,
      target: target === undefined ? undefined : cut(target, MAX_TARGET),
      durationMs: Math.round(performance.now() - startedAt),
    },
    "request",
  );
}

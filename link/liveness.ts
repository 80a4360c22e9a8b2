import { TunnelError } from "./errors.ts";
import type { Link } from "./link.ts";

/** So that "online" means that bytes flow: how often a probe goes through the link. */
const PROBE_INTERVAL_MS = 15_000;
/** With the interval: a dead connection is noticed within 25 s. */
const PROBE_TIMEOUT_MS = 10_000;

/**
 * Probes the link until it closes, and closes it with `lost` when a probe stays without answer. On a path that
 * is merely full the answer may wait behind data, so as long as batches arrive or leave it is given more time.
 */
export function keepAlive(
  link: Link,
  { intervalMs = PROBE_INTERVAL_MS, timeoutMs = PROBE_TIMEOUT_MS } = {},
): Disposable {
  let timer: NodeJS.Timeout | undefined;
  let immediate: NodeJS.Immediate | undefined;

  const probe = (): void => {
    if (link.closed) return;
    let answered = false;
    const sentAt = performance.now();
    link.ping(() => {
      answered = true;
    });
    const check = (before: Progress): void => {
      timer = setTimeout(() => {
        // After a freeze the timer comes before the bytes that have been waiting: let them in first.
        immediate = setImmediate(() => {
          if (link.closed) return;
          const now = progressOf(link);
          if (answered) timer = setTimeout(probe, Math.max(0, intervalMs - timeoutMs));
          else if (hasMoved(before, now)) check(now);
          else {
            const seconds = Math.round((performance.now() - sentAt) / 1000);
            link.close(
              new TunnelError("lost", `the connection is dead: no answer to a probe for ${seconds} s`),
            );
          }
        });
      }, timeoutMs);
    };
    check(progressOf(link));
  };

  timer = setTimeout(probe, intervalMs);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      clearImmediate(immediate);
    },
  };
}

interface Progress {
  received: number;
  inFlight: number;
  written: number;
}

/** Whether bytes came, or batches have been leaving all the time: one that is just on its way says nothing. */
function hasMoved(before: Progress, now: Progress): boolean {
  if (now.received !== before.received) return true;
  return before.inFlight > 0 && now.inFlight > 0 && now.written !== before.written;
}

function progressOf(link: Link): Progress {
  return { received: link.received, ...link.sending };
}

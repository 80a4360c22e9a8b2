import type { Carrier, CarrierReceiver } from "../../link/carrier.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Control } from "../../link/messages.ts";

/** So many probes and answers to probes at once, */
const PROBES = 1_000;
/** and then one each: clients send one in 15 s. */
const PROBE_EACH_MS = 10;

export interface Guard {
  now: () => number;
  /** Whether it is known who is at the other end. */
  known: () => boolean;
  /** The other end says what no client says; nothing more of it is passed on. */
  onBreach: (error: TunnelError) => void;
}

/**
 * A carrier that refuses what costs the server work and moves nothing: batches without content, probes without end, and from
 * strangers whatever comes behind Hello before the answer. The smallest message is five bytes, and a flood of them
 * would take all the time that the other clients need.
 */
export function guarded(carrier: Carrier, { now, known, onBreach }: Guard): Carrier {
  let probesFullAt = -Infinity;
  let batches = 0;
  let empty = true;
  let breached = false;

  const breach = (what: string): void => {
    breached = true;
    onBreach(new TunnelError("protocol", what));
  };
  const countProbes = (messages: Control[]): void => {
    for (const { message } of messages) {
      if (message !== "ping" && message !== "pong") continue;
      const at = now();
      probesFullAt = Math.max(probesFullAt, at) + PROBE_EACH_MS;
      if (probesFullAt - at > PROBES * PROBE_EACH_MS) return breach("more probes than anyone needs");
    }
  };
  const guard = (receiver: CarrierReceiver): CarrierReceiver => ({
    control(messages) {
      if (breached) return;
      empty = false;
      countProbes(messages);
      if (!breached) receiver.control(messages);
    },
    data(slice) {
      if (breached) return;
      empty = false;
      receiver.data(slice);
    },
    batchEnd() {
      if (breached) return;
      if (empty) return breach("a batch without content");
      if (++batches > 1 && !known()) return breach("more than a Hello before its answer");
      empty = true;
      receiver.batchEnd();
    },
    closed: (error) => receiver.closed(error),
  });

  return {
    send: (batch, written) => carrier.send(batch, written),
    receive: (receiver) => carrier.receive(guard(receiver)),
    end: () => carrier.end(),
    abort: () => carrier.abort(),
  };
}

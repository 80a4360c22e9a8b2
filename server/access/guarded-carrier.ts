import type { Carrier, CarrierReceiver } from "../../link/carrier.ts";
import { TunnelError } from "../../link/errors.ts";
import type { Control } from "../../link/messages.ts";

/** Probes and answers to probes: clients send one in 15 s. */
const PROBES: Rate = { atOnce: 1_000, eachMs: 10 };
/** What a client found out about its tunnels: it looks once in 5 s at most. */
const STATES: Rate = { atOnce: 16, eachMs: 1_000 };

export interface Guard {
  now: () => number;
  /** The other end says what no client says; nothing more of it is passed on. */
  onBreach: (error: TunnelError) => void;
}

/**
 * A carrier that refuses what costs the server work and moves nothing: batches without content, probes and news of tunnels
 * without end. The smallest message is five bytes, and a flood of them would take all the time that the other clients need.
 */
export function guarded(carrier: Carrier, { now, onBreach }: Guard): Carrier {
  const probes = rateLimit(PROBES, now);
  const states = rateLimit(STATES, now);
  let empty = true;
  let breached = false;

  const breach = (what: string): void => {
    breached = true;
    onBreach(new TunnelError("protocol", what));
  };
  const count = (messages: Control[]): void => {
    for (const { message } of messages) {
      if ((message === "ping" || message === "pong") && !probes())
        return breach("more probes than anyone needs");
      if (message === "tunnelStates" && !states())
        return breach("more news of its tunnels than a client has");
    }
  };
  const guard = (receiver: CarrierReceiver): CarrierReceiver => ({
    control(messages) {
      if (breached) return;
      empty = false;
      count(messages);
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

/** So many at once, and then one each `eachMs`. */
interface Rate {
  atOnce: number;
  eachMs: number;
}

/** @returns whether one more is within the rate */
function rateLimit({ atOnce, eachMs }: Rate, now: () => number): () => boolean {
  let fullAt = -Infinity;
  return () => {
    const at = now();
    fullAt = Math.max(fullAt, at) + eachMs;
    return fullAt - at <= atOnce * eachMs;
  };
}

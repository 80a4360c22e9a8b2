import { type DescriptorParty, divideDescriptors } from "../runtime/descriptor-budget.ts";
import { descriptorLimit } from "../runtime/descriptors.ts";
import type { Log } from "../runtime/log.ts";
import { SeldomWarning } from "./edge/seldom-warning.ts";

/**
 * What the process needs beside connections. Node holds 22 at rest, listeners and the log among them; keys are read and written
 * with a few more, and what has just been cut may take a turn of the event loop to be gone.
 */
const OWN_DESCRIPTORS = 64;
/** Where the system names no limit, or a higher one: the highest that Linux gives a process unless told otherwise. */
const MAX_DESCRIPTORS = 1_048_576;

/** Those who share the rest, in the order in which they give way; a quarter is for whoever needs more than is kept for it. */
const SHARES = {
  /** TCP connections to the gRPC port that have shown no key; at most twice as many as may have a call (access/client-limits.ts). */
  strangers: { guaranteed: 1 / 16, most: 8_192 },
  /** Ports that clients have asked for, TCP and UDP. */
  ports: { guaranteed: 1 / 16 },
  /** TCP connections of clients that have shown a key: four each, mostly. */
  clients: { guaranteed: 1 / 8 },
  /** Connections of visitors, over HTTP, at TCP ports and over TLS. */
  visitors: { guaranteed: 1 / 2 },
};

type Party = keyof typeof SHARES;

const WHAT_HAPPENS: Record<Party, string> = {
  strangers: "the oldest connections to the gRPC port that have shown no access key are closed",
  visitors: "idle connections of visitors are closed, and new ones where there are none",
  ports: "no further ports are opened for tunnels",
  clients: "no further connections of clients are let in",
};

/** Divides what the process may open, and warns when that is short. */
export function serverDescriptors(
  limits: { connections: number },
  log: Pick<Log, "warn">,
): Record<Party, DescriptorParty> {
  const descriptors = Math.min(descriptorLimit(), MAX_DESCRIPTORS);
  const warnings = new SeldomWarning(log);
  const parties = divideDescriptors({
    // Below that the process would not even have started.
    descriptors: Math.max(OWN_DESCRIPTORS, descriptors - OWN_DESCRIPTORS),
    shares: SHARES,
    onShort(short, of) {
      const { strangers, visitors, ports, clients } = parties;
      warnings.warn(
        {
          short,
          of,
          descriptors,
          strangers: strangers.held,
          visitors: visitors.held,
          ports: ports.held,
          clients: clients.held,
        },
        `descriptors are short: ${WHAT_HAPPENS[short]}. Raise LimitNOFILE= or ulimit -n, or lower limits.connections`,
      );
    },
  });
  const { visitors } = parties;
  // The limit is high by default; somewhat less is no news for the first line of a log.
  if (visitors.left < limits.connections / 2) {
    log.warn(
      { descriptors, connections: visitors.left },
      "this process may open far fewer files than limits.connections: visitors get what is left; raise LimitNOFILE or ulimit -n",
    );
  }
  return parties;
}

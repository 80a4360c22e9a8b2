import { portsIn } from "../../link/port-range.ts";
import { placeOption, readPortRange, tunnelPorts } from "./config-tunnels.ts";
import { list, record, type Report, type Unchecked } from "./config-unchecked.ts";

/** That visitors can arrive: each listener and each tunnel has a port that is not another's. */
export function checkReach(sections: Unchecked, keys: readonly Unchecked[], report: Report): void {
  const listeners = checkListeners(sections, report);
  keys.forEach((key, i) => {
    list(key["tunnels"]).forEach((tunnel, j) =>
      checkTunnel(record(tunnel), ["keys", i, "tunnels", j], { sections, listeners, report }),
    );
  });
}

interface Listener {
  /** The option that says where. */
  name: string;
  host: unknown;
  port: unknown;
}

function checkListeners(sections: Unchecked, report: Report): Listener[] {
  const listeners: Listener[] = [];
  for (const section of ["http", "grpc", "tls"]) {
    const { host, port } = record(record(sections[section])["listen"]);
    const first = listenerAt(listeners, host, port);
    if (first) report([section, "listen"], takenBy(first));
    listeners.push({ name: `${section}.listen`, host, port });
  }
  return listeners;
}

function listenerAt(listeners: readonly Listener[], host: unknown, port: unknown): Listener | undefined {
  if (port === undefined || port === 0) return undefined;
  return listeners.find(
    (other) => other.port === port && (other.host === host || other.host === undefined || host === undefined),
  );
}

function takenBy({ port, name }: Listener): string {
  return `port ${String(port)} is taken by ${name}: give each its own`;
}

function checkTunnel(
  tunnel: Unchecked,
  at: PropertyKey[],
  { sections, listeners, report }: { sections: Unchecked; listeners: readonly Listener[]; report: Report },
): void {
  if (tunnel["type"] === "tls" && sections["tls"] === undefined) {
    report([...at, "type"], "there is no tls.listen, where visitors of TLS tunnels arrive: set it");
  }
  const taken = tunnelPorts(tunnel);
  if (typeof taken === "string") report([...at, "target"], taken);
  if (typeof taken !== "object") return;
  const { kind, port, ports } = taken.place;
  const section = record(sections[kind.toLowerCase()]);
  if (port === 0) {
    const problem = freePortsProblem(section["ports"], ports);
    if (problem) report(at, `${kind.toLowerCase()}.ports ${problem}`);
  } else if (kind === "TCP") {
    const host = section["listen"] === "" ? undefined : section["listen"];
    const first = Array.from({ length: ports }, (_, i) => listenerAt(listeners, host, port + i)).find(
      Boolean,
    );
    if (first) report([...at, placeOption(tunnel)], takenBy(first));
  }
}

/** @param free the option as it stands in the file */
function freePortsProblem(free: unknown, wanted: number): string | undefined {
  if (free === "none") return "is none: give this tunnel its port";
  const range = readPortRange(free);
  if (!range || portsIn(range) >= wanted) return undefined;
  return `has ${portsIn(range)}, and this tunnel needs ${wanted} in a row: give it its ports`;
}

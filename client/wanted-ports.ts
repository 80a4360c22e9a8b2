import type { TargetRange } from "../link/byte-target.ts";
import { MAX_PORT, MAX_PORTS, type PortRange, portsIn } from "../link/port-range.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";

/**
 * Which ports a tunnel asks for: as many in public as at the target, where either may name the first alone.
 *
 * @param port undefined for any free ones
 */
export function wantedPorts(
  { target, ports }: TargetRange,
  port: PortRange | undefined,
): Pick<WantedTunnel, "target" | "port" | "ports"> {
  return port ? { target, port: port.from, ports: portsIn(port) } : { target, ports };
}

/** What is wrong with the public ports for a target, `expected …`; undefined if nothing is. */
export function portsProblem({ target, ports }: TargetRange, port: PortRange): string | undefined {
  const wanted = portsIn(port);
  if (ports > 1 && wanted !== ports) return `expected ${ports} ports, as many as the target has`;
  if (wanted > MAX_PORTS) return `expected at most ${MAX_PORTS} ports: a tunnel has no more`;
  if ("path" in target)
    return wanted > 1 ? "expected one port, since a UNIX socket is one service" : undefined;
  const left = MAX_PORT + 1 - target.port;
  return wanted > left ? `expected at most ${left} ports: the target's end at ${MAX_PORT}` : undefined;
}

import type { TargetRange } from "../link/byte-target.ts";
import type { TargetTls } from "../link/messages.ts";
import type { PortRange } from "../link/port-range.ts";
import type { SocketTarget, Target, TcpTarget } from "../link/target.ts";
import { readTargetTls, type TargetTlsOptions } from "../link/target-tls.ts";
import { portsProblem } from "./wanted-ports.ts";

/** A tunnel of a file that may have other mistakes: what could not be read is of any type. */
export interface ReadTunnel extends TargetTlsOptions {
  name?: unknown;
  type?: unknown;
  target?: unknown;
  port?: unknown;
  hostname?: unknown;
  subdomain?: unknown;
}

/**
 * Reports what no option of a tunnel shows by itself.
 *
 * @param directory what a relative path starts from
 * @returns how an `https://` target is checked
 */
export function checkTunnel(
  tunnel: ReadTunnel,
  directory: string,
  report: (option: string, message: string) => void,
): TargetTls | undefined {
  const { type, target, port, hostname, subdomain } = tunnel;
  if (type === "tcp" || type === "udp") {
    const problem = isTargetRange(target) && isPortRange(port) && portsProblem(target, port);
    if (problem) report("port", problem);
  } else if (hostname !== undefined && subdomain !== undefined) {
    report("subdomain", "a tunnel has one address: take out hostname or subdomain");
  }
  if (type !== "http") return undefined;
  const { targetTls, problems } = readTargetTls(targetIn(tunnel), tunnel, directory);
  for (const { option, message } of problems) report(option, message);
  return targetTls;
}

/** What could be read of it; in place of other things zod may have put an object of its own. */
function targetIn({ target }: ReadTunnel): Target | undefined {
  const read = target as Partial<TcpTarget & SocketTarget> | null | undefined;
  return read?.host !== undefined || read?.path !== undefined ? (target as Target) : undefined;
}

function isTargetRange(value: unknown): value is TargetRange {
  const { target, ports } = (value ?? {}) as Partial<TargetRange>;
  return typeof target === "object" && target !== null && typeof ports === "number";
}

function isPortRange(value: unknown): value is PortRange {
  const { from, to } = (value ?? {}) as Partial<PortRange>;
  return typeof from === "number" && typeof to === "number";
}

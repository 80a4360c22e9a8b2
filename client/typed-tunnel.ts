import { z } from "zod";
import type { TargetRange } from "../link/byte-target.ts";
import type { PortRange } from "../link/port-range.ts";
import type { Target } from "../link/target.ts";
import { readTargetTls } from "../link/target-tls.ts";
import { usageError } from "../runtime/command-error.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";
import { targetOptions } from "./target-options.ts";
import { nameOption, PROXY_PROTOCOLS } from "./tunnel-options.ts";
import { portsProblem, wantedPorts } from "./wanted-ports.ts";

/** What a tunnel's command is for, and the argument behind it. */
export type TypedTarget =
  | { kind: "HTTP"; target: Target }
  | { kind: "TLS"; target: Target }
  | { kind: "TCP" | "UDP"; target: TargetRange };

/** The options of a tunnel's command; each command has some of them. */
export interface TunnelFlags {
  name?: string;
  subdomain?: string;
  hostname?: string;
  port?: PortRange;
  proxyProtocol?: keyof typeof PROXY_PROTOCOLS;
  hostHeader?: string;
  timeoutMs?: string;
  insecureTarget?: boolean;
  targetCa?: string;
  targetServerName?: string;
}

/**
 * The tunnel that the command line asks for.
 *
 * @throws CommandError
 */
export function typedTunnel({ kind, target }: TypedTarget, flags: TunnelFlags): WantedTunnel {
  const { port } = flags;
  const name = checkedName(flags.name);
  if (kind === "HTTP") return { kind, name, ...oneHostname(flags), ...httpTarget(target, flags) };
  const proxyProtocol = flags.proxyProtocol && PROXY_PROTOCOLS[flags.proxyProtocol];
  if (kind === "TLS") return { kind, name, target, ...oneHostname(flags), proxyProtocol };
  const problem = port && portsProblem(target, port);
  if (problem) throw usageError(`--port: ${problem}`);
  return { kind, name, ...wantedPorts(target, port), proxyProtocol };
}

function checkedName(name: string | undefined): string | undefined {
  const { error } = nameOption.optional().safeParse(name);
  if (error) throw usageError(`--name: ${error.issues[0]!.message}`);
  return name;
}

function oneHostname({ subdomain, hostname }: TunnelFlags): Pick<WantedTunnel, "subdomain" | "hostname"> {
  if (subdomain === undefined || hostname === undefined) return { subdomain, hostname };
  throw usageError("a tunnel has one address: pass --subdomain or --hostname, not both");
}

function httpTarget(
  target: Target,
  flags: TunnelFlags,
): Pick<WantedTunnel, "target" | "targetTls" | "hostHeader" | "timeoutMs"> {
  const { data: options, error } = typedOptions.safeParse({
    host_header: flags.hostHeader,
    timeout_ms: flags.timeoutMs,
    insecure_target: flags.insecureTarget,
    target_ca: flags.targetCa,
    target_server_name: flags.targetServerName,
  });
  if (error)
    throw usageError(error.issues.map(({ path, message }) => `${flagOf(path[0])}: ${message}`).join("\n"));
  const { targetTls, problems } = readTargetTls(target, options, ".");
  if (problems.length > 0)
    throw usageError(problems.map(({ option, message }) => `${flagOf(option)}: ${message}`).join("\n"));
  return { target, targetTls, hostHeader: options.host_header, timeoutMs: options.timeout_ms };
}

const typedOptions = z.strictObject(targetOptions);

/** As the command line spells an option of client.yaml. */
function flagOf(option: PropertyKey | undefined): string {
  return `--${String(option).replaceAll("_", "-")}`;
}

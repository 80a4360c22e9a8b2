import { z } from "zod";
import type { TargetTls } from "../../link/messages.ts";
import { MAX_PORTS, parsePortRange, type PortRange, portsIn } from "../../link/port-range.ts";
import { formatTargetRange, parseTcpTarget, parseTlsTarget, parseUdpTarget } from "../../link/byte-target.ts";
import { formatTarget, parseTarget } from "../../link/target.ts";
import { unknownOption } from "../../runtime/config-file.ts";
import { addressOption, option } from "../../runtime/config-option.ts";
import type { KeyTunnel } from "../access/key.ts";
import { SECRET, SECRET_EXPECTED } from "./config-check.ts";
import { tunnelHostname, tunnelPorts, type TunnelPorts } from "./config-tunnels.ts";
import { durationMs, tunnelLimitOptions, tunnelLimits } from "./limits.ts";
import {
  normalizeHostname,
  normalizePublicName,
  normalizeSubdomain,
  splitHostPort,
} from "../routing/hostname.ts";
import { formatPortRange } from "../routing/place.ts";
import type { ProxyProtocol } from "../routing/route.ts";

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

const name = option('expected a name such as "web", of letters, digits, ".", "_" and "-"', (text) =>
  NAME.test(text) ? text : undefined,
);
const hostname = option(
  'expected a hostname such as app.example.com, without scheme, port or path; "*.example.com"; or "*" for whatever no other name takes',
  normalizePublicName,
);
const file = option("expected the path of a file", (text) => text || undefined);

const addressOptions = {
  hostname: hostname.optional(),
  subdomain: option(
    "expected a single label such as app, of letters, digits and hyphens, and no number alone",
    normalizeSubdomain,
  ).optional(),
};

const portOptions = {
  port: addressOption(parsePort).transform(formatPortRange).optional(),
  ports: addressOption(parsePorts).transform(formatPortRange).optional(),
};

const proxyProtocol = z
  .enum(["v1", "v2"])
  .transform((version): ProxyProtocol => (version === "v1" ? 1 : 2))
  .optional();

/** The options of a tunnel beside its name, by its type. */
const optionsOf = {
  http: {
    ...addressOptions,
    target: addressOption(parseTarget).transform(formatTarget),
    host_header: option(
      'expected a name such as app.example.com, or "target" for the target\'s own',
      (text) => (text === "target" || splitHostPort(text) ? text : undefined),
    ).optional(),
    timeout_ms: durationMs.optional(),
    insecure_target: z.boolean().optional(),
    target_ca: file.optional(),
    target_server_name: option(
      'expected a name such as app.example.com, or "visitor" for the one that the visitor asks for',
      normalizeHostname,
    ).optional(),
  },
  tls: {
    ...addressOptions,
    target: addressOption(parseTlsTarget).transform(formatTarget),
    proxy_protocol: proxyProtocol,
    ...tunnelLimitOptions,
  },
  tcp: {
    ...portOptions,
    target: addressOption(parseTcpTarget).transform(formatTargetRange),
    proxy_protocol: proxyProtocol,
    ...tunnelLimitOptions,
  },
  udp: {
    ...portOptions,
    target: addressOption(parseUdpTarget).transform(formatTargetRange),
    ...tunnelLimitOptions,
  },
};

type TunnelType = keyof typeof optionsOf;
const TYPES = Object.keys(optionsOf) as TunnelType[];

const tunnelOptions = z.discriminatedUnion(
  "type",
  [
    z.strictObject({ name, type: z.literal("http"), ...optionsOf.http }, { error: notOf("http") }),
    z.strictObject({ name, type: z.literal("tls"), ...optionsOf.tls }, { error: notOf("tls") }),
    z.strictObject({ name, type: z.literal("tcp"), ...optionsOf.tcp }, { error: notOf("tcp") }),
    z.strictObject({ name, type: z.literal("udp"), ...optionsOf.udp }, { error: notOf("udp") }),
  ],
  { error: ({ code }) => (code === "invalid_union" ? "expected http, tls, tcp or udp" : undefined) },
);

/** One of the `keys:` of the config. */
export const keyOptions = z.strictObject({
  name,
  secret: z.string().regex(SECRET, { error: SECRET_EXPECTED }).optional(),
  secret_file: file.optional(),
  hostnames: z.array(hostname).default([]),
  ports: z.array(addressOption(parsePortRange).transform(formatPortRange)).default([]),
  tunnels: z.array(tunnelOptions).default([]),
});

export type TunnelOptions = z.output<typeof tunnelOptions>;

/**
 * @param options as checked
 * @param domain what a subdomain lives under
 */
export function keyTunnel(
  options: TunnelOptions,
  domain: string,
  targetTls: TargetTls | undefined,
): KeyTunnel {
  const { name, type, target } = options;
  if (type === "http") {
    const { host_header: hostHeader, timeout_ms: timeoutMs } = options;
    return {
      name,
      kind: "HTTP",
      hostname: tunnelHostname(options, domain)!,
      target,
      ...(targetTls && { targetTls }),
      ...(hostHeader !== undefined && { hostHeader }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    };
  }
  if (type === "tls") {
    return {
      name,
      kind: "TLS",
      hostname: tunnelHostname(options, domain)!,
      target,
      ...trafficOf(options),
    };
  }
  const { place, target: first } = tunnelPorts(options) as TunnelPorts;
  return { name, ...place, target: formatTarget(first), ...trafficOf(options) };
}

function trafficOf(
  options: Exclude<TunnelOptions, { type: "http" }>,
): Pick<KeyTunnel, "proxyProtocol" | "limits"> {
  const limits = tunnelLimits(options);
  return {
    ...("proxy_protocol" in options && options.proxy_protocol && { proxyProtocol: options.proxy_protocol }),
    ...(limits && { limits }),
  };
}

/** Says of options that a tunnel of this type does not have which types have them. */
function notOf(type: TunnelType): (issue: z.core.$ZodRawIssue) => string | undefined {
  const known = ["name", "type", ...Object.keys(optionsOf[type])];
  return (issue) => {
    if (issue.code !== "unrecognized_keys") return undefined;
    return issue.keys
      .map((key) => {
        const types = TYPES.filter((each) => Object.hasOwn(optionsOf[each], key));
        if (types.length === 0) return unknownOption(key, known);
        return `means nothing for ${type}: it is for ${types.join(", ").replace(/, (?=\w+$)/, " and ")}`;
      })
      .join("\n");
  };
}

function parsePort(text: string): PortRange | string {
  const range = text.includes("-") ? "" : parsePortRange(text);
  return typeof range === "string"
    ? "expected a port such as 2222, 1 to 65535; several stand at ports"
    : range;
}

function parsePorts(text: string): PortRange | string {
  const range = parsePortRange(text);
  if (typeof range === "string" || portsIn(range) <= MAX_PORTS) return range;
  return `expected at most ${MAX_PORTS} ports: a tunnel has no more`;
}

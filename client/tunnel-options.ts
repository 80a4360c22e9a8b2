/** The tunnels of client.yaml: which options each type has, and what they ask for. */
import { z } from "zod";
import { parseTcpTarget, parseTlsTarget, parseUdpTarget } from "../link/byte-target.ts";
import type { TargetTls } from "../link/messages.ts";
import { parsePortRange } from "../link/port-range.ts";
import { parseTarget } from "../link/target.ts";
import { unknownOption } from "../runtime/config-file.ts";
import { addressOption, option } from "../runtime/config-option.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";
import { hostnameOf, targetOptions } from "./target-options.ts";
import { wantedPorts } from "./wanted-ports.ts";

/** The versions of the PROXY protocol, as they are written. */
export const PROXY_PROTOCOLS = { v1: 1, v2: 2 } as const;

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

export const nameOption = option(
  'expected a name such as "web", of letters, digits, ".", "_" and "-"',
  (text) => (NAME.test(text) ? text : undefined),
);
const name = nameOption.optional();

/** Of what is found by a hostname. */
const hostOptions = {
  hostname: option(
    'expected a hostname such as app.example.com, without scheme, port or path, or "*.example.com" or "*"',
    publicNameOf,
  ).optional(),
  subdomain: option(
    "expected a single label such as app, of letters, digits and hyphens, and no number alone",
    (text) => (SUBDOMAIN.test(text) && !/^\d+$/.test(text) ? text.toLowerCase() : undefined),
  ).optional(),
};

const port = addressOption(parsePortRange).optional();

const proxyOptions = {
  proxy_protocol: z
    .enum(["v1", "v2"])
    .transform((version) => PROXY_PROTOCOLS[version])
    .optional(),
};

/** What each type of tunnel has, beside the type. */
const OPTIONS = {
  http: { name, target: addressOption(parseTarget), ...hostOptions, ...targetOptions },
  tcp: { name, target: addressOption(parseTcpTarget), port, ...proxyOptions },
  udp: { name, target: addressOption(parseUdpTarget), port },
  tls: { name, target: addressOption(parseTlsTarget), ...hostOptions, ...proxyOptions },
};
const TYPES = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];

export const tunnelOptions = z.discriminatedUnion(
  "type",
  [
    z.strictObject({ type: z.literal("http"), ...OPTIONS.http }, onlyOwn("http")),
    z.strictObject({ type: z.literal("tcp"), ...OPTIONS.tcp }, onlyOwn("tcp")),
    z.strictObject({ type: z.literal("udp"), ...OPTIONS.udp }, onlyOwn("udp")),
    z.strictObject({ type: z.literal("tls"), ...OPTIONS.tls }, onlyOwn("tls")),
  ],
  { error: ({ code }) => (code === "invalid_union" ? "expected http, tcp, udp or tls" : undefined) },
);

export type TunnelOptions = z.output<typeof tunnelOptions>;

/**
 * What a tunnel of the file asks for.
 *
 * @param targetTls what `readTargetTls` made of its options
 */
export function wantedTunnel(options: TunnelOptions, targetTls: TargetTls | undefined): WantedTunnel {
  const { name } = options;
  if (options.type === "http") {
    const { target, hostname, subdomain, host_header: hostHeader, timeout_ms: timeoutMs } = options;
    return { kind: "HTTP", name, target, hostname, subdomain, targetTls, hostHeader, timeoutMs };
  }
  if (options.type === "udp") {
    return { kind: "UDP", name, ...wantedPorts(options.target, options.port) };
  }
  const { proxy_protocol: proxyProtocol } = options;
  if (options.type === "tcp") {
    return { kind: "TCP", name, ...wantedPorts(options.target, options.port), proxyProtocol };
  }
  const { target, hostname, subdomain } = options;
  return { kind: "TLS", name, target, hostname, subdomain, proxyProtocol };
}

/** A line for each option that is not the type's own: for which types it is, or else that there is none. */
function onlyOwn(type: keyof typeof OPTIONS) {
  const refusal = (name: string): string => {
    const others = TYPES.filter((each) => Object.hasOwn(OPTIONS[each], name));
    if (others.length === 0) return unknownOption(name, ["type", ...Object.keys(OPTIONS[type])]);
    return `means nothing for ${type}: it is for ${others.join(" and ")}`;
  };
  return {
    error: (issue: z.core.$ZodRawIssue): string | undefined =>
      issue.code === "unrecognized_keys" ? issue.keys.map(refusal).join("\n") : undefined,
  };
}

/** A wildcard for all names beneath a hostname, or for whatever no other name takes, too. */
function publicNameOf(text: string): string | undefined {
  if (text === "*") return text;
  if (!text.startsWith("*.")) return hostnameOf(text);
  const name = hostnameOf(text.slice(2));
  return name && `*.${name}`;
}

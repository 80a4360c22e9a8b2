/** How requests go to a tunnel's target: options of client.yaml's tunnels, and of the command line. */
import { isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { z } from "zod";
import { option } from "../runtime/config-option.ts";
import { isHostName } from "../runtime/net-address.ts";

/** As far as a connection can be expected to last. */
const MAX_TIMEOUT_MS = 24 * 3_600_000;

/** Spelled as in client.yaml; on the command line with hyphens. */
export const targetOptions = {
  host_header: option(
    'expected a name such as app.example.com, or "target" for the target\'s own',
    hostHeaderOf,
  ).optional(),
  timeout_ms: option(
    `expected a whole number of milliseconds from 1 to ${MAX_TIMEOUT_MS}`,
    millisecondsOf,
  ).optional(),
  insecure_target: z.boolean().optional(),
  target_ca: option("expected the path of a file", (text) => text || undefined).optional(),
  target_server_name: option(
    'expected a name such as app.example.com, or "visitor" for the one that the visitor asks for',
    hostnameOf,
  ).optional(),
};

/** International names in their ASCII form; the server has the last word on what it takes. */
export function hostnameOf(text: string): string | undefined {
  if (/[^\p{L}\p{M}\p{N}._-]/u.test(text)) return undefined;
  const name = isHostName(text) ? text.toLowerCase() : domainToASCII(text);
  return isHostName(name) ? name : undefined;
}

function hostHeaderOf(text: string): string | undefined {
  if (text === "target") return text;
  const [, host = "", port = ""] = /^(.*?)((?::\d{1,5})?)$/s.exec(text) ?? [];
  if (host.startsWith("[")) return isIPv6(host.slice(1, -1)) && host.endsWith("]") ? text : undefined;
  const name = hostnameOf(host);
  return name && name + port;
}

function millisecondsOf(text: string): number | undefined {
  const ms = /^\d{1,8}$/.test(text) ? Number(text) : 0;
  return ms >= 1 && ms <= MAX_TIMEOUT_MS ? ms : undefined;
}

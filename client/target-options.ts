/** How requests go to a tunnel's target: options of client.yaml's tunnels, and of the command line. */
import { isIPv6 } from "node:net";
import path from "node:path";
import { domainToASCII } from "node:url";
import { z } from "zod";
import type { TargetTls } from "../link/messages.ts";
import type { Target } from "../link/target.ts";
import { readCertificates } from "../runtime/certificates.ts";
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
  timeout_ms: option(`expected milliseconds from 1 to ${MAX_TIMEOUT_MS}`, millisecondsOf).optional(),
  insecure_target: z.boolean().optional(),
  target_ca: option("expected the path of a file", (text) => text || undefined).optional(),
  target_server_name: option("expected a name such as app.example.com", hostnameOf).optional(),
};

const TLS_OPTIONS = ["insecure_target", "target_ca", "target_server_name"] as const;
type TlsOption = (typeof TLS_OPTIONS)[number];

/** Of any type, where the file has other mistakes. */
export type TargetTlsOptions = Readonly<Partial<Record<TlsOption, unknown>>>;

export interface ReadTargetTls {
  targetTls?: TargetTls;
  problems: { option: TlsOption; message: string }[];
}

/**
 * Puts together how an `https://` target is checked.
 *
 * @param target undefined if it could not be read
 * @param directory what a relative path starts from
 */
export function readTargetTls(
  target: Target | undefined,
  options: TargetTlsOptions,
  directory: string,
): ReadTargetTls {
  const { insecure_target: insecure, target_ca: ca, target_server_name: serverName } = options;
  const given = TLS_OPTIONS.filter((name) => options[name] !== undefined);
  const problems: ReadTargetTls["problems"] = [];
  for (const name of given) {
    if (target && !("tls" in target)) {
      problems.push({
        option: name,
        message: "means nothing for this target: it is for those that begin with https://",
      });
    } else if (insecure === true && name !== "insecure_target") {
      problems.push({
        option: name,
        message: "means nothing for an insecure target, which may have any certificate",
      });
    }
  }
  const read = typeof ca !== "string" ? { pem: "" } : readCertificates(path.resolve(directory, ca));
  if (typeof read === "string") {
    problems.push({ option: "target_ca", message: read });
    return { problems };
  }
  if (given.length === 0) return { problems };
  const name = typeof serverName === "string" ? serverName : "";
  return { targetTls: { insecure: insecure === true, ca: read.pem, serverName: name }, problems };
}

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

/** What the options of one tunnel in the config amount to; each may be of any type, where the file has mistakes. */
import { parseTcpTarget, type TargetRange } from "../../link/byte-target.ts";
import { parsePortRange, type PortRange } from "../../link/port-range.ts";
import type { Target } from "../../link/target.ts";
import type { Unchecked } from "./config-unchecked.ts";
import { normalizeHostname, normalizeSubdomain } from "../routing/hostname.ts";
import { type PortKind, portPlace, type PortPlace } from "../routing/place.ts";

/**
 * The whole hostname of a tunnel of type http or tls: as given, or its subdomain, or else its name, under the domain.
 * Undefined where that cannot be told.
 */
export function tunnelHostname(tunnel: Unchecked, domain: unknown): string | undefined {
  const { hostname, subdomain = tunnel["name"] } = tunnel;
  if (!hasHostname(tunnel)) return undefined;
  if (typeof hostname === "string") return hostname;
  if (hostname !== undefined || typeof subdomain !== "string" || typeof domain !== "string") return undefined;
  const label = normalizeSubdomain(subdomain);
  return label === undefined ? undefined : normalizeHostname(`${label}.${domain}`);
}

/** What a tunnel of type tcp or udp takes, and where the first of its ports leads. */
export interface TunnelPorts {
  place: PortPlace;
  target: Target;
}

/** Undefined where that cannot be told; a string says why port and target do not go together. */
export function tunnelPorts(tunnel: Unchecked): TunnelPorts | string | undefined {
  const kind = portKind(tunnel);
  const given = tunnel["port"] ?? tunnel["ports"];
  const range = readPortRange(given);
  const target: TargetRange | undefined = readBy(parseTcpTarget, tunnel["target"]);
  if (!kind || !target || (given !== undefined && !range)) return undefined;
  const place = portPlace(kind, range, target);
  return typeof place === "string" ? place : { place, target: target.target };
}

/** Which option says where it is public. */
export function placeOption(tunnel: Unchecked): string {
  return ["hostname", "subdomain", "port", "ports"].find((each) => tunnel[each] !== undefined) ?? "name";
}

export function hasHostname({ type }: Unchecked): boolean {
  return type === "http" || type === "tls";
}

export function hasPorts(tunnel: Unchecked): boolean {
  return portKind(tunnel) !== undefined;
}

export function readPortRange(value: unknown): PortRange | undefined {
  return readBy(parsePortRange, value);
}

function portKind({ type }: Unchecked): PortKind | undefined {
  return type === "tcp" ? "TCP" : type === "udp" ? "UDP" : undefined;
}

/** The options of the config are checked as text, of which a number is one to YAML. */
function readBy<T extends object>(parse: (text: string) => T | string, value: unknown): T | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const read = parse(String(value));
  return typeof read === "string" ? undefined : read;
}

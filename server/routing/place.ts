import type { TargetRange } from "../../link/byte-target.ts";
import { MAX_PORT, MAX_PORTS, parsePortRange, type PortRange, portsIn } from "../../link/port-range.ts";
import { normalizePublicName } from "./hostname.ts";

/** Where a tunnel is public. */
export type Place = HostPlace | PortPlace;

/** A hostname that shares a port with others. */
export interface HostPlace {
  kind: "HTTP" | "TLS";
  /** As `normalizePublicName` gives it: a whole hostname, `*.example.com`, or "*" for whatever no other name takes. */
  hostname: string;
}

/** A port, or several, one behind the other. */
export interface PortPlace {
  kind: PortKind;
  /** The first; 0 for any free one. */
  port: number;
  ports: number;
}

export type PortKind = "TCP" | "UDP";

/**
 * The public names that a place takes: `app.example.com`, `tls:app.example.com`, `tcp:2222`, `udp:53`. None yet for a port that
 * is still to be chosen.
 */
export function publicNamesOf(place: Place): string[] {
  if ("hostname" in place) return [hostName(place)];
  if (place.port === 0) return [];
  return Array.from({ length: place.ports }, (_, i) => portName(place.kind, place.port + i));
}

export function hostName({ kind, hostname }: HostPlace): string {
  return kind === "TLS" ? tlsName(hostname) : hostname;
}

export function portName(kind: PortKind, port: number): string {
  return `${kind.toLowerCase()}:${port}`;
}

/** Something for each port of each kind: arrays, since ports come by the thousand. */
export function portTable<T>(value: T): Record<PortKind, T[]> {
  const table = (): T[] => Array.from<T>({ length: MAX_PORT + 1 }).fill(value);
  return { TCP: table(), UDP: table() };
}

export function tlsName(hostname: string): string {
  return `tls:${hostname}`;
}

/**
 * The ports that a tunnel takes: the given ones, or as many free ones as its target has. A target of one port is where the
 * first of several leads.
 *
 * @returns a string that says why target and ports do not go together
 */
export function portPlace(
  kind: PortKind,
  given: PortRange | undefined,
  { target, ports: targets }: TargetRange,
): PortPlace | string {
  const ports = given ? portsIn(given) : targets;
  if (ports > MAX_PORTS) {
    return `one tunnel may have ${MAX_PORTS} ports, and these are ${ports}: make it several`;
  }
  if (targets !== 1 && targets !== ports) {
    return `the target has ${targets} ports, and the tunnel ${ports}: give as many, or only the first of the target`;
  }
  if ("path" in target) {
    if (ports > 1) return "a UNIX socket has no ports: give the tunnel one port only";
  } else if (target.port + ports - 1 > MAX_PORT) {
    return `the target's ports would end at ${target.port + ports - 1}, and ports end at ${MAX_PORT}`;
  }
  return { kind, port: given?.from ?? 0, ports };
}

/** As `parsePortRange` reads it. */
export function formatPortRange({ from, to }: PortRange): string {
  return from === to ? `${from}` : `${from}-${to}`;
}

/** `app.example.com`, `tls:app.example.com`, `tcp:2222`, `udp:6000-6010`. */
export function formatPlace(place: Place): string {
  if ("hostname" in place) return hostName(place);
  const { kind, port, ports } = place;
  return `${kind.toLowerCase()}:${formatPortRange({ from: port, to: port + ports - 1 })}`;
}

/** What `formatPlace` writes; undefined for everything else. */
export function parsePlace(text: string): Place | undefined {
  const [, kind, rest] = /^(?:(tls|tcp|udp):)?(.+)$/s.exec(text) ?? [];
  if (rest === undefined) return undefined;
  if (kind === "tcp" || kind === "udp") {
    const range = parsePortRange(rest);
    if (typeof range === "string" || portsIn(range) > MAX_PORTS) return undefined;
    return { kind: kind === "tcp" ? "TCP" : "UDP", port: range.from, ports: portsIn(range) };
  }
  if (normalizePublicName(rest) !== rest) return undefined;
  return { kind: kind === "tls" ? "TLS" : "HTTP", hostname: rest };
}

/** As people read it: `app.example.com`, `port 2222`, `ports 6000-6010`, `any free port`. */
export function placeInWords(place: Place): string {
  if ("hostname" in place) return place.hostname;
  const { port, ports } = place;
  if (port === 0) return ports === 1 ? "any free port" : `any ${ports} free ports`;
  return ports === 1 ? `port ${port}` : `ports ${port}-${port + ports - 1}`;
}

/** A port that the server listens on by itself. */
export interface OwnPort {
  /** That sets it, such as `grpc.listen`. */
  option: string;
  port: number;
}

/** Which of the server's own ports is among those of a place. */
export function ownPortAmong({ kind, port, ports }: PortPlace, own: readonly OwnPort[]): OwnPort | undefined {
  return kind === "TCP" ? own.find((each) => each.port >= port && each.port < port + ports) : undefined;
}

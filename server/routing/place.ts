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
  if ("hostname" in place) return [place.kind === "TLS" ? tlsName(place.hostname) : place.hostname];
  if (place.port === 0) return [];
  return Array.from({ length: place.ports }, (_, i) => portName(place.kind, place.port + i));
}

export function portName(kind: PortKind, port: number): string {
  return `${kind.toLowerCase()}:${port}`;
}

export function tlsName(hostname: string): string {
  return `tls:${hostname}`;
}

/** As people read it: `app.example.com`, `port 2222`, `ports 6000-6010`, `any free port`. */
export function placeInWords(place: Place): string {
  if ("hostname" in place) return place.hostname;
  const { port, ports } = place;
  if (port === 0) return ports === 1 ? "any free port" : `any ${ports} free ports`;
  return ports === 1 ? `port ${port}` : `ports ${port}-${port + ports - 1}`;
}
